// SPDX-License-Identifier: Apache-2.0
/**
 * Hands a host the payload that it asked for. It goes over the link's own stream and into the host's
 * memory; neither the database's clear text nor a file ever holds it. A host that does not get it asks
 * again, so nothing is repeated here.
 */
import { sql } from "kysely";
import type { Observation } from "#contract/link/machine.ts";
import type { Payload } from "#contract/link/payload.ts";
import type { ComposePlan } from "./compose/check.ts";
import type { Deps } from "./deps.ts";
import { launchOf, toLaunchPayload } from "./launch.ts";
import { type Given, loginsOf, openGiven, requirePlan, toPayload } from "./payload.ts";

const CHUNK = 256 * 1024;

interface Wanted {
  id: string;
  account_id: string;
  payload_sealed: Buffer;
  image_sha256: string | null;
  domain: string;
  custom_domain: string | null;
  disk_gb: number;
}

export async function sendPayload(
  { db, fleet, vault, judge }: Pick<Deps, "db" | "fleet" | "vault" | "judge">,
  hostId: string,
  { machineId, incarnation = 1 }: Observation,
): Promise<void> {
  // A host can ask only for what it was given, and only for the start that is wished for now.
  const { rows } = await sql<Wanted>`
    select w.id, w.account_id, w.payload_sealed, w.image_sha256, w.domain, w.custom_domain, w.disk_gb from workloads w join machines m on m.id = w.machine_id
    where m.id = ${machineId} and m.host_id = ${hostId} and m.want = 'up' and m.incarnation = ${incarnation}
      and w.deleted_at is null`.execute(db.run);
  const wanted = rows[0];
  if (wanted === undefined) return;
  const given = await openGiven(vault, wanted.id, wanted.payload_sealed);
  const { plan } = await requirePlan(judge, wanted.account_id, given);
  const payload = await payloadOf(db, wanted, given, plan, { machineId, incarnation });
  const bytes = Buffer.from(JSON.stringify(payload));
  const stream = fleet.open(hostId, { kind: "payload", machineId, incarnation, sizeBytes: bytes.length });
  for (let at = 0; at < bytes.length; at += CHUNK) await stream.write(bytes.subarray(at, at + CHUNK));
  stream.finish();
  const end = await stream.ended;
  if (end.kind !== "done") throw new Error(`the payload of ${machineId} was not taken: ${end.kind}`);
}

/** A machine that attests itself is told what it is started with; its secrets follow when it has shown that it is (release.ts). */
async function payloadOf(
  db: Deps["db"],
  wanted: Wanted,
  given: Given,
  plan: ComposePlan,
  { machineId, incarnation }: { machineId: string; incarnation: number },
): Promise<Payload> {
  if (wanted.image_sha256 !== null) {
    const about = { domain: wanted.domain, custom: wanted.custom_domain, diskGb: wanted.disk_gb };
    return toLaunchPayload(launchOf(given, plan, about), wanted.image_sha256, given, plan);
  }
  const borrower = { account: wanted.account_id, machine: machineId, incarnation };
  return { ...toPayload(given, plan), registries: await loginsOf(db, given, borrower) };
}
