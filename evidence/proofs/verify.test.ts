// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import { type Issuer, PinnedIssuer } from "./certificate.ts";
import type { Cdp } from "./document.ts";
import { toBase64Text } from "./encoding.ts";
import { forge } from "./forgery.ts";
import { openProof } from "./reading.ts";
import { makeKey, makeSpecimen } from "./specimen.ts";
import type { ProofVerdict } from "./verdict.ts";
import { examineProof, verifyProof } from "./verify.ts";

const specimen = makeSpecimen();
const issuers = [specimen.issuer];
const text = new TextDecoder().decode(specimen.bytes);

const whole: ProofVerdict = {
  valid: true,
  level: 2,
  outcome: "complete",
  profile: "casemate-cdp/1",
  checks: { chain_integrity: true, final_hash: true, signature: true, step_count: 8 },
  warnings: [],
  failures: [],
};

describe("a proof that was just made", () => {
  test("holds at level 2 under its issuer, as bytes, text, value, envelope or opened", () => {
    const spaced = JSON.stringify(specimen.cdp, null, 2);
    const envelope = JSON.stringify({
      session_id: "sess_",
      status: "destroyed",
      cdp: specimen.cdp,
      salt: "",
    });
    const inputs = [specimen.bytes, text, specimen.cdp, spaced, envelope, JSON.parse(envelope)];
    for (const input of [...inputs, openProof(specimen.bytes)]) {
      expect(verifyProof(input, { issuers })).toEqual(whole);
    }
  });

  test("holds under an issuer pinned once, and under the second key of an issuer that has two", () => {
    expect(verifyProof(specimen.bytes, { issuers: [new PinnedIssuer(specimen.issuer)] })).toEqual(whole);
    const older: Issuer = { ...specimen.issuer, publicKey: makeKey().text };
    expect(verifyProof(specimen.bytes, { issuers: [older, specimen.issuer] })).toEqual(whole);
  });

  test("holds at level 1 only, with a warning, where nobody knows its issuer", () => {
    const foreign = { ...whole, level: 1, warnings: ["origin_unknown"] };
    expect(verifyProof(specimen.bytes)).toEqual(foreign);
    expect(verifyProof(specimen.bytes, { issuers: [{ ...specimen.issuer, issuerId: "other" }] })).toEqual(
      foreign,
    );
    expect(verifyProof(specimen.bytes, { issuers, level: 1 })).toEqual(foreign);
  });

  test("names its key before it is verified", () => {
    expect(openProof(specimen.bytes).keyId).toBe(specimen.cdp.attestation.key_id);
    expect(openProof("{}").keyId).toBeNull();
  });

  test("passes every named check", () => {
    const { done } = examineProof(specimen.bytes, { issuers });
    expect(done.map(({ name, passed }) => [name, passed])).toEqual(
      [
        "form",
        "twins",
        "chain",
        "signature",
        "seal",
        "times",
        "claims",
        "outcome",
        "certificate",
        "revocation",
      ].map((name) => [name, true]),
    );
  });
});

describe("provenance", () => {
  const demanded = (input: unknown, options = {}) => verifyProof(input, { issuers, level: 2, ...options });

  test("asked for without a pinned issuer is not shown", () => {
    expect(verifyProof(specimen.bytes, { level: 2 })).toMatchObject({
      valid: false,
      level: 1,
      failures: ["issuer_unknown"],
    });
  });

  test("is demanded of a document that names a pinned issuer, whose key must have signed", () => {
    const impostor = [{ ...specimen.issuer, publicKey: makeKey().text }];
    expect(verifyProof(specimen.bytes, { issuers: impostor })).toMatchObject({
      valid: false,
      level: 1,
      failures: ["certificate_invalid"],
    });
  });

  test("fails under an issuer pinned with a weak or malformed key, and such a key cannot be imported", () => {
    const weak = toBase64Text(Uint8Array.of(...makeKey().spki.subarray(0, 12), 1, ...new Uint8Array(31)));
    for (const publicKey of [weak, "base64:AAAA", ""]) {
      expect(demanded(specimen.bytes, { issuers: [{ ...specimen.issuer, publicKey }] }).failures).toEqual([
        "certificate_invalid",
      ]);
      expect(() => new PinnedIssuer({ ...specimen.issuer, publicKey })).toThrow(TypeError);
    }
  });

  test.each<[string, (cdp: Cdp) => void, string]>([
    [
      "another session",
      ({ attestation }) => {
        attestation.certificate.session_id = `sess_${"0".repeat(32)}`;
      },
      "certificate_mismatch",
    ],
    [
      "another key id",
      ({ attestation }) => {
        attestation.certificate.key_id = "nrx-verify-20260301T140000Z-00000000";
      },
      "certificate_mismatch",
    ],
    [
      "another key",
      ({ attestation }) => {
        attestation.certificate.public_key = makeKey().text;
      },
      "certificate_mismatch",
    ],
    [
      "a time before the destruction",
      ({ attestation }) => {
        attestation.certificate.not_after = "2026-03-01T14:05:03Z";
      },
      "certificate_window",
    ],
    [
      "a time after the destruction",
      ({ attestation }) => {
        attestation.certificate.not_before = "2026-03-01T14:05:05Z";
      },
      "certificate_window",
    ],
    [
      "a time that does not exist",
      ({ attestation }) => {
        attestation.certificate.not_after = "2026-13-01T14:05:05Z";
      },
      "certificate_window",
    ],
  ])("fails for a certificate, however well signed, that speaks of %s", (_name, change, failure) => {
    const forged = forge(specimen, change);
    expect(demanded(forged)).toMatchObject({ valid: false, level: 1, failures: [failure] });
  });

  test("holds at both ends of the certificate's window", () => {
    const edge = forge(specimen, ({ attestation, destroyed_at }) => {
      attestation.certificate.not_before = destroyed_at;
      attestation.certificate.not_after = destroyed_at;
    });
    expect(demanded(edge)).toEqual(whole);
  });

  test("fails for a revoked key, also where nothing is known of its issuer", () => {
    const revokedKeyIds = [specimen.cdp.attestation.key_id];
    expect(verifyProof(specimen.bytes, { issuers, revokedKeyIds })).toMatchObject({
      valid: false,
      level: 1,
      failures: ["key_revoked"],
    });
    expect(verifyProof(specimen.bytes, { revokedKeyIds: new Set(revokedKeyIds) }).valid).toBe(false);
  });

  test("is demanded of a document that uses a key id known here, and its key must be the known one", () => {
    const { key_id, public_key } = specimen.cdp.attestation;
    expect(verifyProof(specimen.bytes, { issuers, knownKeys: new Map([[key_id, public_key]]) })).toEqual(
      whole,
    );
    const thief = makeSpecimen();
    const stolen = forge(thief, ({ attestation }) => {
      attestation.certificate.issuer_id = "thief";
    });
    const knownKeys = new Map([[key_id, public_key]]);
    expect(verifyProof(stolen).valid).toBe(true);
    expect(verifyProof(stolen, { knownKeys })).toMatchObject({
      valid: false,
      level: 1,
      failures: ["issuer_unknown", "known_key_mismatch"],
    });
  });
});

describe("a proof of an incomplete destruction", () => {
  const unclean = makeSpecimen((parts) => ({
    ...parts,
    steps: parts.steps.with(1, { ...parts.steps[1], ok: false }) as unknown as typeof parts.steps,
  }));

  test("is valid, and says so", () => {
    expect(verifyProof(unclean.bytes, { issuers: [unclean.issuer] })).toEqual({
      ...whole,
      outcome: "incomplete",
      warnings: ["outcome_incomplete"],
    });
  });
});

describe("what cannot be judged", () => {
  test.each([
    ["no JSON", "nonsense", "not_json"],
    ["no object", "[1]", "not_an_object"],
    ["a string", '"text"', "not_an_object"],
    ["no version", "{}", "unsupported_version"],
    ["an unknown version", '{"cdp_version":"3.0"}', "unsupported_version"],
    ["a version that is a number", '{"cdp_version":1.0}', "unsupported_version"],
    ["an unknown profile", '{"cdp_version":"1.0","profile":"casemate-cdp/2"}', "unsupported_profile"],
    ["a null profile", '{"cdp_version":"1.0","profile":null}', "unsupported_profile"],
    ["another algorithm", text.replace('"Ed25519"', '"none"'), "unsupported_algorithm"],
    ["a duplicate key", text.replace("{", '{"cdp_version":"1.0",'), "duplicate_key"],
    [
      "a number with an exponent",
      text.replace('"ttl_seconds":300', '"ttl_seconds":3e2'),
      "number_not_integer",
    ],
    [
      "a number with a fraction",
      text.replace('"ttl_seconds":300', '"ttl_seconds":300.0'),
      "number_not_integer",
    ],
    ["half a surrogate pair", text.replace("6.18.0", "\\ud800"), "lone_surrogate"],
    ["a document of 256 KiB and more", `{"a":"${"a".repeat(262144)}"}`, "too_large"],
    ["a document nested too deep", `{"a":${"[".repeat(32)}${"]".repeat(32)}}`, "too_deep"],
    ["an envelope around an envelope", JSON.stringify({ cdp: { cdp: specimen.cdp } }), "unsupported_version"],
    ["an unknown member", text.replace("{", '{"verified":true,'), "unknown_member"],
    ["an envelope with a version of its own", text.replace("{", '{"cdp":{},'), "unknown_member"],
    ["a missing member", text.replace(/"final_hash":"[^"]*",/, ""), "missing_member"],
    ["a member of another type", text.replace('"ttl_seconds":300', '"ttl_seconds":"300"'), "invalid_member"],
  ])("%s gets its own failure, level 0 and no outcome", (_name, input, failure) => {
    const verdict = verifyProof(input, { issuers });
    expect(verdict.failures).toContain(failure);
    expect(verdict).toMatchObject({ valid: false, level: 0, outcome: null, warnings: [] });
    expect(verdict.checks).toMatchObject({ chain_integrity: false, final_hash: false, signature: false });
  });

  test("entries are counted as found", () => {
    const seven = { ...specimen.cdp, chain: specimen.cdp.chain.slice(1) };
    expect(verifyProof(seven).checks.step_count).toBe(7);
    expect(verifyProof("{}").checks.step_count).toBe(0);
  });
});
