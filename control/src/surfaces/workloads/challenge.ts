// SPDX-License-Identifier: Apache-2.0
/** An owner challenges the machine of a workload: evidence now, for their nonce, judged by us and kept for whoever judges again. */

import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { judgeLaunch, openTalk, TalkFault } from "../../core/attestation/index.ts";
import type { Deps } from "./deps.ts";
import { isMeasured } from "./isolation.ts";
import { launchOf } from "./launch.ts";
import { launchAbout } from "./launches.ts";
import { openGiven, requirePlan } from "./payload.ts";
import { requireWorkload } from "./rows.ts";

const TALK_MS = 60_000;

/** Answers the verdict's id, and the machine's keys; a `seal` binds both of them. */
export async function challengeWorkload(
  deps: Pick<Deps, "db" | "fleet" | "vault" | "judge" | "guestImages" | "collateral" | "expectedOf">,
  account: string,
  workloadId: string,
  { nonce, purpose }: { nonce: Uint8Array | null; purpose: "report" | "seal" },
): Promise<{ id: string; keys: { sealing: Uint8Array; tls: Uint8Array }; manifest: Uint8Array }> {
  const { db, fleet, vault, judge, guestImages } = deps;
  const row = await requireWorkload(db.run, account, workloadId);
  const image =
    row.image_sha256 === null || !isMeasured(row.isolation) ? null : guestImages.ofHash(row.image_sha256);
  if (image === null)
    throw new Fault("machine.not-attested", {
      detail: `There is no evidence of a workload whose isolation is ${row.isolation}.`,
    });
  // One that starts may be waiting for what its owner is about to seal.
  if (row.status !== "running" && row.status !== "starting")
    throw new Fault("machine.not-attested", { detail: "The workload does not run now." });
  const { rows } = await sql<{ payload_sealed: Buffer }>`
    select payload_sealed from workloads where id = ${row.id}::uuid`.execute(db.run);
  const given = await openGiven(vault, row.id, rows[0]!.payload_sealed);
  const { plan } = await requirePlan(judge, account, given);
  const launch = launchOf(given, plan, launchAbout(row));
  const hostId = row.host_id ?? "";
  const stream = fleet.open(hostId, { kind: "attest", machineId: row.machine_id, incarnation: null });
  const talk = openTalk(stream, TALK_MS);
  try {
    const { id, sealingKey, tlsKey } = await judgeLaunch(deps, talk, {
      ...{ hostId, machineId: row.machine_id, image, launchSha256: launch.sha256 },
      ...{ account, subject: { workload: row.id }, isolation: row.isolation, cpus: row.cpus, purpose },
      ...(nonce !== null && { nonce }),
    });
    return { id, keys: { sealing: sealingKey, tls: tlsKey }, manifest: launch.manifest };
  } catch (error) {
    if (error instanceof TalkFault) throw new Fault("machine.not-attested", { detail: error.message });
    throw error;
  } finally {
    talk.close();
  }
}
