// SPDX-License-Identifier: Apache-2.0
/** A host process for tests, in a network namespace that its starter gave it: makes networks as it is told by lines of JSON. */
import { createInterface } from "node:readline";
import { openDoors } from "./doors.ts";
import { restoreForwarding } from "./forwarding.ts";
import { type KeptRules, keepRules } from "./keep-rules.ts";
import { Taps } from "./taps.ts";

const taps = new Taps(
  process.argv[2]!,
  process.argv[3] === undefined ? undefined : JSON.parse(process.argv[3]),
);
const keepers = new Set<KeptRules>();
const calls: Record<string, (...args: never[]) => Promise<unknown>> = {
  make: (id: string, ask: never) => taps.make(id, ask),
  protect: (id: string, ask: never) => taps.protect(id, ask),
  remove: (id: string) => taps.remove(id),
  carried: (id: string) => taps.carried(id),
  metered: async () => [...(await taps.metered())],
  list: async () => [...(await taps.list())],
  missing: () => taps.missing(),
  keep: async (id: string, ask: never) => {
    const restore = (machineId: string) => taps.protect(machineId, ask);
    keepers.add(keepRules({ taps, everyMs: 100, machines: () => [id], restore }));
  },
  letGo: async () => {
    for (const each of keepers) each.close();
  },
  restoreForwarding: () => restoreForwarding(),
  open: async (addresses: never, doors: never, resolver: string | null) => {
    await openDoors(addresses, doors, resolver);
  },
};
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line) as [string, ...never[]];
  const answer = await calls[name]!(...args).then(
    (ok) => ({ ok: ok ?? null }),
    (error: Error) => ({ error: error.message }),
  );
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
