// SPDX-License-Identifier: Apache-2.0
/**
 * What a machine's change means to its instance, inside the statement that records it.
 *
 *     provisioning ──running, and confirmed──▶ ready ──deleted──▶ terminating ──ended──▶ terminated
 *           └──a start that failed──▶ failed ──deleted──▶ terminating …
 *
 * `ready` stays through stops and starts; `power` follows what is seen, as far as it answers what was wished last: a start that
 * was wished since a report left is not undone by it.
 *
 *     running ──its machine fell──▶ starting ──confirmed──▶ running        any ──halted, and its room given back──▶ stopped
 *
 * Of one that runs it is only noted where its host says it is reached: confirm.ts. A machine that ends without anybody's wish ends
 * its instance, with `host_lost`.
 */
import { type RawBuilder, sql } from "kysely";
import type { FAILURE_CODES } from "#contract/instances/vocabulary.ts";
import type { Observation } from "#contract/link/machine.ts";
import { AFTER_ROOM } from "../../core/fleet/index.ts";
import { END_INSTANCE_TOKENS } from "../../core/identity/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import type { KeptReactions } from "../../core/machines/index.ts";
import { CLOSE_PERIOD } from "./periods.ts";
import { passed, WISHED } from "./stages.ts";

export const instanceReactions: KeptReactions = (observation) => {
  const { state, code, ssh } = observation;
  if (state === "running" && ssh !== undefined) return noted(ssh);
  if (state === "ended" || state === "failed") return terminated();
  if (state === "halted") return code === undefined ? stopped() : failed(observation);
  if (state === "starting") return fallen();
  return sql`${NOBODY}, ${NO_ENTRY}`;
};

const NOBODY = sql`subject as (select null::text as id, null::text as account_id, null::text as name where false)`;
const NO_ENTRY = sql`entry as (select 1 where false)`;

/** Keys that were shown already stay shown while they are said again. */
const noted = (ssh: NonNullable<Observation["ssh"]>): RawBuilder<unknown> => sql`
  noted as (
    update instances i set ssh_said = ${JSON.stringify(ssh)}::jsonb,
      ssh = case when i.ssh = ${JSON.stringify(ssh)}::jsonb then i.ssh end, version = i.version + 1
    from machine where i.machine_id = machine.id and i.status in ('provisioning', 'ready') and ${AFTER_ROOM}
  ), ${NOBODY}, ${NO_ENTRY}`;

/** What never was ready has failed, and stays so: its end is ours, and no end of an instance. */
const terminated = (): RawBuilder<unknown> =>
  changed(
    sql`status = case when i.status = 'provisioning' then 'failed' else 'terminated' end, power = null, ssh = null, ssh_said = null,
      custom_inference_key_sealed = null,
      terminated_at = case when i.status <> 'provisioning' then coalesce(i.terminated_at, now()) end,
      terminated_reason = case when i.status <> 'provisioning' then coalesce(i.terminated_reason, 'host_lost') end,
      failure_code = case when i.status = 'provisioning' then 'host_lost' else i.failure_code end,
      failure_message = case when i.status = 'provisioning' then 'The machine was lost with its host.' else i.failure_message end`,
    sql`i.status in ('provisioning', 'ready', 'terminating')`,
  );

/** Of one that is ready: an answer to what is wished now, and not to an earlier wish. */
const STANDS = sql`i.status = 'ready' and not machine.holds_compute`;

const stopped = (): RawBuilder<unknown> =>
  changed(sql`power = 'stopped', ssh = null, ssh_said = null`, sql`${STANDS} and i.power = 'stopping'`);

/** One that never was ready has failed; one that was is stopped, and whoever starts it again may have more luck. */
function failed(observation: Observation): RawBuilder<unknown> {
  const code = failureOf(observation);
  // Shut down from inside is no failure of one that was ready.
  const isOrderly = observation.code === "machine.exited";
  return changed(
    sql`status = case when i.status = 'provisioning' then 'failed' else i.status end,
      power = case when i.status = 'ready' then 'stopped' end, ssh = null, ssh_said = null,
      custom_inference_key_sealed = case when i.status = 'ready' then i.custom_inference_key_sealed end,
      failure_code = case when i.status = 'ready' and ${isOrderly} then null else ${code} end,
      failure_message = case when i.status = 'ready' and ${isOrderly} then null else ${wordsOf(observation)} end`,
    sql`(i.status = 'provisioning' or ${STANDS} and i.power <> 'stopped')`,
    isOrderly ? {} : { failure_code: code },
  );
}

function changed(set: RawBuilder<unknown>, from: RawBuilder<unknown>, payload: Record<string, string> = {}) {
  return sql`
    ${subject(set, from)},
    held as (
      update instance_names n set held_until = now() + interval '30 days'
      from subject where subject.kind = 'terminated' and n.account_id = subject.account_id and n.name = subject.name
        and n.instance_id = subject.id
    ),
    over as (select id from subject where kind in ('terminated', 'failed')),
    state_key as (delete from instance_state_keys k using over where k.instance_id = over.id),
    ${CLOSE_PERIOD}, ${END_INSTANCE_TOKENS},
    ${entry(payload)}`;
}

/** It is counted on: nobody stopped it. */
const fallen = (): RawBuilder<unknown> =>
  sql`${subject(sql`power = 'starting', ${WISHED}`, sql`i.status = 'ready' and i.power = 'running'`)},
    placed as (
      update instances i set ${passed("placed")} from machine
      where i.machine_id = machine.id and i.status in ('provisioning', 'ready') and i.power is distinct from 'running'
        and not i.stages ? 'placed' and ${AFTER_ROOM}
    ), ${entry({})}`;

const subject = (set: RawBuilder<unknown>, from: RawBuilder<unknown>): RawBuilder<unknown> => sql`
  subject as (
    update instances i set ${set}, version = i.version + 1
    from machine where i.machine_id = machine.id and ${from} and ${AFTER_ROOM}
    returning i.id, i.account_id, i.name, case when i.status = 'ready' then i.power else i.status end as kind
  )`;

const entry = (payload: Record<string, string>): RawBuilder<unknown> =>
  appendClauses(
    {
      account: sql`(select account_id from subject)`,
      type: sql`(select 'instance.' || kind from subject)`,
      subject: sql`(select name from subject)`,
      payload,
    },
    sql`exists (select from subject)`,
  );

const MESSAGE_MAX = 500;

/** A host's words to the tenant; what is secret is in none of them. */
const wordsOf = ({ detail }: Observation): string =>
  (detail ?? "The machine could not be started.").slice(0, MESSAGE_MAX);

/**
 * The closed list of the contract, by what the host calls it. What no host of ours says, or says of a fault that is not the machine's, is
 * `internal`: its words stand beside it.
 */
const FAILURES: Readonly<Record<string, (typeof FAILURE_CODES)[number]>> = {
  "machine.attestation-refused": "attestation_failed",
  "host.above-ceiling": "no_capacity",
  "host.no-space": "no_capacity",
  "fleet.no-capacity": "no_capacity",
  "machine.no-uid": "no_capacity",
  "machine.boot-timeout": "boot_timeout",
  "machine.too-slow": "boot_timeout",
  "machine.image-unknown": "image_unavailable",
  "machine.guest-failed": "agent_setup_failed",
  "machine.exited": "agent_setup_failed",
  "host.put-out": "host_lost",
};

const failureOf = ({ code = "" }: Observation): (typeof FAILURE_CODES)[number] =>
  Object.hasOwn(FAILURES, code) ? FAILURES[code]! : "internal";
