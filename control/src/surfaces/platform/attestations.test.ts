// SPDX-License-Identifier: Apache-2.0
/** What accounts keep of evidence that they bring. */
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Caller, type Installation, startInstallation } from "#testing/installation.ts";

const PATH = "/platform/v1/attestations";
let casemate: Installation;
beforeAll(async () => {
  casemate = await startInstallation({
    withHost: false,
    config: {
      attestation: { broughtMax: 3, broughtMiB: 1 },
      sessions: { tiers: { free: { rpm: null } } },
    },
  });
});
afterAll(() => casemate[Symbol.asyncDispose]());

const bring = (who: Caller, bytes = 2) =>
  who("POST", PATH, { evidence: Buffer.alloc(bytes, "{}").toString("base64") });

it("an account keeps so many verdicts on what it brought, however many come at once, and none of another's count", async () => {
  const me = await casemate.account();
  const other = await casemate.account();
  const made = await Promise.all(Array.from({ length: 10 }, () => bring(me)));
  expect(made.map(({ status }) => status).sort()).toEqual([201, 201, 201, ...Array(7).fill(409)]);
  expect(made.find(({ status }) => status === 409)!.body).toEqual({
    ...{ error: "Conflict", status: 409 },
    message: expect.stringMatching(/at most 3 verdicts .* 1 MiB .*Delete some/),
  });
  expect((await me("GET", PATH)).body.attestations).toHaveLength(3);
  expect((await bring(other)).status).toBe(201);

  const { id } = made.find(({ status }) => status === 201)!.body;
  expect((await other("DELETE", `${PATH}/${id}`)).status).toBe(404);
  expect((await me("DELETE", `${PATH}/${id}`)).status).toBe(204);
  expect((await me("GET", `${PATH}/${id}`)).status).toBe(404);
  expect((await me("DELETE", `${PATH}/${id}`)).status).toBe(404);
  expect((await bring(me)).status).toBe(201);
  expect((await bring(me)).status).toBe(409);
});

it("and so many bytes, which it has again when it deletes", async () => {
  const me = await casemate.account();
  const first = await bring(me, 600_000);
  expect(first.status).toBe(201);
  expect((await bring(me, 600_000)).status).toBe(409);
  expect((await bring(me, 300_000)).status).toBe(201);
  expect((await me("DELETE", `${PATH}/${first.body.id}`)).status).toBe(204);
  expect((await bring(me, 600_000)).status).toBe(201);
});

it("a verdict on a machine is no account's to delete, and none of what it may keep", async () => {
  const me = await casemate.account();
  const { id } = (await bring(me)).body;
  await sql`update attestations set purpose = 'report' where id = ${id}`.execute(casemate.control.db.run);
  const refused = await me("DELETE", `${PATH}/${id}`);
  expect([refused.status, refused.body.message]).toEqual([
    409,
    expect.stringMatching(/evidence that you brought/),
  ]);
  expect((await me("GET", `${PATH}/${id}`)).status).toBe(200);
});
