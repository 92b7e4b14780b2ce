// SPDX-License-Identifier: Apache-2.0
/** The agent's keys and evidence, judged by the verifiers that everybody has: its TPM is one in software, on a socket. */
import { createHash, createPublicKey, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { swtpm, swtpmSetup } from "#drivers/qemu/testing.ts";
import { hexOf } from "#evidence/bytes.ts";
import { type LaunchManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import { qualifyingDataOf, reportDataOf } from "#evidence/launch/report-data.ts";
import { parseTpmPolicy, tpmDemandsOf } from "#evidence/policy/tpm.ts";
import { recogniseEvidence } from "#evidence/recognise.ts";
import { makeCredential } from "#evidence/tpm/credential.ts";
import { nameOf, parseSigningKey } from "#evidence/tpm/public.ts";
import { parseTpmQuote } from "#evidence/tpm/quote.ts";
import { extendedBy, writeEventLog } from "#evidence/tpm/specimen.ts";
import { verifyTpm } from "#evidence/tpm/verify.ts";
import { parseCertificate } from "#evidence/x509/certificate.ts";
import { freePort } from "#testing/free-port.ts";
import {
  COMPILE_MS,
  compileGuestProgram,
  type DrivenGuest,
  guestCompiler,
  startDrivenGuest,
} from "#testing/guest-program.ts";
import { describeWith } from "#testing/requirements.ts";
import { type SoftwareTpm, startSoftwareTpm } from "#testing/software-tpm.ts";
import type { GuestEvidence } from "./protocol.ts";
import { sealBox } from "./seal.ts";

const ASK = { timeoutMs: 30_000 };
const sha = (bytes: Uint8Array | string) => Uint8Array.from(createHash("sha256").update(bytes).digest());
const fromBase64 = (text: string) => Uint8Array.from(Buffer.from(text, "base64"));
const NONCE = sha("a nonce");
const EVENTS = [4, 9, 11, 12].map((pcr) => ({ pcr, data: Buffer.from(`measured into ${pcr}`) }));

const manifest: LaunchManifest = {
  ...{ v: 1, compose: "a".repeat(64), files: {}, domains: ["a.test", "b.example.test"] },
  ...{ publicService: "api", publicPort: 80, images: {}, stateDisk: false },
};
const bytes = manifestBytes(manifest);
const folder = mkdtempSync(join(tmpdir(), "casemate-attested-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(async () => {
  if (guestCompiler.met) await compileGuestProgram();
}, COMPILE_MS);
const started: DrivenGuest[] = [];
const start = async (...settings: Parameters<typeof startDrivenGuest>) => {
  const one = await startDrivenGuest(...settings);
  started.push(one);
  return one;
};
afterAll(() => Promise.all(started.map((one) => one.stop())));

describeWith([guestCompiler], "the guest's agent", () => {
  it("answers nothing but health and shutdown before it was claimed", async () => {
    const { guest } = await start({ manifest: bytes });
    const refused = { code: "not-claimed" };
    await expect(guest.ask("evidence", { purpose: "report", nonce: null }, ASK)).rejects.toMatchObject(
      refused,
    );
    await expect(guest.ask("activate", { credential: "", secret: "" }, ASK)).rejects.toMatchObject(refused);
    expect(await guest.ask("health", {}, ASK)).toMatchObject({ claimed: false });
  });

  it("makes other keys in each start, and a request for the manifest's domains with the one it serves", async () => {
    const keys = [];
    for (const _ of [1, 2]) {
      const { guest, claimArgs } = await start({ manifest: bytes });
      const claimed = await guest.ask("claim", claimArgs, ASK);
      expect(await guest.ask("claim", claimArgs, ASK)).toEqual(claimed);
      keys.push(claimed.keys);
    }
    const [one, two] = keys;
    expect(fromBase64(one!.sealing)).toHaveLength(32);
    for (const name of ["sealing", "tls", "request"] as const) expect(one![name]).not.toBe(two![name]);
    const request = Buffer.from(one!.request!, "base64");
    expect(request.includes(Buffer.from(one!.tls, "base64"))).toBe(true);
    for (const domain of manifest.domains) expect(request.includes(domain)).toBe(true);
    const key = createPublicKey({ key: Buffer.from(one!.tls, "base64"), format: "der", type: "spki" });
    expect(key.asymmetricKeyDetails).toMatchObject({ namedCurve: "prime256v1" });
  });

  it.each<[string, string | Uint8Array]>([
    ["a member twice", Buffer.from(bytes).toString().replace('"v":1', '"v":1,"v":1')],
    ["a member in other letters", Buffer.from(bytes).toString().replace('"v"', '"V"')],
    ["a member more", Buffer.from(bytes).toString().replace('"v":1', '"v":1,"w":1')],
    ["a member less", Buffer.from(bytes).toString().replace(',"v":1', "")],
    [
      "a name of a file twice",
      Buffer.from(bytes)
        .toString()
        .replace('"files":{}', '"files":{"a":"'.concat("b".repeat(64), '","a":"', "c".repeat(64), '"}')),
    ],
    ["two values", Buffer.concat([bytes, bytes])],
    ["another version", manifestBytes({ ...manifest, v: 2 as 1 })],
    ["a domain that is none", manifestBytes({ ...manifest, domains: ["a/b"] })],
    ["no port", manifestBytes({ ...manifest, publicPort: 0 })],
    ["no JSON", "{"],
  ])("refuses a manifest with %s, although it is the measured one", async (_, text) => {
    const { guest, claimArgs } = await start({ manifest: Buffer.from(text) });
    await expect(guest.ask("claim", claimArgs, ASK)).rejects.toMatchObject({ code: "malformed" });
  });

  it("refuses a manifest that is not the measured one", async () => {
    const { guest, claimArgs } = await start({ manifest: manifestBytes({ ...manifest, publicPort: 81 }) });
    const ask = { ...claimArgs, manifest: Buffer.from(bytes).toString("base64") };
    await expect(guest.ask("claim", ask, ASK)).rejects.toMatchObject({ code: "launch-mismatch" });
  });

  it("opens what was sealed to its key for this launch and use, and nothing else", async () => {
    const { guest, claimArgs } = await start({ manifest: bytes });
    const { keys } = await guest.ask("claim", claimArgs, ASK);
    const to = { sealingKey: fromBase64(keys.sealing), launchSha256: sha(bytes) };
    const open = async (kind: "secrets" | "env", box: Uint8Array) => {
      const args = { kind, box: Buffer.from(box).toString("base64") };
      const { plain } = (await guest.ask("test-open-box" as never, args as never, ASK)) as { plain: string };
      return fromBase64(plain);
    };
    for (const plain of [new Uint8Array(0), Buffer.from("words"), new Uint8Array(100_000).fill(7)]) {
      expect(Buffer.from(await open("secrets", await sealBox("secrets", to, plain)))).toEqual(
        Buffer.from(plain),
      );
      expect(Buffer.from(await open("env", await sealBox("env", to, plain)))).toEqual(Buffer.from(plain));
    }
    const box = await sealBox("secrets", to, Buffer.from("words"));
    const refused = { code: "secrets-refused" };
    await expect(open("env", box)).rejects.toMatchObject(refused);
    const other = await sealBox("secrets", { ...to, launchSha256: sha("another") }, Buffer.from("words"));
    await expect(open("secrets", other)).rejects.toMatchObject(refused);
    for (const at of [0, 31, 32, box.length - 1]) {
      const changed = Uint8Array.from(box);
      changed[at]! ^= 1;
      await expect(open("secrets", changed)).rejects.toMatchObject(refused);
    }
    for (const short of [box.subarray(0, 47), box.subarray(0, 0), box.subarray(0, box.length - 1)])
      await expect(open("secrets", short)).rejects.toMatchObject(refused);
    // A key of low order: anyone would know what comes of it.
    await expect(
      open("secrets", Buffer.concat([new Uint8Array(32), box.subarray(32)])),
    ).rejects.toMatchObject(refused);
  });

  it("carries what knocks at a door to the same port of its gateway, and refuses doors that lead nowhere", async () => {
    const port = await freePort();
    const registry = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {}).on("data", (chunk) => socket.write(`heard ${chunk}`));
      socket.on("end", () => socket.end("and its end"));
    }).listen(port, "127.0.0.2");
    await once(registry, "listening");
    try {
      const { guest, claimArgs } = await start({ manifest: bytes });
      const network = { address: "127.0.0.3/8", gateway: "127.0.0.2", nameServers: [] };
      for (const wrong of [
        { doors: [port] },
        { network, doors: [0] },
        { network, doors: Array(9).fill(port) },
      ])
        await expect(guest.ask("claim", { ...claimArgs, ...wrong }, ASK)).rejects.toMatchObject({
          code: "malformed",
        });
      await guest.ask("claim", { ...claimArgs, network, doors: [port] }, ASK);
      const knock = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      let text = "";
      knock.on("data", (chunk) => {
        text += chunk;
      });
      knock.write("a knock");
      await expect.poll(() => text).toBe("heard a knock");
      knock.end();
      await expect.poll(() => text).toBe("heard a knockand its end");
      await expect.poll(() => knock.closed).toBe(true);
    } finally {
      registry.close();
    }
  });

  it("says that it has no evidence where there is neither a processor nor a TPM for it", async () => {
    const { guest, claimArgs } = await start({ manifest: bytes });
    const { keys } = await guest.ask("claim", claimArgs, ASK);
    const spki = fromBase64(keys.tls);
    const answer = await guest.ask("evidence", { purpose: "report", nonce: null }, ASK);
    const plain = hexOf(await reportDataOf(spki, { form: "report", nonce: null }));
    expect(answer).toEqual({ platform: "none", bundle: null, reportData: plain });
    await expect(guest.ask("activate", { credential: "AAEA", secret: "AAEA" }, ASK)).rejects.toMatchObject({
      code: "failed",
    });
    const wrong: object[] = [
      { purpose: "seal", nonce: null },
      { purpose: "other", nonce: "aa".repeat(16) },
      { purpose: "seal", nonce: "aa".repeat(15) },
      { purpose: "seal", nonce: "aa".repeat(65) },
      { purpose: "report", nonce: "zz".repeat(16) },
      { purpose: "report", nonce: "" },
      { purpose: "report", nonce: null, more: 1 },
    ];
    for (const args of wrong)
      await expect(guest.ask("evidence", args as never, ASK)).rejects.toMatchObject({ code: "malformed" });
  });
});

describeWith([guestCompiler], "the guest's evidence of a processor, from an imitated kernel", () => {
  const REPORT_BYTES = 1184;
  /** Up to the report data, and what follows it, of a report that a VCEK or VLEK signed. */
  const halves = (signer: 0 | 1) => {
    const whole = Buffer.alloc(REPORT_BYTES);
    whole.writeUInt32LE(2, 0);
    whole.writeUInt32LE(signer << 2, 0x48);
    return { before: whole.subarray(0, 0x50), after: whole.subarray(0x90) };
  };
  const GUIDS = {
    vcek: "63da758de6644564adc5f4b93be8accd",
    vlek: "a8074bc2a25a483eaae639c045a0b8a1",
    ask: "4ab7b379bbac4fe4a02f05aef327c782",
  };
  const swapped = (hex: string) => hex.replace(/^(..)(..)(..)(..)(..)(..)(..)(..)/, "$4$3$2$1$6$5$8$7");
  const table = (entries: readonly { guid: string; bytes: Buffer; from?: number }[]) => {
    let at = 24 * (entries.length + 1);
    const heads = entries.map(({ guid, bytes: { length }, from = at }) => {
      const head = Buffer.alloc(24);
      head.write(guid, "hex");
      head.writeUInt32LE(from, 16);
      head.writeUInt32LE(length, 20);
      at += length;
      return head;
    });
    return Buffer.concat([...heads, Buffer.alloc(24), ...entries.map((each) => each.bytes)]);
  };
  const [vcek, vlek, ask] = ["of a chip", "of a provider", "above it"].map((text) => Buffer.from(text));
  const evidenceOf = async (
    provider: string,
    parts: { before?: Buffer; after?: Buffer; auxiliary?: Buffer; overtaken?: number } = {},
  ) => {
    const {
      before = Buffer.alloc(0),
      after = Buffer.alloc(0),
      auxiliary = Buffer.alloc(0),
      overtaken = 0,
    } = parts;
    const tsmFolder = mkdtempSync(join(folder, "tsm-"));
    const base64 = (part: Buffer) => part.toString("base64");
    const tsm = {
      provider,
      overtaken,
      before: base64(before),
      after: base64(after),
      auxiliary: base64(auxiliary),
    };
    const { guest, claimArgs } = await start({ manifest: bytes, tsmFolder, tsm });
    await guest.ask("claim", claimArgs, ASK);
    return guest.ask("evidence", { purpose: "seal", nonce: hexOf(NONCE) }, ASK);
  };

  it("of SEV-SNP is a report of the bytes to bind, with the certificates of the host for the key that signed", async () => {
    for (const [signer, leaf] of [
      [0, vcek!],
      [1, vlek!],
    ] as const) {
      const auxiliary = table([
        { guid: GUIDS.vcek, bytes: vcek! },
        { guid: swapped(GUIDS.vlek), bytes: vlek! },
        { guid: GUIDS.ask, bytes: ask! },
        { guid: "ff".repeat(16), bytes: ask! },
      ]);
      const { platform, bundle, reportData } = await evidenceOf("sev_guest", {
        ...halves(signer),
        auxiliary,
      });
      expect(platform).toBe("sev-snp");
      const known = recogniseEvidence(Buffer.from(JSON.stringify(bundle)));
      if (known.platform !== "sev-snp") throw new Error("not of SEV-SNP");
      expect(hexOf(known.evidence.report.subarray(0x50, 0x90))).toBe(reportData);
      expect(Buffer.from(known.evidence.leaf)).toEqual(leaf);
      expect(known.evidence.chain.map((one) => Buffer.from(one))).toEqual([ask]);
    }
  });

  it("of SEV-SNP lacks what the host did not give, or gave outside of what it gave", async () => {
    for (const auxiliary of [
      Buffer.alloc(0),
      table([{ guid: GUIDS.vcek, bytes: vcek!, from: 4_294_967_290 }]),
    ]) {
      const { bundle } = await evidenceOf("sev_guest", { ...halves(0), auxiliary });
      expect(Object.keys(bundle!).sort()).toEqual(["platform", "report", "v"]);
    }
    await expect(evidenceOf("sev_guest", { before: Buffer.alloc(10) })).rejects.toMatchObject({
      code: "failed",
    });
  });

  it("of TDX is a quote", async () => {
    const { platform, bundle, reportData } = await evidenceOf("tdx_guest", { before: Buffer.from("quote ") });
    expect(platform).toBe("tdx");
    const quote = Buffer.concat([Buffer.from("quote "), Buffer.from(reportData, "hex")]);
    expect(bundle).toEqual({ v: 1, platform: "tdx", quote: quote.toString("base64") });
  });

  it("is asked for again when somebody else wrote in between, and not for ever", async () => {
    expect((await evidenceOf("tdx_guest", { overtaken: 2 })).platform).toBe("tdx");
    await expect(evidenceOf("tdx_guest", { overtaken: 9 })).rejects.toMatchObject({ code: "failed" });
  });

  it("is none of a processor that is not known here", async () => {
    expect((await evidenceOf("another")).platform).toBe("none");
  });
});

describeWith([guestCompiler, swtpm, swtpmSetup], "the guest's evidence of a TPM", () => {
  let tpm: SoftwareTpm;
  let driven: DrivenGuest;
  let keys: { sealing: string; tls: string };
  beforeAll(async () => {
    tpm = await startSoftwareTpm();
    for (const { pcr, data } of EVENTS) await tpm.extend(pcr, sha(data));
    const eventLog = join(folder, "log");
    writeFileSync(eventLog, writeEventLog(EVENTS));
    driven = await start({ manifest: bytes, tpm: tpm.socket, eventLog });
    ({ keys } = await driven.guest.ask("claim", { ...driven.claimArgs, endorsers: tpm.chain }, ASK));
  });
  afterAll(() => tpm?.stop());

  const evidenceFor = async (purpose: "report" | "seal", nonce: Uint8Array | null) =>
    driven.guest.ask("evidence", { purpose, nonce: nonce === null ? null : hexOf(nonce) }, ASK);
  const judge = async (answer: GuestEvidence, bound: Uint8Array, keyName?: string) => {
    const known = recogniseEvidence(Buffer.from(JSON.stringify(answer.bundle)));
    if (known.platform !== "tpm") throw new Error("not of a TPM");
    const root = new X509Certificate(Buffer.from(tpm.chain.at(-1)!, "base64"));
    const reading = parseTpmPolicy({
      pcrs: Object.fromEntries(EVENTS.map(({ pcr, data }) => [pcr, [hexOf(extendedBy(sha(data)))]])),
      endorsementRoots: [hexOf(sha(root.publicKey.export({ type: "spki", format: "der" })))],
    });
    if (!reading.ok) throw new Error(reading.faults.join());
    const nonce = await qualifyingDataOf(bound);
    const demands = tpmDemandsOf(reading.policy, { nonce, ...(keyName !== undefined && { keyName }) });
    return {
      evidence: known.evidence,
      verdict: await verifyTpm(known.evidence, { atMs: Date.now() + 60_000, demands }),
    };
  };
  const failing = ({ steps }: { steps: { name: string; ok: boolean }[] }) =>
    steps.filter(({ ok }) => !ok).map(({ name }) => name);

  it("is accepted with the name of a key that opened a credential, and is of the firmware's and the kernel's registers", async () => {
    const spki = fromBase64(keys.tls);
    const bound = await reportDataOf(spki, {
      form: "seal",
      nonce: NONCE,
      sealingKey: fromBase64(keys.sealing),
    });
    const answer = await evidenceFor("seal", NONCE);
    expect(answer).toMatchObject({ platform: "tpm", reportData: hexOf(bound) });
    const first = await judge(answer, bound);
    expect(failing(first.verdict)).toEqual(["key-known"]);
    expect(parseTpmQuote(first.evidence.quote).selection).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12]);

    const name = await nameOf(parseSigningKey(first.evidence.key));
    const endorsement = parseCertificate(first.evidence.endorsement![0]!).spki;
    const secret = sha("a secret");
    const { blob, encryptedSeed } = await makeCredential(endorsement, name, secret);
    const base64 = (part: Uint8Array) => Buffer.from(part).toString("base64");
    const ask = { credential: base64(blob), secret: base64(encryptedSeed) };
    expect((await driven.guest.ask("activate", ask, ASK)).secret).toBe(base64(secret));
    const { verdict } = await judge(answer, bound, hexOf(name));
    expect(failing(verdict)).toEqual([]);
    expect(verdict).toMatchObject({ accepted: true, hardware: false });

    const another = await makeCredential(endorsement, await nameOf({ area: sha("another key") }), secret);
    const other = { credential: base64(another.blob), secret: base64(another.encryptedSeed) };
    await expect(driven.guest.ask("activate", other, ASK)).rejects.toMatchObject({ code: "failed" });
    const long = { ...ask, credential: base64(Buffer.concat([blob, encryptedSeed])) };
    await expect(driven.guest.ask("activate", long, ASK)).rejects.toMatchObject({ code: "malformed" });
  });

  it("of one use and nonce is no evidence of another, and the key stays the same", async () => {
    const spki = fromBase64(keys.tls);
    const names = new Set<string | null>();
    for (const nonce of [null, NONCE]) {
      const { verdict } = await judge(
        await evidenceFor("report", nonce),
        await reportDataOf(spki, { form: "report", nonce }),
      );
      expect(failing(verdict)).toEqual(["key-known"]);
      names.add(verdict.keyName);
      const wrong = await reportDataOf(spki, { form: "report", nonce: sha("another") });
      expect(failing((await judge(await evidenceFor("report", nonce), wrong)).verdict)).toContain("nonce");
    }
    expect(names.size).toBe(1);
  });

  it("is made as often as it is asked for: nothing is left in the TPM", async () => {
    for (let time = 0; time < 5; time++) expect((await evidenceFor("report", NONCE)).platform).toBe("tpm");
  });
});
