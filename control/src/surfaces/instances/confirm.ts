// SPDX-License-Identifier: Apache-2.0
/**
 * Nobody is led to an instance before its machine has shown, with evidence, by which keys its SSH server is known and whom it lets in. The
 * attacker is the host: it says where the machine is reached and carries every byte of a login, so it could name a key of its own and
 * answer in the machine's place. What it says is kept aside (`ssh_said`) until the machine's evidence binds it.
 *
 *  A. Asked anew with each report: another start is another machine, whatever keys it has.
 *  B. One that never was ready fails when it is refused; of one that was, nothing is shown until it is accepted, and it is asked
 *     again: a fault of the host's must not cost its owner the machine.
 *  C. A `vm` and a system container have no evidence. Their host is believed, and the record says what it is.
 *  D. One whose owner has given it another key is told, sealed to its key, and asked for evidence of that one. Those without a disk are
 *     of agents that take none while they run: they have it with their next start.
 */
import { sql } from "kysely";
import {
  hostIsTrusted,
  judgeLaunch,
  openTalk,
  refusedAt,
  TalkFault,
  TalkRefused,
} from "../../core/attestation/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { claimAnew } from "./claim.ts";
import type { Deps } from "./deps.ts";
import { HAS_STATE_DISK, KNOWS_NUMBERS, launchOf } from "./launch.ts";
import { OPEN_PERIOD } from "./periods.ts";
import { passed, type Stages, type Timings, timingsOf } from "./stages.ts";

type Needs = Pick<Deps, "db" | "fleet" | "guestImages" | "collateral" | "expectedOf"> & {
  /** A start is through: how long each of its stages took. */
  started(timings: Timings): void;
};

const BATCH = 50;
const TALK_MS = 120_000;
const AGAIN_MS = 30_000;
const underWay = new Set<string>();
/** Until when one that was refused is left alone. */
const laterMs = new Map<string, number>();
const LATER_MAX = 10_000;

interface Said {
  id: string;
  account_id: string;
  name: string;
  machine_id: string;
  host_id: string;
  status: string;
  agent: string;
  hostname: string;
  public_key: string;
  key_number: number;
  key_told: number | null;
  incarnation: number;
  image_sha256: string;
  state_disk: boolean;
  knows_numbers: boolean;
  isolation: string;
  cpus: number;
  ssh_said: { address: string; port: number; hostKeys: string[] };
}

/** One turn: those whose hosts are connected here. They are asked at once, and not waited for. */
export async function confirmTurn(needs: Needs, onError: (error: unknown) => void): Promise<void> {
  const hosts = needs.fleet.held();
  if (hosts.length === 0) return;
  const { rows } = await sql<Said>`
    select i.id, i.account_id, i.name, i.machine_id, m.host_id, i.status, i.agent, i.hostname, i.public_key, i.key_number, i.key_told, m.incarnation, i.image_sha256,
      ${HAS_STATE_DISK} as state_disk, ${KNOWS_NUMBERS} as knows_numbers, i.ssh_said, m.spec->>'isolation' as isolation, (m.spec->>'cpuMillis')::int / 1000 as cpus
    from instances i join machines m on m.id = i.machine_id
    where i.ssh_said is not null and i.status in ('provisioning', 'ready') and m.state = 'running'
      and m.want = 'up' and m.observed_incarnation = m.incarnation and m.host_id = any(${hosts}::text[]) limit ${BATCH}`.execute(
    needs.db.soft,
  );
  for (const said of rows) {
    if (underWay.has(said.id) || performance.now() < (laterMs.get(turnOf(said)) ?? 0)) continue;
    underWay.add(said.id);
    confirm(needs, said)
      .catch(onError)
      .finally(() => underWay.delete(said.id));
  }
}

/** Another key is another question, and so is another start. */
const turnOf = ({ id, incarnation, key_number }: Said): string => `${id} ${incarnation} ${key_number}`;

/** D. Null: it was told, as far as its host says. */
async function tellKey(needs: Needs, said: Said): Promise<string | null> {
  const { host_id, machine_id: machineId, incarnation } = said;
  if (!said.knows_numbers) return "its agent takes a key with its next start alone";
  try {
    const told = await claimAnew(needs, host_id, { machineId, incarnation });
    return told ? null : "the machine was not told its owner's key";
  } catch (error) {
    if (error instanceof TalkFault) return error.message;
    throw error;
  }
}

async function confirm(needs: Needs, said: Said): Promise<void> {
  const isOld = said.key_told !== null && said.key_told !== said.key_number;
  const refused = (isOld ? await tellKey(needs, said) : null) ?? (await refusalOf(needs, said));
  if (refused === null) return accept(needs, said);
  if (laterMs.size >= LATER_MAX) laterMs.clear();
  laterMs.set(turnOf(said), performance.now() + AGAIN_MS);
  if (said.status === "provisioning") await fail(needs, said, refused);
}

/** Null: its evidence is accepted. Throws when it did not answer at all. */
async function refusalOf(needs: Needs, said: Said): Promise<string | null> {
  const { host_id: hostId, machine_id: machineId, isolation, hostname, public_key: authorizedKey } = said;
  if (hostIsTrusted(isolation)) return null;
  const image = needs.guestImages.ofHash(said.image_sha256);
  if (image === null) return "this installation does not know the image that the machine was started with";
  const talk = openTalk(needs.fleet.open(hostId, { kind: "attest", machineId, incarnation: null }), TALK_MS);
  try {
    const { verdict } = await judgeLaunch(needs, talk, {
      ...{ hostId, machineId, account: said.account_id, subject: { instance: said.id } },
      ...{ isolation, cpus: said.cpus, image, launchSha256: launchOf(said).sha256 },
      ...{ purpose: "login", login: { hostKeys: said.ssh_said.hostKeys, hostname, authorizedKey } },
    });
    return verdict.accepted ? null : refusedAt("the evidence of its SSH keys", verdict);
  } catch (error) {
    if (error instanceof TalkRefused) return `the machine gave no evidence of its SSH keys: ${error.message}`;
    if (error instanceof TalkFault && said.status === "provisioning") return error.message;
    throw error;
  } finally {
    talk.close();
  }
}

/**
 * What was said meanwhile is another thing, and is asked about in its turn. Who stops or restarts it takes `ssh_said` away, so that an
 * answer which comes after that says nothing of it.
 */
async function accept({ db, started }: Pick<Needs, "db" | "started">, said: Said): Promise<void> {
  const entry = {
    ...{ account: sql`${said.account_id}`, subject: sql`${said.name}`, payload: {} },
    type: sql`(select case when was_ready is null then 'instance.ready' when was = 'running' then 'instance.key_applied' else 'instance.running' end from subject)`,
  };
  const { rows } = await sql<{ stages: Stages; created_at: Date }>`
    with before as (
      select id, ready_at, power, key_applied, stages from instances where id = ${said.id} and ssh_said = ${JSON.stringify(said.ssh_said)}::jsonb
        and key_number = ${said.key_number} and status in ('provisioning', 'ready') for update
    ), subject as (
      update instances i set status = 'ready', ready_at = coalesce(i.ready_at, now()), ssh = i.ssh_said, ssh_said = null,
        power = 'running', key_applied = i.key_number, ${passed("ready")}, version = i.version + 1
      from before where i.id = before.id returning i.id, before.ready_at as was_ready, before.power as was, before.key_applied as had,
        before.stages ? 'ready' as went_on, i.stages, i.created_at
    ),
    ${OPEN_PERIOD},
    ${appendClauses(entry, sql`exists (select from subject where was is distinct from 'running' or had is distinct from ${said.key_number})`)}
    select stages, created_at from subject where not went_on and (select count(*) from entry) >= 0`.execute(
    db.run,
  );
  const timings = rows[0] === undefined ? null : timingsOf(rows[0]);
  if (timings !== null) started(timings);
}

async function fail({ db }: Pick<Needs, "db">, said: Said, words: string): Promise<void> {
  const entry = { account: said.account_id, type: "instance.failed", subject: said.name, payload: {} };
  await sql`
    with subject as (
      update instances set status = 'failed', failure_code = 'attestation_failed', failure_message = ${words.slice(0, 500)},
        ssh_said = null, custom_inference_key_sealed = null, version = version + 1
      where id = ${said.id} and status = 'provisioning' returning id
    ),
    ${appendClauses(entry, sql`exists (select from subject)`)}
    select (select count(*) from entry)`.execute(db.run);
}
