// SPDX-License-Identifier: Apache-2.0
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";
import { describe, expect, test } from "vitest";
import { verifyProof } from "./verify.ts";

// The seed of the format's public corpus: a published constant, good for tests only.
const seed = Buffer.from("a1b2c3d4e5f60718293a4b5c6d7e8f900112233445566778899aabbccddeeff0", "hex");
const pkcs8 = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
const raw = createPublicKey(key).export({ format: "der", type: "spki" }).subarray(12);

const LINKS = [
  ["eee_namespace", "procfs_verification"],
  ["eee_tmpfs", "mountinfo_verification"],
  ["eee_memory", "dod_5220_multipass_wipe"],
  ["dire_keys", "ed25519_key_destruction"],
  ["dire_identity", "credential_incineration"],
  ["fgx_forensic", "merkle_tree_verification"],
  ["rzl_audit", "hash_chain_validation"],
  ["capsule_destroy", "capsule_lifecycle_verification"],
];
const sha512 = (data: string) => createHash("sha512").update(data).digest("hex");

function original(timestamp = "2026-05-08T00:00:00Z", chainTime = timestamp) {
  let prev = sha512("");
  const chain = LINKS.map(([subsystem, method], index) => {
    prev = sha512(`${prev}\0${subsystem}\0destroy\0${method}\0${chainTime}`);
    const evidence_hash = `sha512:${"0".repeat(128)}`;
    return {
      step: index + 1,
      subsystem,
      operation: `${subsystem}_op`,
      evidence_hash,
      chain_hash: `sha512:${prev}`,
    };
  });
  return {
    cdp_version: "1.0",
    session_id: "sess_a8f3e71c",
    destroyed_at: timestamp,
    chain,
    final_hash: `sha512:${prev}`,
    attestation: {
      algorithm: "Ed25519",
      public_key: `base64:${raw.toString("base64")}`,
      signature: `base64:${sign(null, Buffer.from(prev), key).toString("base64")}`,
      key_id: "nrx-verify-2026-05-08T00-00-00Z-a8f3e71c",
    },
  };
}
const judge = (document: object) => verifyProof(document).failures;

test("the chain is the published one for the corpus's timestamp and the key the published key", () => {
  const { chain } = original();
  expect(chain[0]!.chain_hash.slice(7, 39)).toBe("dd8b771ee228b936131127f029c2f937");
  expect(chain[7]!.chain_hash.slice(7, 39)).toBe("d21930f23d04006db2b5e35d7964891c");
  expect(raw.toString("base64")).toBe("GVHak/xHE0xBsS1K/zXf3f5XTSdINLQ568meFsvQvCw=");
});

describe("an original 1.0 document", () => {
  test("reaches level 1 and no more, and is said to sign no evidence", () => {
    expect(verifyProof(original())).toEqual({
      valid: true,
      level: 1,
      outcome: null,
      profile: null,
      checks: { chain_integrity: true, final_hash: true, signature: true, step_count: 8 },
      warnings: ["evidence_unsigned", "origin_unknown"],
      failures: [],
    });
    expect(verifyProof(original(), { level: 2 })).toMatchObject({
      valid: false,
      level: 1,
      failures: ["certificate_missing"],
    });
  });

  test("may hold a number that is no integer", () => {
    expect(judge({ ...original(), residency: { total_seconds: 1.5 } })).toEqual([]);
  });

  test("takes its time from the key id when it states none", () => {
    const { destroyed_at: _, ...document } = original();
    expect(judge(document)).toEqual([]);
    expect(
      judge({ ...document, attestation: { ...document.attestation, key_id: "nrx-verify-soon" } }),
    ).toContain("chain_hash_mismatch");
  });

  test("is bound to its time, and to nothing else", () => {
    expect(judge({ ...original(), destroyed_at: "2026-05-08T00:00:01Z" })).toContain("chain_hash_mismatch");
    expect(judge({ ...original(), session_id: "sess_another" })).toEqual([]);
  });

  test("is refused with exchanged or renamed steps", () => {
    const renamed = original();
    renamed.chain[1]!.subsystem = "eee_memory";
    expect(judge(renamed)).toEqual(["step_identity"]);
    const swapped = original();
    swapped.chain.reverse();
    expect(judge(swapped)).toContain("chain_hash_mismatch");
    expect(judge({ ...original(), chain: original().chain.slice(1) })).toEqual(["invalid_member"]);
    expect(judge({ ...original(), chain: [null] })).toEqual(["invalid_member"]);
    expect(judge({ ...original(), chain: undefined })).toEqual(["missing_member"]);
  });

  test("is refused with another final hash, also when that one was signed", () => {
    const other = sha512("other");
    const attestation = {
      ...original().attestation,
      signature: `base64:${sign(null, Buffer.from(other), key).toString("base64")}`,
    };
    expect(judge({ ...original(), final_hash: other, attestation })).toEqual(["final_hash_mismatch"]);
  });

  test.each([
    ["no signature", { signature: "" }, "signature_missing"],
    ["no key", { public_key: null }, "signature_missing"],
    ["a short signature", { signature: "base64:AAAA" }, "signature_malformed"],
    [
      "an SPKI key",
      {
        public_key: `base64:${createPublicKey(key).export({ format: "der", type: "spki" }).toString("base64")}`,
      },
      "public_key_malformed",
    ],
    ["a small-order key", { public_key: Buffer.alloc(32).toString("base64") }, "public_key_weak"],
    ["another key", { public_key: Buffer.alloc(32, 3).toString("base64") }, "signature_invalid"],
    ["another algorithm", { algorithm: "ed25519" }, "unsupported_algorithm"],
  ])("is refused with %s", (_name, change, failure) => {
    const document = original();
    expect(judge({ ...document, attestation: { ...document.attestation, ...change } })).toEqual([failure]);
  });

  test("is refused with a structure that is not judged here", () => {
    expect(judge({ ...original(), record_receipts: [] })).toEqual(["unsupported_feature"]);
    expect(judge({ ...original(), witness_signatures: {} })).toEqual(["unsupported_feature"]);
    expect(judge({ ...original(), activity: [{ event: "streaming_egress_started" }] })).toEqual([
      "unsupported_feature",
    ]);
    expect(judge({ ...original(), witness_signatures: null, activity: [{ event: "x" }, 1] })).toEqual([]);
  });
});
