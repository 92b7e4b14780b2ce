// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from "node:crypto";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { ProofParts } from "#evidence/proofs/build.ts";
import { digestText, saltId } from "#evidence/proofs/hash.ts";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { FakeDriver } from "#testing/fake-driver.ts";
import { newMachineId, spec } from "#testing/recording-control.ts";
import { describeWith, root } from "#testing/requirements.ts";
import type { NewKey } from "./session-keys.ts";
import { Signer, type SignerOptions } from "./signer.ts";

const UID = 61_002;
const undo: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function folders(): SignerOptions {
  const folder = mkdtempSync(join(tmpdir(), "casemate-signer-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  return { folder: join(folder, "signer"), kekPath: join(folder, "kek"), uid: UID };
}

async function started(options = folders()): Promise<Signer> {
  const signer = await Signer.start(options);
  undo.push(() => signer.close());
  return signer;
}

function processesIn(folder: string): string[] {
  return readdirSync("/proc").filter((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/cwd`) === folder;
    } catch {
      return false;
    }
  });
}

const newSession = () => `sess_${randomBytes(16).toString("hex")}`;

/** Parts as a host hands them over, from a machine that really was started and stopped. */
async function partsFor(sessionId: string, key: NewKey): Promise<ProofParts> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-signer-"));
  try {
    const driver = new FakeDriver({ folder });
    const id = newMachineId();
    await driver.start(id, spec(), async () => {});
    const facts = await driver.stop(id);
    const now = new Date();
    const done = { startedAt: now, endedAt: now, durationMs: 0, ok: true, skipped: [] };
    const { namespace, tmpfs, overwrite, identity, forensic } = facts.steps;
    return {
      context: {
        cdp_version: "1.0",
        profile: "casemate-cdp/1",
        ...spec().endProof!.subject,
        session_id: sessionId,
        trigger: "api",
        engine: { name: "casemate", version: "0", build_sha256: digestText("") },
        host: { boot_id_hash: digestText(""), kernel: "k", isolation: "process", root_digest: null },
        salt_id: saltId(facts.saltHex),
        key_id: key.keyId,
        public_key_sha256: key.publicKeySha256,
        limits: facts.limits as ProofParts["context"]["limits"],
      },
      steps: [namespace, tmpfs, overwrite, { ...done, measured: { data_keys: [] } }, identity, forensic],
      events: { head: digestText(""), count: 0 },
      seal: done,
      completion: done,
      endState: "destroyed",
      recovered: null,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("a session's key signs one proof, which verifies against the issuer, and no second", async () => {
  const signer = await started();
  const session = newSession();
  const key = await signer.newKey(session);
  expect(key.keyId).toMatch(new RegExp(`^nrx-verify-\\d{8}T\\d{6}Z-${session.slice(5, 13)}$`));
  const parts = await partsFor(session, key);
  const signed = await signer.sign(key.keyId, parts);
  expect(signed).toMatchObject({ outcome: "complete", endState: "destroyed" });
  expect(verifyProof(Buffer.from(signed.proof), { issuers: signer.issuers() })).toMatchObject({
    valid: true,
    level: 2,
  });
  await expect(signer.sign(key.keyId, parts)).rejects.toThrow(/signs once/);
});

test("a key does not sign for another session, another id or another key's digest, nor afterwards", async () => {
  const signer = await started();
  for (const change of [
    { session_id: newSession() },
    { key_id: "nrx-verify-20000101T000000Z-00000000" },
    { public_key_sha256: digestText("another") },
  ]) {
    const session = newSession();
    const key = await signer.newKey(session);
    const parts = await partsFor(session, key);
    await expect(
      signer.sign(key.keyId, { ...parts, context: { ...parts.context, ...change } }),
    ).rejects.toThrow(/another/);
    await expect(signer.sign(key.keyId, parts)).rejects.toThrow(/signs once/);
  }
});

test("malformed parts are not signed", async () => {
  const signer = await started();
  const session = newSession();
  const key = await signer.newKey(session);
  const parts = await partsFor(session, key);
  const bad = { ...parts, context: { ...parts.context, jurisdiction: "" } };
  await expect(signer.sign(key.keyId, bad)).rejects.toThrow(/does not verify/);
});

test("key ids are unique, also for sessions that look alike in one second", async () => {
  const signer = await started();
  const [one, two] = await Promise.all([
    signer.newKey(`sess_abcdef01${"0".repeat(24)}`),
    signer.newKey(`sess_abcdef01${"1".repeat(24)}`),
  ]);
  expect(one!.keyId).not.toBe(two!.keyId);
});

test("a discarded key signs nothing", async () => {
  const signer = await started();
  const session = newSession();
  const key = await signer.newKey(session);
  await signer.discard(key.keyId);
  await expect(signer.sign(key.keyId, await partsFor(session, key))).rejects.toThrow(/signs once/);
});

test("the issuer outlives the process; rotation keeps the old public keys", async () => {
  const options = folders();
  const first = await started(options);
  const before = first.issuers();
  const session = newSession();
  const key = await first.newKey(session);
  const { proof } = await first.sign(key.keyId, await partsFor(session, key));
  const rotated = await first.rotate();
  expect(rotated).toHaveLength(2);
  expect(rotated[0]).toEqual(before[0]);
  expect(await first.probe()).toBe(true);
  await first.close();
  const second = await started(options);
  expect(second.issuers()).toEqual(rotated);
  expect(verifyProof(Buffer.from(proof), { issuers: second.issuers() })).toMatchObject({ level: 2 });
  const next = newSession();
  const nextKey = await second.newKey(next);
  const later = await second.sign(nextKey.keyId, await partsFor(next, nextKey));
  expect(JSON.parse(later.proof).attestation.certificate.issuer_id).toBe(rotated[1]!.issuerId);
});

test("a copied folder without its key-encryption key signs nothing", async () => {
  const options = folders();
  await (await started(options)).close();
  writeFileSync(options.kekPath, randomBytes(32));
  await expect(Signer.start(options)).rejects.toThrow(/sealed under another key/);
  await expect.poll(() => processesIn(options.folder)).toEqual([]);
});

test("the folder is closed, and no key lies in it in clear", async () => {
  const options = folders();
  const signer = await started(options);
  expect(statSync(options.folder).mode & 0o777).toBe(0o700);
  expect(statSync(options.kekPath).mode & 0o777).toBe(0o600);
  expect(readdirSync(options.folder)).toEqual(["issuer.json"]);
  const stored = JSON.parse(readFileSync(join(options.folder, "issuer.json"), "utf8"));
  expect(Object.keys(stored).sort()).toEqual(["issuers", "sealed", "v"]);
  // nonce, seed, tag
  expect(Buffer.from(stored.sealed, "base64")).toHaveLength(12 + 32 + 16);
  expect(await signer.probe()).toBe(true);
});

test("a signer that dies is started again, and its keys are dead", async () => {
  const signer = await started();
  const session = newSession();
  const key = await signer.newKey(session);
  const { pid } = signer;
  process.kill(pid!, "SIGKILL");
  await expect.poll(() => signer.pid).not.toBe(pid);
  await expect(signer.sign(key.keyId, await partsFor(session, key))).rejects.toThrow(/signs once/);
  expect(await signer.probe()).toBe(true);
});

describeWith([root], "the signer under root", () => {
  test("has a uid of its own, no capability, no new privileges and no core file", async () => {
    const { pid } = await started();
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*?) *$`, "m").exec(status)?.[1];
    expect(field("Uid")).toBe([UID, UID, UID, UID].join("\t"));
    expect(field("Gid")).toBe([UID, UID, UID, UID].join("\t"));
    expect(field("Groups")).toBe("");
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) expect(field(set)).toMatch(/^0+$/);
    expect(field("NoNewPrivs")).toBe("1");
    expect(readFileSync(`/proc/${pid}/limits`, "utf8")).toMatch(/^Max core file size\s+0\s+0\s/m);
    expect(readFileSync(`/proc/${pid}/environ`, "utf8")).toMatch(/^(PWD=[^\0]*\0)?$/);
  });
});
