// SPDX-License-Identifier: Apache-2.0
/** Whatever a verifier may build a verdict on is among what can be revoked, however whoever made the evidence wrote it down. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { makeAuthority } from "#evidence/snp/specimen.ts";
import { makeIntel } from "#evidence/tdx/specimen.ts";
import { certificatesOf } from "#evidence/x509/files.ts";
import { referencesOf } from "./references.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const pem = (der: Uint8Array) => `-----BEGIN CERTIFICATE-----\n${base64(der)}\n-----END CERTIFICATE-----\n`;
const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const restsOn = (evidence: Uint8Array, beside: readonly Uint8Array[] = []) =>
  referencesOf({ evidence, beside, policy: null, also: [] });
const hashesOf = (...ders: Uint8Array[]) =>
  ders.flatMap((der) => [sha256(der), sha256(certificatesOf(der)[0]!.spki)]);

describe("of SEV-SNP", () => {
  const authority = makeAuthority("Milan");
  const leaf = authority.issueLeaf();
  const bundle = { v: 1, platform: "sev-snp", report: base64(leaf.report()) };
  const all = hashesOf(leaf.der, authority.intermediate, authority.root);

  it("leaf and chain, also where the leaf is not the machine's own word", () => {
    const chain = [authority.intermediate, authority.root].map(base64);
    expect(restsOn(json({ ...bundle, chain, leaf: base64(leaf.der) }))).toEqual(expect.arrayContaining(all));
    expect(restsOn(json({ ...bundle, chain }), [leaf.der])).toEqual(expect.arrayContaining(all));
  });

  it("a chain in which a block is no certificate, which a verifier passes over", () => {
    const broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    const text = broken + pem(authority.intermediate) + pem(authority.root);
    const evidence = json({ ...bundle, leaf: base64(leaf.der), chain: [base64(Buffer.from(text))] });
    expect(restsOn(evidence)).toEqual(expect.arrayContaining(all));
  });
});

describe("of TDX", () => {
  const { quote, collateral, parts } = makeIntel()();
  const text = Buffer.from(quote).toString("latin1");
  const inQuote = [...text.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END/g)].map(([, one]) =>
    Buffer.from(one!, "base64"),
  );
  const signer = certificatesOf(parts.certificates)[0]!;

  it("the platform's certificates in the quote, and who signed what Intel says", () => {
    expect(inQuote).toHaveLength(3);
    const expected = [...hashesOf(...inQuote), sha256(signer.der), sha256(signer.spki)];
    const bundle = json({ v: 1, platform: "tdx", quote: base64(quote), collateral: collateral.map(base64) });
    expect(restsOn(bundle)).toEqual(expect.arrayContaining(expected));
    expect(restsOn(quote, collateral)).toEqual(expect.arrayContaining(expected));
  });

  it("the signer that is within one document of all collateral", () => {
    const whole = json({ tcb_info_issuer_chain: Buffer.from(parts.certificates).toString() });
    expect(restsOn(quote, [whole])).toEqual(expect.arrayContaining([sha256(signer.der)]));
  });
});

it("evidence that brings more than is looked up rests on nobody knows what", () => {
  const authority = makeAuthority("Milan");
  const [leaf, ...many] = Array.from({ length: 260 }, () => authority.issueLeaf());
  const chain = many.slice(0, 256).map(({ der }) => base64(der));
  const bundle = {
    v: 1,
    platform: "sev-snp",
    report: base64(leaf!.report()),
    leaf: base64(leaf!.der),
    chain,
  };
  expect(restsOn(json(bundle))).toBeNull();
});
