// SPDX-License-Identifier: Apache-2.0
/** A database without room: what may still be asked, and what is refused and how. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { callerOf, startInstallation } from "#testing/installation.ts";

it("without room what adds is refused with 503 and Retry-After, and ending, reading and verifying go on", async () => {
  await using installation = await startInstallation();
  const me = await installation.account();
  const id = (await me("POST", "/v1/sessions", {})).body.session_id;
  installation.control.setRoom(false);
  const refused = [
    await me("POST", "/v1/sessions", {}),
    await me("POST", `/v1/sessions/${id}/exec`, { command: "true" }),
    await installation.anyone("POST", "/v1/signup", { email: "late@example.com" }),
  ];
  for (const reply of refused) {
    expect([reply.status, reply.body.error]).toEqual([503, "ServiceUnavailable"]);
    expect(Number(reply.headers.get("retry-after"))).toBeGreaterThan(0);
  }
  // Who is nobody is told so first.
  expect((await installation.anyone("POST", "/v1/sessions", {})).status).toBe(401);
  expect((await me("GET", `/v1/sessions/${id}`)).status).toBe(200);
  const ended = await me("DELETE", `/v1/sessions/${id}`);
  expect(ended.status).toBe(200);
  expect((await installation.anyone("POST", "/v1/verify", ended.text)).body.valid).toBe(true);
  installation.control.setRoom(true);
  expect((await me("POST", "/v1/sessions", {})).status).toBe(201);
});

it("when calls cannot be counted any more, readers are let in uncounted and nobody else is", async () => {
  await using installation = await startInstallation();
  const me = await installation.account();
  const id = (await me("POST", "/v1/sessions", {})).body.session_id;
  const acme = await installation.tenant();
  const { text } = await me("DELETE", `/v1/sessions/${id}`);
  // PostgreSQL's own code for a disk without room, at the one table that every call writes.
  await sql`create function full_disk() returns trigger language plpgsql as
    $$ begin raise exception 'No space left on device' using errcode = '53100'; end $$`.execute(
    installation.control.db.run,
  );
  await sql`create trigger full_disk before insert on rate_windows execute function full_disk()`.execute(
    installation.control.db.run,
  );
  expect((await me("GET", `/v1/sessions/${id}`)).status).toBe(200);
  expect((await me("GET", `/v1/proofs/${id}`)).status).toBe(200);
  expect((await installation.anyone("POST", "/v1/verify", text)).body.valid).toBe(true);
  expect((await acme("GET", "/cdb/organizations")).status).toBe(200);
  expect((await callerOf(installation.url, `${acme.key}x`)("GET", "/cdb/organizations")).status).toBe(401);
  const stranger = { authorization: `Bearer nrx_live_${"a".repeat(32)}` };
  expect((await installation.anyone("GET", `/v1/sessions/${id}`, undefined, stranger)).status).toBe(401);
});
