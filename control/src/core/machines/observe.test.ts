// SPDX-License-Identifier: Apache-2.0
/** What a report may change, asked of the database with no host behind it. */
import { randomBytes } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Installation, startInstallation } from "#testing/installation.ts";
import { sessionReactions } from "../../surfaces/sessions/reactions.ts";
import { workloadReactions } from "../../surfaces/workloads/reactions.ts";
import { openKeyRing, openVault } from "../vault/index.ts";
import { type AllReactions, observe } from "./observe.ts";

let casemate: Installation;
const reactions = { kept: { workloads: workloadReactions } } as unknown as AllReactions;
let account: string;
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false });
  reactions.proven = sessionReactions(openVault(db().run, await openKeyRing(casemate.connection.keyRing)));
  account = (await casemate.account()).accountId;
});
afterAll(() => casemate[Symbol.asyncDispose]());

const hex = () => randomBytes(16).toString("hex");
const db = () => casemate.control.db;

/** A session and its machine on host `mine`, with one slot reserved. */
async function opened() {
  const [session, machine] = [`sess_${hex()}`, `mach_${hex()}`];
  await sql`insert into machines (id, account_id, host_id, spec, created_at) values (${machine}, ${account}, 'mine', '{}', now())`.execute(
    db().run,
  );
  await sql`insert into sessions (id, account_id, machine_id, data_classification, jurisdiction, created_at)
    values (${session}, ${account}, ${machine}, 'general', 'EU', now())`.execute(db().run);
  await sql`insert into quota_counters values (${account}, 'sessions', 'epoch', 1)
    on conflict (account_id, quota, period) do update set used = quota_counters.used + 1`.execute(db().run);
  await sql`insert into ledger_entries (account_id, machine_id, quota, period, reason, quantity)
    values (${account}, ${machine}, 'sessions', 'epoch', 'reserved', 1)`.execute(db().run);
  return { session, machine };
}

const state = async (machine: string) => {
  const { rows } = await sql<{ state: string; status: string | null; proofs: number }>`
    select m.state, s.status, (select count(*)::int from proofs p where p.machine_id = m.id) as proofs
    from machines m left join sessions s on s.machine_id = m.id where m.id = ${machine}`.execute(db().run);
  return rows[0]!;
};
const used = async () => {
  const { rows } = await sql<{ used: number }>`
    select used from quota_counters where account_id = ${account} and quota = 'sessions'`.execute(db().run);
  return rows[0]!.used;
};

const report = (machineId: string, session: string, host = "mine", generation = 1) =>
  observe(db(), reactions, host, {
    machineId,
    generation,
    state: "ended",
    ended: {
      trigger: "api",
      outcome: "complete",
      endedAt: "2026-01-01T00:00:00Z",
      saltHex: "00".repeat(32),
      // Control keeps what it is given and judges nothing, so the members it reads are enough.
      proof: JSON.stringify({
        session_id: session,
        final_hash: `sha256:${hex()}`,
        evidence: [0, 0, 0, 0, 0, 0, 0, { measured: { end_state: "destroyed" } }],
        attestation: {
          key_id: `key-${hex()}`,
          public_key: "AA",
          certificate: { sig: "AA", not_before: "2026-01-01T00:00:00Z" },
        },
      }),
    },
  });

describe("a report", () => {
  it("of another host changes nothing and is not acknowledged as the machine's", async () => {
    const { session, machine } = await opened();
    expect(await report(machine, session, "stranger")).toBeNull();
    expect(await state(machine)).toEqual({ state: "requested", status: "active", proofs: 0 });
  });

  it("that comes twice gives the quota back once", async () => {
    const { session, machine } = await opened();
    const before = await used();
    expect((await report(machine, session))?.over?.subject).toMatchObject({
      id: session,
      status: "destroyed",
    });
    const again = await report(machine, session);
    expect(again).toEqual({ machineId: machine, state: "ended" });
    expect(await used()).toBe(before - 1);
    expect(await state(machine)).toEqual({ state: "ended", status: "destroyed", proofs: 1 });
  });

  it("with the proof of another session ends the machine's own without a proof", async () => {
    const { machine } = await opened();
    const other = await opened();
    await report(machine, other.session);
    expect(await state(machine)).toEqual({ state: "ended", status: "expired_unclean", proofs: 0 });
    expect(await state(other.machine)).toEqual({ state: "requested", status: "active", proofs: 0 });
  });

  it("about a generation that was never wished for changes nothing", async () => {
    const { session, machine } = await opened();
    expect(await report(machine, session, "mine", 2)).toBeNull();
    expect((await state(machine)).state).toBe("requested");
  });

  it("of a machine that never ran takes its session away, and of one that ran leaves it without a proof", async () => {
    const failed = (machineId: string) =>
      observe(db(), reactions, "mine", {
        machineId,
        generation: 1,
        state: "failed",
        code: "machine.unknown",
      });
    const never = await opened();
    const before = await used();
    await failed(never.machine);
    expect(await state(never.machine)).toEqual({ state: "failed", status: null, proofs: 0 });
    const ran = await opened();
    await observe(db(), reactions, "mine", { machineId: ran.machine, generation: 1, state: "running" });
    await failed(ran.machine);
    expect(await state(ran.machine)).toEqual({ state: "failed", status: "expired_unclean", proofs: 0 });
    expect(await used()).toBe(before - 1);
  });

  it("of many machines at once keeps the log of proofs gap free and the journal's chain whole", async () => {
    const many = await Promise.all(Array.from({ length: 20 }, opened));
    await Promise.all(many.map(({ machine, session }) => report(machine, session)));
    const { rows } = await sql<{ gaps: number }>`
      select (max(position) + 1 - count(*))::int as gaps from proof_leaves`.execute(db().run);
    expect(rows[0]!.gaps).toBe(0);
    const journal = await sql<{ broken: number }>`
      select count(*)::int as broken from (
        select head, sha256(coalesce(lag(head) over (order by seq), decode(repeat('00', 32), 'hex')) || int8send(seq) || payload_hash) as wanted
        from journal where account_id = ${account}) chain where head <> wanted`.execute(db().run);
    expect(journal.rows[0]!.broken).toBe(0);
  });
});
