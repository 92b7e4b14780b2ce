// SPDX-License-Identifier: Apache-2.0
/**
 * Hands a host the payload that it asked for. It goes over the link's own stream and into the host's
 * memory; neither the database's clear text nor a file ever holds it. A host that does not get it asks
 * again, so nothing is repeated here.
 */
import { sql } from "kysely";
import type { Observation } from "#contract/link/machine.ts";
import { lendPullKey } from "../../core/identity/index.ts";
import type { Deps } from "./deps.ts";
import { registriesOf } from "./images.ts";
import { openGiven, requirePlan, toPayload } from "./payload.ts";

const CHUNK = 256 * 1024;

interface Wanted {
  id: string;
  account_id: string;
  payload_sealed: Buffer;
}

export async function sendPayload(
  { db, fleet, vault, judge }: Pick<Deps, "db" | "fleet" | "vault" | "judge">,
  hostId: string,
  { machineId, incarnation = 1 }: Observation,
): Promise<void> {
  // A host can ask only for what it was given, and only for the start that is wished for now.
  const { rows } = await sql<Wanted>`
    select w.id, w.account_id, w.payload_sealed from workloads w join machines m on m.id = w.machine_id
    where m.id = ${machineId} and m.host_id = ${hostId} and m.want = 'up' and m.incarnation = ${incarnation}
      and w.deleted_at is null`.execute(db.run);
  const wanted = rows[0];
  if (wanted === undefined) return;
  const given = await openGiven(vault, wanted.id, wanted.payload_sealed);
  const { plan } = await requirePlan(judge, wanted.account_id, given);
  const payload = toPayload(given, plan);
  const own = registriesOf(given.pins ?? {});
  if (own.length > 0) {
    const account = wanted.account_id;
    const password = await lendPullKey(db.run, { account, machine: machineId, incarnation });
    // Before the client's own: a login of theirs for our name would be asked first, and is not needed.
    payload.registries.unshift(...own.map((server) => ({ server, username: "casemate", password })));
  }
  const bytes = Buffer.from(JSON.stringify(payload));
  const stream = fleet.open(hostId, { kind: "payload", machineId, incarnation, sizeBytes: bytes.length });
  for (let at = 0; at < bytes.length; at += CHUNK) await stream.write(bytes.subarray(at, at + CHUNK));
  stream.finish();
  const end = await stream.ended;
  if (end.kind !== "done") throw new Error(`the payload of ${machineId} was not taken: ${end.kind}`);
}
