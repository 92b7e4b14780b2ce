// SPDX-License-Identifier: Apache-2.0
/** What a kept machine's change means to its workload and to the account's money, inside the statement that records it. */
import { sql } from "kysely";
import type { Observation } from "#contract/link/machine.ts";
import { AFTER_ROOM, knownUntil } from "../../core/fleet/index.ts";
import { returnPullKeysClause } from "../../core/identity/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { AFTER_METER, NOW, startMeterClauses, stopMeterClauses } from "../../core/ledger/index.ts";
import type { KeptReactions } from "../../core/machines/index.ts";
import { eventClauses } from "./events.ts";

export const workloadReactions: KeptReactions = (observation) => {
  const { kind, ...details } = eventOf(observation);
  const stops = observation.state !== "starting" && observation.state !== "running";
  const through = stops || observation.state === "running";
  // A start that we ourselves recorded with the wish is not an event twice.
  const news = observation.state === "starting" ? sql`w.status <> 'starting'` : sql`true`;
  // From when anything of it may run: whoever could hold a machine in `starting` would compute for nothing.
  const costs =
    observation.state === "running" || (observation.state === "starting" && observation.idle !== true);
  const meter = costs
    ? startMeterClauses({ when: AFTER_ROOM })
    : stopMeterClauses({
        when: AFTER_ROOM,
        released: stops ? sql`not machine.holds_compute` : sql`false`,
        until: knownUntil("machine", NOW),
      });
  return sql`
    ${eventClauses(kind, details, news)},
    ${meter},
    ${through ? sql`${returnPullKeysClause(observation.machineId, observation.incarnation ?? 1)},` : sql``}
    ${appendClauses(
      {
        account: sql`(select account_id from subject)`,
        type: sql`${`workload.${kind}`}`,
        subject: sql`(select id::text from subject)`,
        payload: {},
      },
      AFTER_METER,
    )}`;
};

function eventOf(observation: Observation): { kind: string; error?: string; message?: string } {
  const { state, code, detail, restarted } = observation;
  if (state === "starting" && restarted)
    return { kind: "vmRestarted", ...(detail === undefined ? {} : { message: detail }) };
  if (state === "starting" || state === "running") return { kind: state };
  if (state === "ended") return { kind: "deleted" };
  if (state === "halted" && code === undefined) return { kind: "stopped" };
  return { kind: "failedToStart", error: detail ?? code ?? "the host could not start it" };
}
