// SPDX-License-Identifier: Apache-2.0
/**
 * Forwarding of the computer, which machines need. Where nothing was forwarded before a machine needed it, nothing else is
 * afterwards: a computer that begins to forward is one that its neighbours can send packets through. What runs containers keeps its own rules.
 *
 *  A. That it was us who turned it on is written down before we do, for this start of the computer and this network: the table can be
 *     emptied by whoever keeps a firewall, and a computer that forwarded before must not be changed when we go.
 *  B. It is put back when nobody can need it any more: an engine that found it on never says so.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { BRIDGE_PREFIX } from "../../docker/marks.ts";
import { mustRun } from "../../docker/program.ts";
import { FIRST, lines } from "./rules.ts";

export const FORWARDING_TABLE = "casemate-forwarding";
const SWITCH = "/proc/sys/net/ipv4/ip_forward";
const MARKS = "/run/casemate-forwarding";
const TIMEOUT_MS = 30_000;
/** Interfaces of whoever else has packets forwarded. */
const OTHERS = ["docker", "br-", "cni", "podman", "lxcbr", "virbr"];

/** Also after somebody emptied the rules: then only the table is made again. */
export async function enableForwarding(): Promise<void> {
  if (isOn() && !isOurs()) return;
  mkdirSync(MARKS, { recursive: true, mode: 0o755 });
  writeFileSync(mark(), bootId());
  await nft(rules());
  if (!isOn()) writeFileSync(SWITCH, "1");
}

/**
 * As it was before us (B): what was put back, or what keeps it from being; null when it is not ours, or was put back already.
 */
export async function restoreForwarding(): Promise<{ restored: boolean; why: string } | null> {
  if (process.getuid?.() !== 0 || !isOurs()) return null;
  const needed = readdirSync("/proc/sys/net/ipv4/conf").filter((name) =>
    [BRIDGE_PREFIX, ...OTHERS].some((start) => name.startsWith(start)),
  );
  if (needed.length > 0) return { restored: false, why: `${needed.slice(0, 3).join(", ")} may need it` };
  if (isOn()) writeFileSync(SWITCH, "0");
  // Last, and then the mark: a computer that forwards is never without.
  await nft(`table inet ${FORWARDING_TABLE}\ndelete table inet ${FORWARDING_TABLE}\n`);
  rmSync(mark(), { force: true });
  return { restored: true, why: "" };
}

/** How to undo it by hand. */
export const undoForwarding = `sysctl -w net.ipv4.ip_forward=0; nft delete table inet ${FORWARDING_TABLE}`;

const isOn = () => readFileSync(SWITCH, "utf8").trim() === "1";
const bootId = () => readFileSync("/proc/sys/kernel/random/boot_id", "utf8");
const isOurs = () => existsSync(mark()) && readFileSync(mark(), "utf8") === bootId();
/** One for each network: a computer's own, and a test's. */
const mark = () => `${MARKS}/${readlinkSync("/proc/self/ns/net").replace(/\D/g, "")}`;

const rules = () =>
  lines(
    `table inet ${FORWARDING_TABLE}`,
    `delete table inet ${FORWARDING_TABLE}`,
    `table inet ${FORWARDING_TABLE} {`,
    "chain between-others {",
    `type filter hook forward priority ${FIRST}; policy accept;`,
    ...[BRIDGE_PREFIX, ...OTHERS].flatMap((start) => [
      `iifname "${start}*" return`,
      `oifname "${start}*" return`,
    ]),
    "drop",
    "}",
    "}",
  );

async function nft(input: string): Promise<void> {
  await mustRun(["nft", "-f", "-"], { timeoutMs: TIMEOUT_MS, input });
}
