// SPDX-License-Identifier: Apache-2.0
/**
 * A replica of control that dies at the moment when it would say the first word to a host: what it wrote
 * before that is written, and nothing it was about to do happens.
 */
import { sql } from "kysely";
import type { HostFacts } from "#contract/link/machine.ts";
import { openFleet } from "#control/src/core/fleet/index.ts";
import type { Database } from "#control/src/database/open.ts";
import { movesTurn } from "#control/src/surfaces/workloads/moves.ts";
import { several } from "#link/several.ts";

class Died extends Error {}
const die = (): never => {
  throw new Died();
};

/** Its last turn of moving workloads. True: it died over what it had to say. */
export async function lastTurnOfDying(db: Database): Promise<boolean> {
  const silent = several([]);
  let mute = false;
  const fleet = openFleet(() => ({ ...silent, sendDesired: () => (mute ? die() : undefined) }));
  const { rows } = await sql<{ facts: HostFacts }>`
    select facts from hosts where revoked_at is null`.execute(db.run);
  for (const { facts } of rows) await fleet.joined(facts);
  mute = true;
  const converger = { send: die, stop: async () => {} };
  try {
    await movesTurn({ db, fleet, converger, observed: async () => die() });
    return false;
  } catch (error) {
    if (error instanceof Died) return true;
    throw error;
  }
}
