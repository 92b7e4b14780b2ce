// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, expect, test } from "vitest";
import { openIssuerManifest } from "#evidence/proofs/issuer-manifest.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { issuerManifest } from "../../core/proofs/index.ts";
import { openKeyRing, openVault, type Vault } from "../../core/vault/index.ts";

let casemate: Installation;
let me: Caller & { accountId: string };
let vault: Vault;
beforeAll(async () => {
  casemate = await startInstallation();
  me = await casemate.account();
  vault = openVault(casemate.control.db.run, await openKeyRing(casemate.connection.keyRing));
});
afterAll(() => casemate[Symbol.asyncDispose]());

async function endSession(): Promise<string> {
  const { session_id } = (await me("POST", "/v1/sessions", {})).body;
  return (await me("DELETE", `/v1/sessions/${session_id}`)).text;
}
const revoke = (body: object) =>
  callerOf(casemate.url, casemate.adminKey)("POST", "/platform/v1/issuers/revoke", body);
const judged = async (proof: string) => (await casemate.anyone("POST", "/v1/verify", proof)).body;
/** Signed now: what is shown may be some seconds old. */
const fresh = async () => {
  const manifest = await issuerManifest(casemate.control.db, vault, new Date());
  const opened = openIssuerManifest(JSON.parse(JSON.stringify(manifest)), manifest.fingerprint);
  if (typeof opened === "string") throw new Error(opened);
  return opened;
};

test("anybody has the issuers in one signed list, under one fingerprint for good", async () => {
  // Of replicas that make the key at once, one does.
  const again = await Promise.all(
    Array.from({ length: 4 }, () => issuerManifest(casemate.control.db, vault, new Date(0))),
  );
  const shown = await casemate.anyone("GET", "/platform/v1/issuers/manifest");
  expect(shown.status).toBe(200);
  const opened = openIssuerManifest(shown.body, shown.body.fingerprint);
  const plain = (await casemate.anyone("GET", "/platform/v1/issuers")).body;
  expect(opened).toMatchObject({ issuers: plain, revokedIssuerIds: new Set(), revokedKeyIds: new Set() });
  expect(new Set(again.map(({ fingerprint }) => fingerprint))).toEqual(new Set([shown.body.fingerprint]));
  expect(again[0]!.issued_at).toBe("1970-01-01T00:00:00Z");
});

test("a proof whose key was revoked is not valid any more, and only that one", async () => {
  const [one, other] = [await endSession(), await endSession()];
  expect([(await judged(one)).level, (await judged(other)).level]).toEqual([2, 2]);
  const { key_id } = JSON.parse(one).cdp.attestation;
  expect((await revoke({ key_id })).status).toBe(200);
  expect(await judged(one)).toMatchObject({ valid: false, level: 1, failures: ["key_revoked"] });
  expect((await judged(other)).level).toBe(2);
  expect((await fresh()).revokedKeyIds).toEqual(new Set([key_id]));
});

test("nobody but the operator revokes, and nothing that there is not", async () => {
  const { key_id } = JSON.parse(await endSession()).cdp.attestation;
  expect((await me("POST", "/platform/v1/issuers/revoke", { key_id })).status).toBe(403);
  expect((await casemate.anyone("POST", "/platform/v1/issuers/revoke", { key_id })).status).toBe(401);
  expect((await revoke({ key_id: "nrx-verify-none" })).status).toBe(404);
  expect((await revoke({ issuer_id: `iss_${"0".repeat(32)}` })).status).toBe(404);
  for (const body of [{}, { key_id: 1 }, { issuer_id: "x" }, { key_id, issuer_id: `iss_${"0".repeat(32)}` }])
    expect([body, (await revoke(body)).status]).toEqual([body, 400]);
});

test("what a revoked issuer certified is not valid, before and after", async () => {
  const proof = await endSession();
  const { issuer_id } = JSON.parse(proof).cdp.attestation.certificate;
  expect((await revoke({ issuer_id })).body).toEqual({ revoked: issuer_id });
  expect((await fresh()).revokedIssuerIds).toEqual(new Set([issuer_id]));
  const later = await endSession();
  await expect
    .poll(async () => (await judged(proof)).failures, { timeout: 15_000, interval: 1_000 })
    .toEqual(["key_revoked"]);
  expect((await judged(later)).failures).toEqual(["key_revoked"]);
});
