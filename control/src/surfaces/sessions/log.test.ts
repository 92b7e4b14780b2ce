// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openCheckpoint } from "#evidence/log/checkpoint.ts";
import { readNoteKey } from "#evidence/log/note.ts";
import { unbundle } from "#evidence/log/tiles.ts";
import { merkleRoot } from "#evidence/proofs/merkle.ts";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { type Caller, type Installation, startInstallation } from "#testing/installation.ts";
import { listIssuers } from "../../core/proofs/index.ts";

// These ask more often than a free account may.
const CONFIG = { transparency: { everyMs: 50 }, sessions: { tiers: { free: { rpm: null } } } } as never;

let casemate: Installation;
let me: Caller & { accountId: string };
beforeAll(async () => {
  casemate = await startInstallation({ config: CONFIG });
  me = await casemate.account();
});
afterAll(() => casemate[Symbol.asyncDispose]());

async function endSession() {
  const { session_id } = (await me("POST", "/v1/sessions", {})).body;
  await me("DELETE", `/v1/sessions/${session_id}`);
  const proof = await me("GET", `/v1/proofs/${session_id}`);
  return { id: session_id as string, proof: Buffer.from(proof.text) };
}

async function transparency(id: string, query = "") {
  for (;;) {
    const reply = await me("GET", `/v1/proofs/${id}/transparency${query}`);
    if (reply.status !== 202) return reply;
    expect([reply.body, reply.headers.get("retry-after")]).toEqual([{ status: "pending" }, "1"]);
    await sleep(20);
  }
}
const checkpoint = async () => openCheckpoint((await casemate.anyone("GET", "/log/checkpoint")).text)!;

test("a proof is found in the log by who holds a checkpoint, at level 3, and by no other's place in it", async () => {
  const [one, other] = [await endSession(), await endSession()];
  const shown = await transparency(one.id);
  expect(shown.status).toBe(200);
  await transparency(other.id);
  const held = await checkpoint();
  const issuers = await listIssuers(casemate.control.db.soft);
  const { keys } = (await casemate.anyone("GET", "/log/keys")).body;
  const trust = { held, keys: keys.map(({ key }: { key: string }) => readNoteKey(key)!) };
  const judge = (proof: Buffer, inclusion: unknown) =>
    verifyProof(proof, { level: 3, issuers, transparency: { inclusion, trust } });

  const own = await casemate.anyone(
    "POST",
    "/v1/verify",
    `{"cdp":${one.proof},"transparency":${JSON.stringify(shown.body)}}`,
  );
  // The server can only compare with what it says itself, and says so.
  expect(own.body).toMatchObject({
    valid: true,
    level: 3,
    warnings: expect.arrayContaining(["log_not_independent"]),
  });

  const now = await transparency(one.id, `?size=${held.size}`);
  expect(judge(one.proof, now.body)).toMatchObject({ valid: true, level: 3, failures: [] });
  expect(judge(other.proof, now.body)).toMatchObject({
    valid: false,
    level: 2,
    failures: ["inclusion_invalid"],
  });

  // A proof made later, for who saved the checkpoint before.
  const later = await endSession();
  const since = await transparency(later.id, `?from=${held.size}`);
  expect(judge(later.proof, since.body)).toMatchObject({ valid: true, level: 3 });
  const { consistency: _, ...without } = since.body;
  expect(judge(later.proof, without).failures).toEqual(["consistency_missing"]);
});

test("the log is read by anybody, and its tiles give the root that was signed", async () => {
  await transparency((await endSession()).id);
  const { size, root } = await checkpoint();
  expect(size).toBeLessThan(256);
  const tile = await casemate.anyone("GET", `/log/tile/entries/000.p/${size}`);
  expect(tile.headers.get("cache-control")).toContain("immutable");
  expect(tile.headers.get("content-type")).toBe("application/octet-stream");
  const bytes = new Uint8Array(
    await (await fetch(`${casemate.control.url}/log/tile/entries/000.p/${size}`)).arrayBuffer(),
  );
  expect(Buffer.from(merkleRoot(unbundle(bytes)!))).toEqual(Buffer.from(root));
  const text = Buffer.from(bytes).toString();
  // Nothing in it says whose sessions they were.
  expect(text).not.toContain("sess_");
  expect(text).not.toContain(me.accountId);
});

test.each([`0/000.p/255`, `0/000`, `1/000.p/1`, `entries/001.p/1`, `0/0`, `7/000`, "0/..%2f..%2fkeys"])(
  "a tile %s that is not signed for, or is none, is not found",
  async (path) => {
    const reply = await casemate.anyone("GET", `/log/tile/${path}`);
    expect(reply.status).toBe(404);
    expect(reply.body).toMatchObject({ status: 404 });
  },
);

test("a stranger does not learn where a proof is, nor a living session where it will be", async () => {
  const { id } = await endSession();
  const stranger = await casemate.account();
  expect((await stranger("GET", `/v1/proofs/${id}/transparency`)).status).toBe(404);
  const { session_id } = (await me("POST", "/v1/sessions", {})).body;
  expect((await me("GET", `/v1/proofs/${session_id}/transparency`)).status).toBe(404);
  expect((await me("GET", `/v1/proofs/${id}/transparency?size=9000`)).status).toBe(404);
  expect((await me("GET", `/v1/proofs/${id}/transparency?size=0`)).status).toBe(400);
  await me("DELETE", `/v1/sessions/${session_id}`);
});

test("nothing is shown that no checkpoint has", async () => {
  await using waiting = await startInstallation({
    config: { transparency: { everyMs: 3_600_000, entries: 1_000_000 } } as never,
  });
  const owner = await waiting.account();
  const { session_id } = (await owner("POST", "/v1/sessions", {})).body;
  await owner("DELETE", `/v1/sessions/${session_id}`);
  const shown = await owner("GET", `/v1/proofs/${session_id}/transparency`);
  expect([shown.status, shown.body]).toEqual([202, { status: "pending" }]);
  for (const path of ["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"])
    expect((await waiting.anyone("GET", `/log/${path}`)).status, path).toBe(404);
});
