// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync, sign } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Members } from "../proofs/reading.ts";
import { links } from "./chain.ts";
import { canonical, hashOf, linesRoot, rawRoot, textRoot } from "./hash.ts";
import { type AuditOptions, judgeAuditProof } from "./ladder.ts";
import { isPoint } from "./point.ts";
import { isAccepted } from "./verdict.ts";
import { canonicalHash, signedText } from "./view.ts";

const AT = "2026-05-08T00:00:00Z";
const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const raw = Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url");
const SUBSYSTEMS = [
  ...["eee_namespace", "eee_tmpfs", "eee_memory", "dire_keys"],
  ...["dire_identity", "fgx_forensic", "rzl_audit", "capsule_destroy"],
];

/** A whole document, signed after `change`; `roots` are what the last link takes in. */
function made(change: (document: Members) => void = () => {}, roots: string[] = []): Members {
  const hashes = links(AT, roots);
  const document: Members = {
    ...{ cdp_version: "2.2", capsule_id: "cap_1", org_id: "org", signing_mode: "nanorix_only" },
    ...{ jurisdiction: "us", authority_id: "us-kms-nanorix-v1", signing_key_version: "1" },
    ...{ hash_algorithm: "SHA-512", signature_algorithm: "Ed25519", destruction_state: "complete" },
    activity: [{ event: "capsule_started", region: "eu-west1" }],
    chain: hashes.map((hash, at) => ({
      ...{ step: at + 1, subsystem: SUBSYSTEMS[at], operation: "x", evidence_hash: "" },
      chain_hash: `sha512:${hash}`,
    })),
    final_hash: `sha512:${hashes[7]}`,
    destroyed_at: AT,
  };
  change(document);
  const message = signedText(document);
  document.attestation ??= {
    algorithm: "Ed25519",
    public_key: `base64:${raw.toString("base64")}`,
    signature:
      message === null ? "AAAA" : `base64:${sign(null, Buffer.from(message), privateKey).toString("base64")}`,
  };
  return document;
}
const judge = (document: unknown, options?: AuditOptions) =>
  judgeAuditProof(JSON.stringify(document), options);
const reasonOf = (document: unknown, options?: AuditOptions) => judge(document, options).failure_reason;
const ACCEPTED = { valid: true, stage_reached: 7, failure_reason: null };

test("a document that is whole and signed is accepted, in every version that signs", () => {
  for (const cdp_version of ["1.0", "2.1", "2.2"])
    expect(judge(made((d) => Object.assign(d, { cdp_version })))).toEqual(ACCEPTED);
  expect(judge(made((d) => Object.assign(d, { cdp_version: "2.0", document_hash: "sha512:abc" })))).toEqual(
    ACCEPTED,
  );
});

test("a chain that nobody signed is whole and not accepted", () => {
  for (const attestation of [{}, { signature: "" }, { public_key: "x" }, 5]) {
    const verdict = judge(made((d) => Object.assign(d, { attestation })));
    expect(verdict).toEqual({ valid: true, stage_reached: 4, failure_reason: null });
    expect(isAccepted(verdict)).toBe(false);
  }
});

test("the published hash of the view is ours", () => {
  expect(
    canonicalHash({
      ...{
        cdp_version: "2.1",
        capsule_id: "cap_test_0001",
        signing_key_version: "1",
        activity: [],
        chain: [],
      },
      ...{ signing_mode: "nanorix_only", jurisdiction: "us", authority_id: "us-kms-nanorix-v1" },
      ...{ org_id: "00000000-0000-0000-0000-000000000001", destruction_state: "complete" },
      ...{ hash_algorithm: "SHA-512", signature_algorithm: "Ed25519" },
    }),
  ).toBe(
    "402f533e81d78a05f386bee62a919436b8eacdea2c49397d54547bbd19dabce47bc95143635ee6d487e35eee037fec31ebd1f8f88b2f3f36ae2908324c74aabe",
  );
});

describe("what was disclosed about other verifiers does not pass here", () => {
  test("an unsigned member is not read as signed", () => {
    const changed = made();
    changed.region = "us-central1";
    expect(judge(changed, { policy: { required_region: "eu-west1" } })).toEqual(ACCEPTED);
    expect(reasonOf(changed, { policy: { required_region: "us-central1" } })).toEqual({
      ...{ type: "region_mismatch", required: "us-central1", actual: "eu-west1" },
    });
  });

  test("leaves are not believed: every root is computed anew", () => {
    const receipt = {
      record_index: 0,
      record_id: "a",
      record_input_hash: "",
      record_output_hash: "",
      record_chain_hash: "sha512:00",
    };
    const root = "00";
    const claimed = made(
      (d) => Object.assign(d, { record_receipts: [receipt], record_receipts_merkle_root: root }),
      [root],
    );
    expect(reasonOf(claimed)).toEqual({
      type: "step_hash_mismatch",
      step_idx: 0,
      subsystem: "record_receipt[0]",
    });
  });

  test.each([
    "customer_attestation",
    "policy_attestation",
    "third_party_attestation",
    "retention_policy_attestation",
    "witness_signatures",
    "pqc_attestation",
    "customer_pqc_attestation",
  ])("the slot %s, which nothing signs, stays empty", (field) => {
    for (const value of [{}, [], "", 0, false])
      expect(reasonOf({ ...made(), [field]: value })).toEqual({ type: "unsigned_field_populated", field });
    expect(judge({ ...made(), [field]: null })).toEqual(ACCEPTED);
  });

  test("lineage is not forged by leaving its root out", () => {
    const parents = [{ parent_chain_hash: "aa" }];
    expect(reasonOf(made((d) => Object.assign(d, { parent_proof_hashes: parents })))).toEqual({
      ...{ type: "required_field_missing", field: "parent_proofs_merkle_root" },
    });
    const child = made((d) => Object.assign(d, { parent_audit_proof_id: "cap_0" }));
    delete child.parent_audit_proof_id;
    expect(reasonOf(child)).toEqual({ type: "signature_mismatch", reason: "does_not_verify" });
  });

  test("a step is what its place says, not what it calls itself", () => {
    const renamed = made((d) => {
      (d.chain as Members[])[2]!.subsystem = "eee_tmpfs";
    });
    expect(reasonOf(renamed)).toEqual({
      ...{ type: "chain_step_identity_mismatch", step_idx: 2 },
      ...{ expected_subsystem: "eee_memory", found_subsystem: "eee_tmpfs" },
    });
  });
});

describe("structures with roots of their own", () => {
  const receipts = [0, 1, 2].map((record_index) => {
    const trail = [{ event: "read", n: record_index }];
    const activity = trail.reduce((hash, event) => hashOf(hash, hashOf(canonical(event))), hashOf(""));
    const record_chain_hash = hashOf("cap_1", String(record_index), "id", "in", "out", activity, "tag");
    return {
      ...{ record_index, record_id: "id", record_input_hash: "sha512:in", record_output_hash: "out" },
      ...{ record_activity_trail: trail, pattern_tag: "tag", record_chain_hash },
    };
  });
  const receiptsRoot = textRoot(receipts.map(({ record_chain_hash }) => record_chain_hash))!;
  const parentsRoot = textRoot(["aa", "bb"])!;
  const parents = [{ parent_chain_hash: "sha512:aa" }, { parent_chain_hash: "bb" }];

  test("hold together with both roots in the last link, in their order", () => {
    const both = (d: Members) =>
      Object.assign(d, {
        ...{ record_receipts: receipts, record_receipts_merkle_root: `sha512:${receiptsRoot}` },
        ...{ parent_proof_hashes: parents, parent_proofs_merkle_root: parentsRoot },
      });
    expect(judge(made(both, [receiptsRoot, parentsRoot]))).toEqual(ACCEPTED);
    expect(reasonOf(made(both, [parentsRoot, receiptsRoot]))).toMatchObject({
      type: "step_hash_mismatch",
      step_idx: 7,
    });
  });

  test("fail when one leaf is exchanged, doubled or gone", () => {
    for (const parent_proof_hashes of [[...parents].reverse(), [...parents, parents[1]], parents.slice(1)]) {
      const document = made(
        (d) => Object.assign(d, { parent_proof_hashes, parent_proofs_merkle_root: parentsRoot }),
        [parentsRoot],
      );
      expect(judge(document)).toMatchObject({
        stage_reached: 3,
        failure_reason: { type: "final_hash_mismatch", claimed: parentsRoot },
      });
    }
  });

  const chunks = [Buffer.alloc(64, 1), Buffer.alloc(64, 2), Buffer.alloc(64, 3)];
  const stream = (root: string, change: (events: Members[]) => void = () => {}) => {
    const events: Members[] = [
      { event: "streaming_egress_started" },
      ...[2, 0, 1].map((seq) => ({
        event: "streaming_egress_chunk",
        seq,
        chunk_hash: chunks[seq]!.toString("hex").toUpperCase(),
      })),
      { event: "streaming_egress_completed", total_chunks: 3, streaming_merkle_root: root },
    ];
    change(events);
    return made((d) => Object.assign(d, { activity: events }));
  };

  test("a stream's chunks are counted in their order", () => {
    expect(judge(stream(`sha512:${rawRoot(chunks)}`))).toEqual(ACCEPTED);
    expect(reasonOf(stream(rawRoot([...chunks].reverse())))).toMatchObject({
      type: "streaming_merkle_root_mismatch",
    });
    expect(
      reasonOf(stream(rawRoot(chunks), (events) => Object.assign(events[1]!, { chunk_hash: "aa" }))),
    ).toEqual({ type: "required_field_missing", field: "activity_trail.streaming_egress_chunk.chunk_hash" });
    expect(judge(stream("anything", (events) => Object.assign(events[4]!, { total_chunks: 4 })))).toEqual(
      ACCEPTED,
    );
  });

  test("a customer's file is compared with the root that was declared for it", () => {
    const file = Buffer.from("one\ntwo\n");
    const declared = made((d) =>
      Object.assign(d, { customer_declared_activity_root: `sha512:${linesRoot(file)}` }),
    );
    expect(judge(declared)).toEqual(ACCEPTED);
    expect(judge(declared, { activityFile: file })).toEqual(ACCEPTED);
    expect(reasonOf(declared, { activityFile: Buffer.from("one\ntwo \n") })).toMatchObject({
      type: "customer_declared_activity_root_mismatch",
    });
    expect(reasonOf(made(), { activityFile: file })).toEqual({
      type: "required_field_missing",
      field: "customer_declared_activity_root",
    });
  });

  test.each([
    [5, "expected a JSON string"],
    ["", "empty string"],
    ["sha512:AA", "expected sha512: followed by 128 lowercase hex characters"],
  ])("a declared root %j is no root", (value, reason) => {
    const field = "customer_declared_activity_root";
    expect(judge(made((d) => Object.assign(d, { [field]: value })))).toEqual({
      ...{ valid: false, stage_reached: 2, failure_reason: { type: "field_malformed", field, reason } },
    });
    expect(reasonOf(made((d) => Object.assign(d, { cdp_version: "1.0", [field]: value })))).toEqual({
      type: "unsigned_field_populated",
      field,
    });
  });
});

describe("rungs that no published case stands on", () => {
  test.each<[string, unknown, number, object]>([
    ["no JSON", "{", 1, { type: "required_field_missing", field: "json_root" }],
    [
      "a key twice",
      '{"cdp_version":"2.1","cdp_version":"2.1"}',
      1,
      { type: "required_field_missing", field: "json_root" },
    ],
    ["a list", "[]", 1, { type: "required_field_missing", field: "cdp_version" }],
    [
      "a version that is a number",
      '{"cdp_version":2.1}',
      1,
      { type: "required_field_missing", field: "cdp_version" },
    ],
    ["no chain", '{"cdp_version":"2.1"}', 3, { type: "required_field_missing", field: "chain" }],
  ])("%s", (_name, text, stage_reached, failure_reason) => {
    expect(judgeAuditProof(text as string)).toEqual({ valid: false, stage_reached, failure_reason });
  });

  test("algorithms, modes, and texts that are no key or signature", () => {
    const attest = (change: Members) => {
      const document = made();
      Object.assign(document.attestation as Members, change);
      return judge(document);
    };
    const at7 = (reason: string) => ({
      valid: false,
      stage_reached: 7,
      failure_reason: { type: "signature_mismatch", reason },
    });
    expect(attest({ algorithm: "RSA" })).toMatchObject({
      stage_reached: 4,
      failure_reason: { found: "RSA" },
    });
    expect(attest({ signature: "base64:" })).toEqual(at7("malformed"));
    expect(attest({ signature: "A".repeat(85) })).toEqual(at7("malformed"));
    expect(attest({ public_key: "base64:AAAA" })).toEqual(at7("public_key_malformed"));
    expect(
      attest({ public_key: publicKey.export({ format: "der", type: "spki" }).toString("base64") }),
    ).toEqual(at7("public_key_malformed"));
    // Of small order: a signature that holds for it holds for other messages too.
    expect(
      attest({
        public_key: Buffer.alloc(32).toString("base64"),
        signature: Buffer.alloc(64).toString("base64"),
      }),
    ).toEqual(at7("does_not_verify"));
    expect(judge(made((d) => Object.assign(d, { signing_mode: "dual_signature" })))).toEqual({
      ...{
        valid: false,
        stage_reached: 4,
        failure_reason: { type: "algorithm_unsupported", found: "signing_mode=dual_signature" },
      },
    });
  });

  test("the older name of the key counts only without the newer", () => {
    const document = made();
    const { public_key, ...rest } = document.attestation as Members;
    expect(judge({ ...document, attestation: { ...rest, verification_key: public_key } })).toEqual(ACCEPTED);
    expect(
      judge({ ...document, attestation: { ...rest, public_key: "", verification_key: public_key } })
        .stage_reached,
    ).toBe(4);
  });

  test("a time is taken from the key's id when the document has none", () => {
    const document = made((d) => {
      delete d.destroyed_at;
    });
    (document.attestation as Members).key_id = "nrx-verify-2026-05-08T00-00-00Z-cap";
    expect(judge(document)).toEqual(ACCEPTED);
    (document.attestation as Members).key_id = "nrx-verify-2026-05-08T00-00-00Z-";
    expect(reasonOf(document)).toMatchObject({ type: "step_hash_mismatch", step_idx: 0 });
  });
});

test("half of all texts of 32 bytes are points, the keys of this library among them", () => {
  expect(isPoint(raw)).toBe(true);
  const points = Array.from({ length: 64 }, (_, at) => isPoint(Buffer.alloc(32, at + 2))).filter(
    Boolean,
  ).length;
  expect(points).toBeGreaterThan(16);
  expect(points).toBeLessThan(48);
});

test("no change of a signed document leaves it accepted, and none throws", () => {
  const signed = [
    "cdp_version",
    "capsule_id",
    "org_id",
    "jurisdiction",
    "authority_id",
    "activity",
    "chain",
    "destruction_state",
    "final_hash",
    "destroyed_at",
    "hash_algorithm",
    "destruction_failure_step",
  ];
  fc.assert(
    fc.property(fc.constantFrom(...signed), fc.jsonValue(), (name, value) => {
      const document = made();
      const before = canonicalHash(document);
      document[name] = value;
      // What the view writes the same way was not changed: a null where nothing stood.
      fc.pre(canonicalHash(document) !== before || name === "final_hash" || name === "destroyed_at");
      expect(isAccepted(judge(document))).toBe(false);
    }),
    { numRuns: 300 },
  );
});
