// SPDX-License-Identifier: Apache-2.0
/** Health, from probes that were really made: the hosts' own, and the database's. Always 200. */
import type { health as healthOperation } from "#contract/sessions/health.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { wireTime } from "./time.ts";

const ENGINES = ["eee", "dire", "rzl", "fgx", "ave"] as const;

export async function health(
  { db, fleet, startedAt }: Pick<Deps, "db" | "fleet" | "startedAt">,
  _call: Call<typeof healthOperation>,
): Promise<Answer> {
  const hosts = fleet.facts();
  const database = await db.ping();
  // An engine is well when some host has it well: a session needs one host, not all of them.
  const engines = Object.fromEntries(
    ENGINES.map((name) => [name, hosts.some((host) => host.engines[name] === true)]),
  );
  const healthy = database && Object.values(engines).every(Boolean);
  return {
    status: 200,
    body: {
      status: healthy ? "healthy" : "degraded",
      engines,
      database,
      uptime_seconds: Math.floor((Date.now() - startedAt.getTime()) / 1000),
      timestamp: wireTime(new Date()),
      ...(hosts.length === 0
        ? {}
        : {
            isolation: hosts.flatMap((host) =>
              host.drivers.map(({ isolation, ready, limits, missing }) => ({
                class: isolation,
                ready,
                limits,
                missing,
              })),
            ),
          }),
    },
  };
}
