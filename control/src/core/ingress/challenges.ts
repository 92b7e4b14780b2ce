// SPDX-License-Identifier: Apache-2.0
/**
 * Proofs of control over names of workloads, as TXT records that a certificate authority asks for
 * (RFC 8555, 8.4). Hosts ask for them; they are rows, so that every replica's name server answers them,
 * whichever of them the host spoke to.
 *
 *  A. The attacker is a host that was taken over and wants a certificate for another's name, to sit in
 *     front of it unseen. A text is published only below a name of a machine that control gave to the
 *     very host that asks and that is not to go, and is answered only as long as that is so.
 *  B. What is published ends by the database's clock: a proof that stays is one that somebody else may use.
 *  C. Where the zone is another server's, a text is not published before that server has it; and its
 *     row stays, past its end, until that server has it no more.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { ChallengeWish } from "#contract/link/challenge.ts";
import type { Db } from "../../database/open.ts";
import type { Change, ZoneUpdater } from "./rfc2136.ts";

const LIFETIME_S = 3600;
/** Of one host at once: three orders are what an honest one has under way. */
const PER_HOST_MAX = 100;
const SWEPT_AT_ONCE = 50;

export interface ChallengeOptions {
  db: Db;
  zone: string;
  /** Null: the zone is answered from the rows alone. */
  updater: ZoneUpdater | null;
}

export interface Challenges {
  /** What a host asks for. Throws a Fault of names. */
  take(hostId: string, wish: ChallengeWish): Promise<void>;
  /** Takes away what has ended. */
  sweep(): Promise<void>;
}

export function openChallenges({ db, zone, updater }: ChallengeOptions): Challenges {
  const change = async (changes: readonly Change[]) => {
    const outcome = changes.length > 0 ? await updater?.update(changes) : undefined;
    if (outcome !== undefined && outcome.kind !== "done")
      throw new Fault("names.update-failed", { detail: outcome.reason });
  };
  return {
    take: async (hostId, { machineId, domain, value, want }) => {
      if (!domain.endsWith(`.${zone}`)) throw new Fault("names.outside-zone");
      const text: Text = { name: `_acme-challenge.${domain}`, value };
      if (want === "published") {
        await put(db, hostId, machineId, domain, text);
        await change([changeOf("add", text)]);
        return;
      }
      // Only its own: a host must not undo the proofs of others.
      const { rows } = await sql<Text>`
        update dns_challenges set ends_at = now()
        where name = ${text.name} and value = ${value} and host_id = ${hostId} returning name, value`.execute(
        db,
      );
      await change(rows.map((each) => changeOf("remove", each)));
      await forget(db, rows);
    },
    sweep: async () => {
      for (;;) {
        const { rows } = await sql<Text>`
          select name, value from dns_challenges where ends_at <= now() order by ends_at limit ${SWEPT_AT_ONCE}`.execute(
          db,
        );
        await change(rows.map((each) => changeOf("remove", each)));
        await forget(db, rows);
        if (rows.length < SWEPT_AT_ONCE) return;
      }
    },
  };
}

interface Text {
  name: string;
  value: string;
}

/** The texts at names, those that are to be answered now (A, B). */
export async function findTexts(db: Db, names: readonly string[]): Promise<Map<string, string[]>> {
  const { rows } = await sql<{ name: string; values: string[] }>`
    select c.name, array_agg(c.value order by c.value) as values
    from dns_challenges c join machines m on m.id = c.machine_id and m.host_id = c.host_id and m.want <> 'down'
    where c.name = any(${names}::text[]) and c.ends_at > now() group by c.name`.execute(db);
  return new Map(rows.map(({ name, values }) => [name, values]));
}

/** A: whether it may, and the text, in one statement. */
async function put(db: Db, hostId: string, machineId: string, domain: string, { name, value }: Text) {
  const { rows } = await sql<{ held: boolean; put: boolean }>`
    with held as (
      select id from machines
      where id = ${machineId} and host_id = ${hostId} and want <> 'down' and state not in ('ended', 'failed')
        and spec->'kept'->'domains' ? ${domain}
    ),
    put as (
      insert into dns_challenges (name, value, machine_id, host_id, ends_at)
      select ${name}, ${value}, id, ${hostId}, now() + make_interval(secs => ${LIFETIME_S}) from held
      where (select count(*) from dns_challenges where host_id = ${hostId} and ends_at > now()) < ${PER_HOST_MAX}
      on conflict (name, value) do update set ends_at = excluded.ends_at, host_id = excluded.host_id,
        machine_id = excluded.machine_id
      returning name
    )
    select exists (select from held) as held, exists (select from put) as put`.execute(db);
  if (!rows[0]!.held) throw new Fault("names.not-held");
  if (!rows[0]!.put) throw new Fault("names.too-many");
}

async function forget(db: Db, texts: readonly Text[]): Promise<void> {
  if (texts.length === 0) return;
  await sql`
    delete from dns_challenges c using unnest(${texts.map(({ name }) => name)}::text[], ${texts.map(({ value }) => value)}::text[]) as gone (name, value)
    where c.name = gone.name and c.value = gone.value and c.ends_at <= now()`.execute(db);
}

const changeOf = (kind: "add" | "remove", { name, value }: Text): Change => ({
  ...{ kind, name, data: { type: "TXT", texts: [value] } },
});
