// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openCheckpoint } from "#evidence/log/checkpoint.ts";
import { proofEntry } from "#evidence/log/entry.ts";
import { COSIGNATURE, type NoteKey, signNote, writeNote, writeNoteKey } from "#evidence/log/note.ts";
import { makeLog } from "#evidence/log/specimen.ts";
import { fingerprintOf, type IssuerManifest, signIssuerManifest } from "#evidence/proofs/issuer-manifest.ts";
import { makeKey, makeSpecimen } from "#evidence/proofs/specimen.ts";
import { printedBy } from "#testing/printed.ts";
import { verifyProofCommand } from "./verify-proof.ts";

const specimen = makeSpecimen();
const spoilt = new TextDecoder().decode(specimen.bytes).replace('"PHI"', '"PII"');
const issuer = `${specimen.issuer.issuerId}=${specimen.issuer.publicKey}`;
let folder = "";
const path = (name: string) => join(folder, name);
const log = makeLog();
const entries = [Buffer.from("another"), proofEntry(specimen.cdp), Buffer.from("a third")];
const logged: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-verify-proof-"));
  await writeFile(path("proof.json"), specimen.bytes);
  await writeFile(path("spoilt.json"), spoilt);
  await writeFile(path("issuer.json"), JSON.stringify(specimen.issuer));
  await writeFile(
    path("issuers.json"),
    JSON.stringify([{ ...specimen.issuer, issuerId: "other" }, specimen.issuer]),
  );
  await writeFile(path("broken.json"), "{");
  await writeFile(path("checkpoint"), log.checkpoint(entries));
  await writeFile(path("forked"), log.checkpoint([...entries.slice(0, 2), Buffer.from("a fork")]));
  await writeFile(path("inclusion.json"), JSON.stringify(log.inclusion(entries, 1)));
  logged.push("--checkpoint", path("checkpoint"), "--inclusion", path("inclusion.json"));
});
afterAll(() => rm(folder, { recursive: true }));

const run = (argv: string[], stdin: Uint8Array[] = []) =>
  printedBy((printer) =>
    verifyProofCommand(argv, {
      ...printer,
      stdin: (async function* () {
        yield* stdin;
      })(),
    }),
  );

describe("exit code 0", () => {
  test("says that the document is whole when no issuer is given, and that its origin is open", async () => {
    const { code, out } = await run([path("proof.json")]);
    expect(code).toBe(0);
    expect(out).toContain("The proof holds at level 1.");
    expect(out).toContain("(origin_unknown)");
  });

  test("says that a pinned issuer certified it when one is given, by argument or file", async () => {
    const bare = issuer.replace("base64:", "");
    for (const given of [
      ["--issuer", issuer],
      ["--issuer", bare],
      ["--issuer-file", path("issuer.json")],
      ["--issuer-file", path("issuers.json")],
    ]) {
      const { code, out } = await run([path("proof.json"), ...given]);
      expect(code).toBe(0);
      expect(out).toContain("ok   certificate");
      expect(out).toContain("The proof holds at level 2.");
    }
  });

  test("says that the proof is in the log when a checkpoint is held", async () => {
    const { code, out } = await run([
      ...[path("proof.json"), "--issuer", issuer, ...logged, "--log-key", log.key],
    ]);
    expect(out).toContain("ok   log");
    expect(out).toContain("The proof holds at level 3.");
    expect(code).toBe(0);
  });

  test("is given for a proof on stdin, in pieces", async () => {
    const pieces = [specimen.bytes.subarray(0, 1000), specimen.bytes.subarray(1000)];
    expect((await run(["-", "--json"], pieces)).code).toBe(0);
  });
});

describe("exit code 1", () => {
  test("names what failed", async () => {
    const { code, out } = await run([path("spoilt.json")]);
    expect(code).toBe(1);
    expect(out).toContain("FAIL chain");
    expect(out).toContain("(chain_hash_mismatch)");
    expect(out).toContain("The proof does not hold at level 1.");
  });

  test("is given when the pinned key is another, or the issuer is", async () => {
    const impostor = `${specimen.issuer.issuerId}=${makeKey().text}`;
    expect((await run([path("proof.json"), "--issuer", impostor])).code).toBe(1);
    expect((await run([path("proof.json"), "--issuer", `other=${makeKey().text}`])).code).toBe(1);
  });

  test("is given for level 3 when the log is another than the one of which the checkpoint is held", async () => {
    const { code, out } = await run([
      ...[path("proof.json"), "--issuer", issuer, "--inclusion", path("inclusion.json")],
      ...["--checkpoint", path("forked")],
    ]);
    expect(code).toBe(1);
    expect(out).toContain("ok   inclusion");
    expect(out).toContain("FAIL log");
    expect(out).toContain("(log_forked)");
    const other = await run([path("proof.json"), "--issuer", issuer, ...logged, "--log-key", makeLog().key]);
    expect(other.code).toBe(1);
    expect(other.out).toContain("(log_key_unknown)");
  });

  test("is given for what is no proof at all, also without an end", async () => {
    expect((await run([path("broken.json")])).code).toBe(1);
    const endless = Array.from({ length: 10 }, () => new Uint8Array(100_000));
    const { code, out } = await run(["-"], endless);
    expect(code).toBe(1);
    expect(out).toContain("(too_large)");
    expect((await run(["/dev/zero"])).code).toBe(1);
  });
});

describe("exit code 2", () => {
  test.each([
    ["no file", []],
    ["two files", ["a", "b"]],
    ["a file that is not there", ["/nonexistent/proof.json"]],
    ["an unknown option", ["-", "--quick"]],
    ["a level that does not exist", ["-", "--level", "4"]],
    ["a level that is no number", ["-", "--level", ""]],
    ["an issuer without a key", ["-", "--issuer", "me"]],
    ["an issuer with a mistyped key", ["-", "--issuer", "me=AAAA"]],
  ])("is given for %s, with the usage", async (_name, argv) => {
    const { code, out, err } = await run(argv);
    expect(code).toBe(2);
    expect(out).toBe("");
    expect(err).toContain("Usage:");
  });

  test("is given for an issuer file that holds no issuer", async () => {
    expect((await run(["-", "--issuer-file", path("broken.json")])).code).toBe(2);
    expect((await run(["-", "--issuer-file", path("proof.json")])).code).toBe(2);
  });
});

describe("exit code 3", () => {
  test("is given for level 2 without a pinned issuer, and for level 3 without that, a checkpoint or a place in the log", async () => {
    expect((await run([path("proof.json"), "--level", "2"])).code).toBe(3);
    const at3 = (...more: string[]) => run([path("proof.json"), "--level", "3", ...more]);
    expect((await at3("--issuer", issuer)).code).toBe(3);
    expect((await at3("--issuer", issuer, "--checkpoint", path("checkpoint"))).code).toBe(3);
    expect((await at3("--issuer", issuer, "--inclusion", path("inclusion.json"))).code).toBe(3);
    expect((await at3(...logged)).code).toBe(3);
  });
});

test("--json prints the verdict and nothing else", async () => {
  const { out } = await run([path("proof.json"), "--json", "--issuer", issuer]);
  expect(JSON.parse(out)).toMatchObject({ valid: true, level: 2, outcome: "complete", failures: [] });
});

test("the file runs by itself", () => {
  const command = fileURLToPath(new URL("./verify-proof.ts", import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, [command, "-", "--json"], { input: specimen.bytes });
  expect(status).toBe(0);
  expect(JSON.parse(stdout.toString()).level).toBe(1);
});

describe("a signed list of issuers", () => {
  const identity = makeKey();
  const { issuerId: issuer_id, publicKey: public_key } = specimen.issuer;
  const list = (revoked: boolean, revoked_keys: string[] = [], by = identity) =>
    signIssuerManifest(
      { issued_at: "2026-06-01T00:00:00Z", issuers: [{ issuer_id, public_key, revoked }], revoked_keys },
      by.spki,
      (message) => sign(null, message, by.key),
    );
  const pin = fingerprintOf(identity.spki);
  const judged = async (manifest: IssuerManifest, ...issuer: string[]) => {
    await writeFile(path("manifest.json"), JSON.stringify(manifest));
    return run([
      path("proof.json"),
      "--issuer-file",
      path("manifest.json"),
      ...issuer.flatMap((one) => ["--issuer", one]),
    ]);
  };

  test("shows whose a proof is to who pinned the fingerprint of the key that signed it", async () => {
    const { code, out } = await judged(list(false), pin);
    expect([code, out]).toEqual([0, expect.stringContaining("The proof holds at level 2.")]);
  });

  test.each([
    ["its issuer", list(true)],
    ["its key", list(false, [specimen.cdp.attestation.key_id])],
  ])("takes back what was revoked: %s", async (_what, manifest) => {
    const { code, out } = await judged(manifest, pin);
    expect([code, out]).toEqual([1, expect.stringContaining("(key_revoked)")]);
  });

  test("is refused when it was changed, when another key signed it, and without its fingerprint", async () => {
    const stranger = makeKey();
    const changed = { ...list(true), issuers: list(false).issuers };
    for (const [manifest, pins, why] of [
      [changed, [pin], "(signature_invalid)"],
      [list(false, [], stranger), [pin], "(fingerprint_mismatch)"],
      [{ ...list(false), fingerprint: `sha256:${"0".repeat(64)}` }, [pin], "(fingerprint_mismatch)"],
      [{ ...list(false, [], stranger), fingerprint: pin }, [pin], "(fingerprint_mismatch)"],
      [{ ...list(false), more: 1 }, [pin], "(malformed)"],
      [{ ...list(false), issued_at: "2026-02-30T00:00:00Z" }, [pin], "(malformed)"],
      [list(false), [], "pin who signed it"],
      [list(false), [pin, fingerprintOf(stranger.spki)], "No --issuer-file is a list signed by"],
    ] as const) {
      const { code, err } = await judged(manifest as IssuerManifest, ...pins);
      expect([why, code, err]).toEqual([why, 2, expect.stringContaining(why)]);
    }
  });
});

describe("a witness", () => {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const witness: NoteKey = {
    ...{ name: "example.net/witness", type: COSIGNATURE },
    raw: Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url"),
  };
  const cosigned = (checkpoint: string, at: string) => {
    const { note } = openCheckpoint(checkpoint)!;
    const line = signNote(
      note.text,
      witness,
      (message) => sign(null, message, privateKey),
      Date.parse(at) / 1000,
    );
    return writeNote({ text: note.text, signatures: [...note.signatures, line] });
  };
  /** The log had one entry when `held` was saved, and then the proof came. */
  const judged = async (heldAt: string, shownAt: string | null, ...more: string[]) => {
    const inclusion = log.inclusion(entries, 1, 1);
    if (shownAt !== null) inclusion.checkpoint = cosigned(inclusion.checkpoint, shownAt);
    await writeFile(path("held"), cosigned(log.checkpoint(entries.slice(0, 1)), heldAt));
    await writeFile(path("since.json"), JSON.stringify(inclusion));
    const files = ["--checkpoint", path("held"), "--inclusion", path("since.json"), "--issuer", issuer];
    return run([path("proof.json"), ...files, ...more]);
  };
  const pinned = ["--witness", writeNoteKey(witness)];
  const end = specimen.cdp.destroyed_at;
  const later = (seconds: number) => new Date(Date.parse(end) + seconds * 1000).toISOString();

  test("that saw the proof in the log says when, to who pinned it", async () => {
    const { code, out } = await judged(end, later(2), ...pinned);
    expect([code, out]).toEqual([
      0,
      expect.stringContaining(`seen by a witness at ${later(2).slice(0, 19)}Z`),
    ]);
    expect(out).not.toContain("logged_late");
  });

  test("that did not is missed when it is pinned, and not otherwise", async () => {
    const { code, out } = await judged(end, null, ...pinned);
    expect([code, out]).toEqual([1, expect.stringContaining("(witness_missing)")]);
    expect((await judged(end, null)).code).toBe(0);
    const another = makeLog().key;
    expect((await judged(end, later(2), "--witness", another)).code).toBe(2);
  });

  test("that saw the log without a proof, long after the proof says it was made, speaks against its date", async () => {
    const { out } = await judged(later(3601), later(3605), ...pinned);
    expect(out).toContain("(logged_late)");
    expect((await judged(later(3600), later(3605), ...pinned)).out).not.toContain("(logged_late)");
    // A time that nobody pinned is anybody's.
    expect((await judged(later(9999), later(9999))).out).not.toContain("(logged_late)");
  });
});
