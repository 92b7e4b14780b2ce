// SPDX-License-Identifier: Apache-2.0
import { createHash, createPublicKey, verify } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { judgeAuditProof } from "#evidence/auditproof/ladder.ts";
import { openManifest } from "#evidence/auditproof/manifest.ts";
import { openProof } from "#evidence/proofs/reading.ts";
import { type Caller, type Installation, startInstallation } from "#testing/installation.ts";

const RAW_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
let casemate: Installation;
let me: Caller & { accountId: string };
let id = "";
let stored: Buffer;
beforeAll(async () => {
  casemate = await startInstallation();
  me = await casemate.account();
  id = (await me("POST", "/v1/sessions", { data_classification: "PHI" })).body.session_id;
  await me("DELETE", `/v1/sessions/${id}`);
  stored = Buffer.from((await me("GET", `/v1/proofs/${id}`)).text);
});
afterAll(() => casemate[Symbol.asyncDispose]());

const exported = (format: string, by: Caller = me) => by("GET", `/v1/proofs/${id}?format=${format}`);

test("an AuditProof of a session's end is signed, binds the stored proof, and is the same each time", async () => {
  const { status, text, headers } = await exported("auditproof-2.2");
  expect([status, headers.get("content-type")]).toEqual([200, "application/vnd.nanorix.auditproof+json"]);
  expect(judgeAuditProof(text, { activityFile: stored })).toEqual({
    ...{ valid: true, stage_reached: 7, failure_reason: null },
  });
  const other = Buffer.from(stored);
  other[stored.indexOf('"destroyed_at":"') + 20]! ^= 1;
  expect(judgeAuditProof(text, { activityFile: other }).failure_reason).toMatchObject({
    type: "customer_declared_activity_root_mismatch",
  });
  const again = await exported("auditproof-2.2");
  expect([again.text, again.headers.get("etag")]).toEqual([text, headers.get("etag")]);
  // What it says is what the proof says.
  const [document, cdp] = [JSON.parse(text), JSON.parse(stored.toString())];
  expect(document).toMatchObject({
    ...{ capsule_id: id, org_id: "", destroyed_at: cdp.destroyed_at, destruction_state: "complete" },
    ...{ destruction_failure_step: null, destruction_trigger: "user_explicit" },
    residency: { started: cdp.created_at, destroyed: cdp.destroyed_at },
  });
  expect(document.activity[2]).toMatchObject({ final_hash: cdp.final_hash, limits: cdp.context.limits });
  const hashes = cdp.evidence.map(
    (one: object) => `sha512:${createHash("sha512").update(sorted(one)).digest("hex")}`,
  );
  expect(document.chain.map((one: { evidence_hash: string }) => one.evidence_hash)).toEqual(hashes);
  expect(openProof(text).kind).toBe("auditproof");
  expect((await casemate.anyone("POST", "/v1/verify", text)).body).toMatchObject({ valid: true, level: 1 });
});

test("a changed word of an AuditProof is seen, in every member that its signature covers", async () => {
  const { text } = await exported("auditproof-2.2");
  for (const [was, is] of [
    ['"destruction_state":"complete"', '"destruction_state":"aborted"'],
    ['"event":"destruction_initiated"', '"event":"destruction_delayed"'],
    ['"evidence_hash":"sha512:', '"evidence_hash":"sha512:0'],
    [`"capsule_id":"${id}"`, `"capsule_id":"${id.slice(0, -1)}0"`],
    ['"single_pass"', '"many_passes"'],
  ] as const) {
    expect(text).toContain(was);
    const verdict = judgeAuditProof(text.replace(was, is));
    expect([was, verdict.valid, verdict.stage_reached]).toEqual([was, false, 7]);
  }
});

test("the trust chain says whose key that is, to who pinned the installation's", async () => {
  const { text } = await exported("auditproof-2.2");
  const chain = (await casemate.anyone("GET", "/platform/v1/issuers/trust-chain")).body;
  const manifest = openManifest(chain, chain.identity_fingerprint);
  if (typeof manifest === "string") throw new Error(manifest);
  expect(judgeAuditProof(text, { manifest })).toMatchObject({ valid: true, stage_reached: 8 });
  expect(openManifest(chain, `sha256:${"0".repeat(64)}`)).toBe("fingerprint_mismatch");
  expect(openManifest({ ...chain, issued_at: "2020-01-01T00:00:00Z" }, chain.identity_fingerprint)).toBe(
    "signature_invalid",
  );
});

test("an in-toto statement names the stored proof by its hash, under the same key", async () => {
  const { status, text, headers } = await exported("in-toto");
  expect([status, headers.get("content-type")]).toEqual([200, "application/vnd.dsse.envelope.v1+json"]);
  const { payloadType, payload, signatures } = JSON.parse(text);
  const bytes = Buffer.from(payload, "base64");
  const signed = Buffer.concat([
    Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${bytes.length} `),
    bytes,
  ]);
  const audit = JSON.parse((await exported("auditproof-2.2")).text);
  const raw = Buffer.from(audit.attestation.public_key.slice("base64:".length), "base64");
  const key = createPublicKey({ key: Buffer.concat([RAW_PREFIX, raw]), format: "der", type: "spki" });
  expect(signatures).toHaveLength(1);
  expect(signatures[0].keyid).toBe(audit.authority_id);
  expect(verify(null, signed, key, Buffer.from(signatures[0].sig, "base64"))).toBe(true);
  expect(JSON.parse(bytes.toString())).toMatchObject({
    _type: "https://in-toto.io/Statement/v1",
    subject: [
      { name: `${id}.cdp.json`, digest: { sha256: createHash("sha256").update(stored).digest("hex") } },
    ],
    predicate: { session_id: id, outcome: "complete", failed_steps: [] },
  });
});

test("an export is for the proof's owner alone, and of a form that there is", async () => {
  const stranger = await casemate.account();
  for (const format of ["auditproof-2.2", "in-toto"]) {
    expect((await exported(format, stranger)).status).toBe(404);
    expect((await exported(format, casemate.anyone)).status).toBe(401);
  }
  expect((await exported("auditproof-3")).status).toBe(400);
  expect((await exported("casemate-cdp/1")).text).toBe(stored.toString());
});

/** Members in order at every depth: no number in a proof has two spellings. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_name, one) =>
    typeof one === "object" && one !== null && !Array.isArray(one)
      ? Object.fromEntries(Object.entries(one).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : one,
  );
}
