// SPDX-License-Identifier: Apache-2.0
/** What `up --with-edge` leaves to be seen from outside, for the tests of it. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface DemoLine {
  Device: string;
  Found: { Detections: { Class: string }[] }[];
}

/** Of its log, what it found; it says other things there too. */
export function demoLines(state: string): DemoLine[] {
  const log = join(state, "logs", "edge.log");
  if (!existsSync(log)) return [];
  return readFileSync(log, "utf8")
    .split("\n")
    .filter((line) => line.startsWith("{") && line.endsWith("}"))
    .map((line) => JSON.parse(line) as DemoLine);
}

/** The agent's own process: node, not what stands around it. */
export function agentOf(state: string): number | null {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      const main = words.findIndex((word) => word.endsWith("/edge/main.ts"));
      if (main > 0 && main < 4 && words.includes(join(state, "edge"))) return Number(pid);
    } catch {
      // It went meanwhile.
    }
  }
  return null;
}
