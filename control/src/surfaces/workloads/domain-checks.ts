// SPDX-License-Identifier: Apache-2.0
/**
 * Whether domains that customers brought are still theirs, looked at after a create, a start and a
 * restart, daily, and hourly while the proof is missing:
 *
 *     owned ──proof missing──▶ warned ──missing for the grace period──▶ not routed
 *       ◀──────proof is back──────┘                                         │
 *       ◀──────────────proof is back, and nobody else has the name──────────┘
 *
 *  A. The attacker has sold a domain, or lost it, and keeps serving under it. After the grace period the
 *     name leads nowhere here and may be brought by another account.
 *  B. When nobody can tell, nothing changes: a name server that is down takes no customer's name away,
 *     and neither does ours. (A name whose servers never answer is reached by nobody.)
 *  C. One replica looks at a domain at a time, and looks outside any transaction; what it found is
 *     written under the machine's and then the workload's lock, and only where it still holds.
 */
import { sql } from "kysely";
import type { HostFacts } from "#contract/link/machine.ts";
import type { MachineRow } from "../../core/machines/index.ts";
import type { Deps } from "./deps.ts";
import { proofOf } from "./domain.ts";
import { hostDomain } from "./view.ts";

export interface DomainTimes {
  /** Between two looks at a domain whose proof was there. */
  checkMs: number;
  /** From the first look that missed the proof until the domain leads nowhere. */
  graceMs: number;
}

type Needs = Pick<Deps, "db" | "converger" | "looks" | "workloads">;

const BATCH = 20;
/** While the proof is missing, its owner may be mending it. */
const MENDING_MS = 3_600_000;

interface Due {
  id: string;
  account_id: string;
  machine_id: string;
  domain: string;
  custom_domain: string;
  custom_routed: boolean;
  unowned: boolean;
  /** Nobody has looked at it since it was created or started. */
  fresh: boolean;
  host_id: string | null;
  ingress: HostFacts["ingress"] | null;
}

/** Looks at what is due. */
export async function checkDomains(deps: Needs, times: DomainTimes): Promise<void> {
  for (;;) {
    const due = await claim(deps, times);
    await Promise.all(due.map((one) => check(deps, times, one)));
    if (due.length < BATCH) return;
  }
}

/** C: whoever claims it has looked at it, as far as the others are concerned. */
async function claim({ db }: Needs, { checkMs }: DomainTimes): Promise<Due[]> {
  const { rows } = await sql<Due>`
    with due as (
      select id as due_id, custom_checked_at is null as fresh from workloads
      where deleted_at is null and custom_domain is not null and (
        custom_checked_at is null
        or custom_checked_at < now() - ${checkMs}::float8 * interval '1 millisecond'
        or (custom_unowned_since is not null
            and custom_checked_at < now() - ${Math.min(checkMs, MENDING_MS)}::float8 * interval '1 millisecond'))
      order by custom_checked_at nulls first limit ${BATCH} for update skip locked
    ),
    claimed as (
      update workloads set custom_checked_at = now() from due where id = due_id
      returning id, account_id, machine_id, domain, custom_domain, custom_routed,
        custom_unowned_since is not null as unowned, fresh
    )
    select claimed.*, m.host_id, h.facts->'ingress' as ingress
    from claimed join machines m on m.id = machine_id left join hosts h on h.id = m.host_id`.execute(db.run);
  return rows;
}

async function check(deps: Needs, times: DomainTimes, due: Due): Promise<void> {
  const { name, text } = proofOf(due.custom_domain, due.account_id);
  const owned = await deps.looks.hasText(name, text);
  if (owned === null) return; // B
  const record = `${name}. TXT "${text}"`;
  if (owned) {
    if (due.unowned || !due.custom_routed) await restore(deps, due);
    if (due.fresh) await adviseAboutWay(deps, due);
  } else if (!due.unowned)
    await warn(deps, due, sql`custom_unowned_since = now()`, missing(due, times, record));
  else if (due.custom_routed) await unroute(deps, times, due, record);
}

const missing = ({ custom_domain }: Due, { graceMs }: DomainTimes, record: string): string =>
  `the record that shows ${custom_domain} to be yours is missing (${record}); ` +
  `without it the domain leads nowhere after ${Math.round(graceMs / 3_600_000)} hours`;

/** An apex cannot have an alias, and a proxy may stand in front: advice, not a condition. */
async function adviseAboutWay(deps: Needs, due: Due): Promise<void> {
  const target = hostDomain(due.host_id ?? "", deps.workloads.zone);
  const addresses = due.ingress ? [due.ingress.host] : [];
  const leads = await deps.looks.leadsTo(due.custom_domain, { name: target, addresses });
  if (leads !== false) return;
  const message = `${due.custom_domain} does not lead here: make it an alias (CNAME) of ${target}`;
  await warn(deps, due, sql`custom_checked_at = custom_checked_at`, message);
}

/** An event, and what goes with it. */
async function warn({ db }: Needs, due: Due, change: ReturnType<typeof sql>, message: string): Promise<void> {
  await sql`
    with changed as (
      update workloads set ${change} where id = ${due.id}::uuid and deleted_at is null
        and custom_domain = ${due.custom_domain} returning id
    )
    insert into workload_events (workload_id, kind, details)
    select id, 'warning', ${JSON.stringify({ message })}::jsonb from changed`.execute(db.run);
}

/** A. */
async function unroute(deps: Needs, { graceMs }: DomainTimes, due: Due, record: string): Promise<void> {
  const message = `${due.custom_domain} leads nowhere now: the record that shows it to be yours was missing too long (${record})`;
  await reroute(deps, due, {
    routed: false,
    domains: [due.domain],
    when: sql`custom_routed and custom_unowned_since <= now() - ${graceMs}::float8 * interval '1 millisecond'`,
    message,
  });
}

async function restore(deps: Needs, due: Due): Promise<void> {
  const route = {
    routed: true,
    domains: [due.domain, due.custom_domain],
    when: sql`(not custom_routed or custom_unowned_since is not null)`,
    message: `${due.custom_domain} is shown to be yours again`,
  };
  await reroute(deps, due, route).catch((error: unknown) => {
    // Another account has brought it meanwhile.
    if (!isTaken(error)) throw error;
  });
}

interface Route {
  routed: boolean;
  domains: readonly string[];
  when: ReturnType<typeof sql>;
  message: string;
}

async function reroute(deps: Needs, due: Due, { routed, domains, when, message }: Route): Promise<void> {
  const { rows } = await sql<{ machine: MachineRow | null }>`
    with locked as (
      select id as locked_id from machines where id = ${due.machine_id} for update
    ),
    changed as (
      update workloads set custom_routed = ${routed},
        custom_unowned_since = case when ${routed} then null else custom_unowned_since end, updated_at = now()
      from locked
      where machine_id = locked_id and deleted_at is null and custom_domain = ${due.custom_domain} and ${when}
      returning id as workload_id, machine_id as changed_id
    ),
    machine as (
      update machines set spec = jsonb_set(spec, '{kept,domains}', ${JSON.stringify(domains)}::jsonb),
        generation = generation + 1
      from changed
      where id = changed_id and want <> 'down' and state not in ('ended', 'failed') returning machines.*
    ),
    event as (
      insert into workload_events (workload_id, kind, details)
      select workload_id, 'warning', ${JSON.stringify({ message })}::jsonb from changed
    )
    select to_jsonb(machine) as machine from machine`.execute(deps.db.run);
  const machine = rows[0]?.machine;
  if (machine) deps.converger.send({ ...machine, expires_at: null }, new Date());
}

/** Somebody has this domain. */
export const isTaken = (error: unknown): boolean =>
  (error as { code?: string }).code === "23505" &&
  (error as { constraint?: string }).constraint === "workloads_custom_domain";
