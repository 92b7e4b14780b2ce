// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hexOf } from "./bytes.ts";
import { parsePolicyFile } from "./policy/file.ts";
import { EvidenceFault, recogniseEvidence } from "./recognise.ts";
import { makeAuthority } from "./snp/specimen.ts";
import { makeIntel } from "./tdx/specimen.ts";
import { makeTpm } from "./tpm/specimen.ts";
import { verifyEvidence } from "./verify.ts";
import { certificatesOf } from "./x509/files.ts";
import { bytesOf } from "./x509/specimen.ts";

const authority = makeAuthority("Milan");
const leaf = authority.issueLeaf();
const report = leaf.report();
const beside = [authority.root, leaf.der, authority.intermediate, authority.signCrl()];
const { quote, collateral } = makeIntel()();
const tpm = makeTpm();
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const json = (value: unknown) => bytesOf(JSON.stringify(value));
const TPM = {
  v: 1,
  platform: "tpm",
  quote: base64(tpm.quote().quote),
  signature: "AAAA",
  key: base64(tpm.key),
};

describe("evidence is known by its content", () => {
  test("a report, as bytes, as digits, as a workload answers it; its key's certificate is found beside it", () => {
    for (const file of [
      report,
      bytesOf(`${hexOf(report)}\n`),
      json({ report: {}, raw_report: hexOf(report) }),
    ])
      expect(recogniseEvidence(file, beside)).toEqual({
        platform: "sev-snp",
        evidence: { report, leaf: leaf.der, chain: beside, crls: [beside[3]] },
      });
  });

  test("a quote of TDX, as bytes and as digits", () => {
    for (const file of [quote, bytesOf(hexOf(quote))])
      expect(recogniseEvidence(file, collateral)).toEqual({
        platform: "tdx",
        evidence: { quote, collateral },
      });
  });

  test("bundles of each kind", () => {
    const snp = {
      v: 1,
      platform: "sev-snp",
      report: base64(report),
      leaf: base64(leaf.der),
      chain: [base64(authority.root)],
    };
    expect(recogniseEvidence(json(snp), [authority.intermediate])).toEqual({
      platform: "sev-snp",
      evidence: { report, leaf: leaf.der, chain: [authority.root, authority.intermediate], crls: [] },
    });
    // A list beside counts as one within.
    expect(recogniseEvidence(json(snp), beside).evidence).toMatchObject({ crls: [beside[3]] });
    // The guest's host gave it no certificate: whoever judges has it beside.
    const { leaf: _, ...bare } = snp;
    expect(recogniseEvidence(json(bare), [leaf.der, authority.intermediate])).toEqual({
      platform: "sev-snp",
      evidence: {
        ...{ report, leaf: leaf.der, crls: [] },
        chain: [authority.root, leaf.der, authority.intermediate],
      },
    });
    expect(() => recogniseEvidence(json(bare))).toThrow(EvidenceFault);
    const tdx = { v: 1, platform: "tdx", quote: base64(quote), collateral: collateral.map(base64) };
    expect(recogniseEvidence(json(tdx))).toEqual({ platform: "tdx", evidence: { quote, collateral } });
    // As a machine answers about itself over HTTPS, where there is no report of SEV-SNP.
    const answer = { platform: "tdx", raw_report: null, report: null, evidence: tdx, note: "a note" };
    expect(recogniseEvidence(json(answer))).toEqual({ platform: "tdx", evidence: { quote, collateral } });
    const pcrs = { 4: "00".repeat(32) };
    expect(recogniseEvidence(json({ ...TPM, pcrs, eventLog: "AAAA" })).evidence).toEqual({
      quote: tpm.quote().quote.length > 0 ? expect.any(Uint8Array) : null,
      signature: new Uint8Array(3),
      key: tpm.key,
      endorsement: [],
      pcrs: new Map([[4, new Uint8Array(32)]]),
      eventLog: new Uint8Array(3),
    });
  });
});

describe("the certificate of a report's key is found among those that a host and a cache have", () => {
  const found = (...files: Uint8Array[]) => {
    const known = recogniseEvidence(report, [authority.root, ...files]);
    return known.platform === "sev-snp" ? known.evidence.leaf : null;
  };
  const older = authority.issueLeaf({ spl: { 1: 2, 2: 0, 4: 0, 5: 0, 6: 0, 7: 0, 3: 8, 8: 115 } });
  const ofAnotherChip = authority.issueLeaf({ hardwareId: new Uint8Array(64).fill(7) });
  const spki = certificatesOf(leaf.der)[0]!.spki;
  const anew = authority.issueLeaf({ spki, notAfter: "20370101000000Z" });

  test("once, when it is there twice", () => {
    expect(found(leaf.der, leaf.der)).toEqual(leaf.der);
  });
  test("the one of this chip and this firmware, beside one from before an update and another chip's", () => {
    expect(found(older.der, leaf.der, ofAnotherChip.der)).toEqual(leaf.der);
    expect(found(ofAnotherChip.der, older.der, leaf.der)).toEqual(leaf.der);
  });
  test("the latest, when AMD issued the key's anew", () => {
    expect(found(leaf.der, anew.der)).toEqual(anew.der);
    expect(found(anew.der, leaf.der)).toEqual(anew.der);
  });
  test("another's alone, so that the document says what is wrong with it", () => {
    expect(found(older.der)).toEqual(older.der);
  });
});

test.each<[string, Uint8Array, Uint8Array[]]>([
  ["nothing", new Uint8Array(), []],
  ["a report without its key's certificate", report, [authority.root]],
  ["a report with two", report, [...beside, authority.issueLeaf().der]],
  ["a report of an unknown version", Uint8Array.from(report).fill(9, 0, 1), beside],
  ["a report that is cut off", report.subarray(0, 1183), beside],
  ["a quote of SGX", Uint8Array.from(quote).fill(0, 4, 5), []],
  ["JSON that is none", bytesOf("{"), []],
  ["a bundle of an unknown version", json({ ...TPM, v: 2 }), []],
  ["a bundle of an unknown kind", json({ ...TPM, platform: "sgx" }), []],
  ["a bundle without its key", json({ ...TPM, key: undefined }), []],
  ["a bundle with a member that its kind has not", json({ ...TPM, collateral: [] }), []],
  ["a bundle whose bytes are no base64", json({ ...TPM, key: "*" }), []],
  ["a bundle whose list is none", json({ ...TPM, endorsement: "AAAA" }), []],
  ["a bundle with a register that there is not", json({ ...TPM, pcrs: { 24: "00".repeat(32) } }), []],
  ["an answer whose report is no report", json({ raw_report: "00" }), beside],
  ["an answer with neither a report nor a bundle", json({ raw_report: null, evidence: null }), beside],
  ["an answer within an answer", json({ raw_report: null, evidence: { raw_report: hexOf(report) } }), beside],
])("%s is refused, and as a document", async (_name, file, more) => {
  expect(() => recogniseEvidence(file, more)).toThrow(EvidenceFault);
  const verdict = await verifyEvidence(file, more, { atMs: 0, policy: null });
  expect(verdict).toMatchObject({ platform: null, accepted: false, uncheckable: false, hardware: false });
  expect(verdict.steps).toEqual([
    { name: "evidence", ok: false, detail: expect.stringContaining("refused") },
  ]);
});

test("any bytes get a document", async () => {
  const policy = parsePolicyFile({ tpm: {} });
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json().map(bytesOf)), async (file) => {
      const verdict = await verifyEvidence(file, [Uint8Array.from(randomBytes(20))], {
        atMs: 0,
        policy: policy.ok ? policy.policy : null,
      });
      expect(verdict.accepted).toBe(false);
    }),
    { numRuns: 200 },
  );
});

describe("evidence of a TPM", () => {
  const made = tpm.quote({ extraData: bytesOf("nonce") });
  const file = json({
    ...TPM,
    quote: base64(made.quote),
    signature: base64(made.signature),
    pcrs: Object.fromEntries([4, 9, 11, 12].map((pcr) => [pcr, "00".repeat(32)])),
  });
  const policyOf = async (change: Record<string, unknown> = {}) => {
    const bare = await verifyEvidence(file, [], { atMs: 0, policy: null });
    const [, name] = /name ([0-9a-f]{68})/.exec(bare.steps[0]!.detail)!;
    const pcrs = Object.fromEntries([4, 9, 11, 12].map((pcr) => [pcr, ["00".repeat(32)]]));
    const reading = parsePolicyFile({ tpm: { pcrs, keys: [name], ...change } });
    if (!reading.ok) throw new Error(reading.faults.join());
    return reading.policy;
  };

  test("is accepted under a policy for it, and is no hardware", async () => {
    const verdict = await verifyEvidence(file, [], {
      atMs: 0,
      policy: await policyOf(),
      bound: bytesOf("nonce"),
    });
    expect(verdict).toMatchObject({ platform: "tpm", accepted: true, uncheckable: false, hardware: false });
  });

  test("is never accepted without a part for it, and says that it could not be checked", async () => {
    const other = parsePolicyFile({ snp: {} });
    for (const policy of [null, other.ok ? other.policy : null]) {
      const verdict = await verifyEvidence(file, [], { atMs: 0, policy });
      expect(verdict).toMatchObject({ accepted: false, uncheckable: true, hardware: false });
    }
    const stale = await verifyEvidence(file, [], { atMs: 0, policy: null, bound: bytesOf("other") });
    expect(stale).toMatchObject({ accepted: false, uncheckable: false });
  });

  test("is refused when the policy lacks a reference value", async () => {
    const policy = await policyOf({ pcrs: { 4: ["00".repeat(32)] } });
    const verdict = await verifyEvidence(file, [], { atMs: 0, policy });
    expect(verdict).toMatchObject({ accepted: false, uncheckable: false });
    expect(verdict.steps.filter(({ ok }) => !ok).map(({ name }) => name)).toEqual(["pcr9", "pcr11", "pcr12"]);
  });
});

test("a policy has known parts alone, at least one, and each is read", () => {
  expect(parsePolicyFile({ snp: {}, tdx: {}, tpm: {} })).toMatchObject({ ok: true });
  for (const value of [
    null,
    [],
    "tpm",
    {},
    { sgx: {} },
    { tpm: {}, debug: true },
    { tpm: { any: 1 } },
    { tpm: {}, snp: 1 },
  ])
    expect(parsePolicyFile(value)).toEqual({ ok: false, faults: expect.any(Array) });
});
