// SPDX-License-Identifier: Apache-2.0
/** `casemate bench sessions|proofs|workloads|instances|models|vms|verify [--json] [--quick]`: exit 0 when every line meets its goal, 1 when one is over, 2 for wrong usage. */
import { parseArgs } from "node:util";
import { benchInstances } from "#bench/instances.ts";
import { benchModels } from "#bench/models.ts";
import { benchProofs } from "#bench/proofs.ts";
import { benchSessions, type Line } from "#bench/sessions.ts";
import { benchVerify } from "#bench/verify.ts";
import { benchVms } from "#bench/vms.ts";
import { benchWorkloads } from "#bench/workloads.ts";

const USAGE =
  "usage: casemate bench sessions|proofs|workloads|instances|models|vms|verify [--json] [--quick]\n";
const VERIFY_GOAL = 0.7;
const BENCHES: Record<string, typeof benchSessions> = {
  sessions: benchSessions,
  proofs: benchProofs,
  workloads: benchWorkloads,
  instances: benchInstances,
  models: benchModels,
  vms: benchVms,
};

export async function benchCommand(argv: string[]): Promise<number> {
  let what: string | undefined;
  let flags: { json?: boolean; quick?: boolean };
  try {
    const parsed = parseArgs({
      args: argv,
      allowPositionals: true,
      options: { json: { type: "boolean" }, quick: { type: "boolean" } },
    });
    flags = parsed.values;
    what = parsed.positionals.length === 1 ? parsed.positionals[0] : undefined;
  } catch {
    what = undefined;
    flags = {};
  }
  const print = (text: string) => process.stdout.write(`${text}\n`);
  if (what === "verify") {
    const { ratio, lines } = await benchVerify();
    print(flags.json ? JSON.stringify({ ratio, goal: VERIFY_GOAL, lines }) : lines.join("\n"));
    return ratio >= VERIFY_GOAL ? 0 : 1;
  }
  const bench = what === undefined ? undefined : BENCHES[what];
  if (bench === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  const lines = await bench({
    quick: flags.quick ?? false,
    onLine: (line) => print(flags.json ? JSON.stringify(line) : textOf(line)),
  });
  return lines.every(({ ok }) => ok) ? 0 : 1;
}

function textOf({ name, ratio, goal, sense, ok, detail }: Line): string {
  const against = `${sense === "most" ? "≤" : "≥"} ${goal}`;
  return `${ok ? "ok  " : "OVER"}  ${name.padEnd(52)} ${ratio.toFixed(2).padStart(6)}  goal ${against.padEnd(6)} ${detail}`;
}
