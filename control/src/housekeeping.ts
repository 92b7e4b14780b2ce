// SPDX-License-Identifier: Apache-2.0
/** What grows is bounded: old windows, used idempotency keys, journal payloads past their time. */

import { sql } from "kysely";
import type { ControlConfig } from "./config.ts";
import { rejudgeRevoked } from "./core/attestation/index.ts";
import { forgetGuesses, forgetPullKeys } from "./core/identity/index.ts";
import { pruneJournal, type Sealer } from "./core/journal/index.ts";
import { every } from "./core/machines/index.ts";
import { forgetRecords } from "./core/oauth/index.ts";
import type { Database } from "./database/open.ts";
import { forgetTelemetry } from "./surfaces/devices/telemetry.ts";
import { pruneCalls } from "./surfaces/inference/calls.ts";

const TURN_MS = 60_000;

export async function startHousekeeping(
  db: Database,
  config: ControlConfig,
  sealer: Sealer,
  onError: (error: unknown) => void,
): Promise<() => Promise<void>> {
  // Commands that an earlier life of this very process was running are over: their streams died with it.
  await sql`
    update sessions set status = 'active', executing_by = null, version = version + 1
    where executing_by = ${config.replica} and status = 'executing'`.execute(db.run);
  return every(
    TURN_MS,
    async () => {
      await sql`delete from rate_windows where window_start < now() - interval '5 minutes'`.execute(db.soft);
      await forgetPullKeys(db.soft);
      await forgetRecords(db);
      await forgetGuesses(db.soft);
      await sql`delete from idempotency where expires_at < now()`.execute(db.soft);
      // Payload and salt go together: a salt without its payload would only help a guesser.
      await sql`
        update journal set payload = null, salt = null
        where payload is not null and at < now() - make_interval(days => ${config.retention.journalPayloadDays})`.execute(
        db.soft,
      );
      // The newest of each workload stays: it says what was given its secrets.
      await sql`
        delete from attestations a where created_at < now() - make_interval(days => ${config.retention.journalPayloadDays})
          and (workload_id is null or exists (
            select from attestations n where n.workload_id = a.workload_id and n.created_at > a.created_at))`.execute(
        db.soft,
      );
      await rejudgeRevoked(db.run);
      await pruneCalls(db.run, config.retention.inferenceCallDays);
      await pruneJournal(db, sealer, config.retention.journalDays);
      await sql`
        delete from rollouts where ended_at < now() - make_interval(days => ${config.devices.rolloutDays})`.execute(
        db.soft,
      );
      await forgetTelemetry({ db }, config.devices.telemetryHours);
      await sql`
        update accounts set cycle_start = date_trunc('month', now()) where cycle_start < date_trunc('month', now())`.execute(
        db.run,
      );
    },
    onError,
  );
}
