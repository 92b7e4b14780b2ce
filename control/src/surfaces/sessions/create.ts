// SPDX-License-Identifier: Apache-2.0
/** Opening a session: quotas, machine, session and journal in one statement, then the host at once. */
import { sql } from "kysely";
import { Fault, isErrorCode } from "#contract/errors.ts";
import type { createSession } from "#contract/sessions/create.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { HELD, takeClauses } from "../../core/ledger/index.ts";
import { isOver, requestClause, requestEnd } from "../../core/machines/index.ts";
import { refusalOf } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { seededId } from "../../http/idempotency.ts";
import type { Deps } from "./deps.ts";
import { requireSession, type SessionRow } from "./rows.ts";
import { toMachineSpec } from "./spec.ts";
import { tierOf } from "./tiers.ts";
import { etagOf, viewSession } from "./view.ts";

type Needs = Pick<Deps, "db" | "fleet" | "converger" | "watch" | "tiers" | "startTimeoutMs" | "template">;

export async function create(deps: Needs, call: Call<typeof createSession>): Promise<Answer> {
  const account = call.account;
  const limits = tierOf(deps.tiers, account.tier);
  const ttlSeconds = call.body.ttl_seconds ?? limits.ttlSeconds;
  if (limits.ttlSeconds !== null && (ttlSeconds ?? Number.POSITIVE_INFINITY) > limits.ttlSeconds) {
    throw new Fault("session.ttl-too-long", { max: limits.ttlSeconds });
  }
  // Whole seconds from the start: the proof commits to created_at as the wire writes it.
  const createdAt = new Date(Math.floor(call.now.getTime() / 1000) * 1000);
  const sessionId = seededId(call.seed, "sess");
  const machineId = seededId(call.seed, "mach");
  if (call.inEffect) return again(deps, call, sessionId);
  const classification = call.body.data_classification ?? "general";
  const subject = { sessionId, createdAt, classification, jurisdiction: account.jurisdiction, ttlSeconds };
  const host = deps.fleet.place("process");
  const request = {
    id: machineId,
    account: account.id,
    host,
    spec: toMachineSpec(subject, limits, deps.template),
    createdAt,
    expiresAt: ttlSeconds === null ? null : new Date(call.now.getTime() + ttlSeconds * 1000),
  };

  const slot = { quota: "sessions", period: HELD, limit: limits.concurrentSessions };
  const cdp = { quota: "cdps", period: account.cycleStart, limit: limits.cdpsPerCycle };
  const created = {
    account: account.id,
    type: "session.created",
    subject: sessionId,
    payload: { data_classification: classification, ttl_seconds: ttlSeconds },
  };
  await sql`
    with ${call.once}, ${takeClauses("slot", account.id, machineId, slot, sql`exists (select from once)`)},
    ${takeClauses("cdp", account.id, machineId, cdp, sql`exists (select from slot)`)},
    ${requestClause(request, sql`exists (select from cdp) and exists (select from slot)`)},
    session as (
      insert into sessions (id, account_id, machine_id, data_classification, jurisdiction, ttl_seconds, created_at)
      select ${sessionId}, ${account.id}, id, ${classification}, ${account.jurisdiction}, ${ttlSeconds}::int, ${createdAt}
      from machine
    ),
    ${appendClauses(created, sql`exists (select from machine)`)}
    select case
      when not exists (select from once) then refuse('again')
      when not exists (select from slot) then refuse('concurrent')
      when not exists (select from cdp) then refuse('quota')
      else (select count(*) = 1 from entry) end`
    .execute(deps.db.run)
    .catch((error: unknown) => {
      const refused = refusalOf(error);
      // Our claim was held too long, and somebody else has it by now.
      if (refused === "again") throw new Fault("idempotency.in-flight", {}, { retryAfterSeconds: 1 });
      if (refused === "concurrent")
        throw new Fault("ledger.concurrent", { cap: slot.limit }, { retryAfterSeconds: 5 });
      if (refused === "quota") throw new Fault("ledger.quota-exceeded", { limit: cdp.limit });
      throw error;
    });

  const settled = deps.watch.settled(machineId, deps.startTimeoutMs);
  deps.fleet.send(host, [
    {
      machineId,
      generation: 1,
      want: "up",
      spec: request.spec,
      remainingMs: ttlSeconds === null ? null : ttlSeconds * 1000,
      trigger: "api",
    },
  ]);
  const state = await settled;
  if (state !== "running") {
    await call.undone();
    await giveUp(deps, machineId, state);
  }
  const row: SessionRow = {
    ...{ id: sessionId, account_id: account.id, machine_id: machineId, status: "active", version: 1 },
    ...{ data_classification: classification, jurisdiction: account.jurisdiction, ttl_seconds: ttlSeconds },
    ...{ created_at: createdAt, expires_at: request.expiresAt, ended_at: null },
    ...{ executing_by: null, end_trigger: null },
  };
  return answerOf(row);
}

const answerOf = (row: SessionRow): Answer => ({
  status: 201,
  body: viewSession(row),
  headers: { etag: etagOf(row), location: `/v1/sessions/${row.id}` },
});

/** What a process recorded that died before it could answer. It may have ended since. */
async function again(deps: Needs, call: Call<typeof createSession>, id: string): Promise<Answer> {
  const { machine_id: machine } = await requireSession(deps.db.run, call.account.id, id);
  const state = await deps.watch.settled(machine, deps.startTimeoutMs);
  const { rows } = await sql`select from machines where id = ${machine} and started_at is not null`.execute(
    deps.db.run,
  );
  if (rows.length === 0) {
    await call.undone();
    await giveUp(deps, machine, state);
  }
  return answerOf(await requireSession(deps.db.run, call.account.id, id));
}

/** The machine did not come up. What was recorded is undone by the host's report or by our wish for its end. */
async function giveUp(deps: Needs, machineId: string, state: string | null): Promise<never> {
  if (state !== null && isOver(state)) {
    const row = await deps.db.run
      .selectFrom("machines")
      .select("fault")
      .where("id", "=", machineId)
      .executeTakeFirst();
    const code = row?.fault?.code ?? "";
    throw new Fault(isErrorCode(code) ? code : "machine.start-failed", { detail: row?.fault?.detail ?? "" });
  }
  const unwanted = await requestEnd(deps.db.run, machineId, "shutdown");
  if (unwanted !== null) deps.converger.send(unwanted, new Date());
  throw new Fault("machine.too-slow", {}, { retryAfterSeconds: 5 });
}
