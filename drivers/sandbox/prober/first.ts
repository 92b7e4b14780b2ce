// SPDX-License-Identifier: Apache-2.0
/**
 * What the kernel says of a sandbox's first process, read by the prober and not by the driver that
 * started it: what it may do, whether a network can be reached from it, how large a core it may leave.
 *
 *  A. All of it is one process's: its start time is the same before and after.
 *  B. There is no network when no route leads anywhere and no interface could. The kernel itself puts
 *     tunnels of its own, down and without addresses, into every new namespace once their modules are
 *     loaded; they are known by name and by never having carried a packet.
 */
import { startTime, statusFields, tryRead } from "../process-table.ts";
import type { FirstAnswer, FirstQuestion } from "./question.ts";

const KERNELS_OWN = /^(tunl0|gre0|gretap0|erspan0|ip_vti0|ip6_vti0|sit0|ip6tnl0|ip6gre0)$/;

export function readFirst({ pid }: FirstQuestion): FirstAnswer {
  const pidStart = startTime(pid);
  const status = statusFields(pid);
  const network = networkMode(pid);
  const coreLimitBytes = coreLimit(tryRead(`/proc/${pid}/limits`) ?? "");
  if (pidStart === null || status === null || startTime(pid) !== pidStart) throw new Error("it ended");
  return {
    pidStart,
    seccompMode: Number(status.get("Seccomp")),
    noNewPrivs: status.get("NoNewPrivs") === "1",
    capabilitiesEffective: status.get("CapEff") ?? "",
    network,
    coreLimitBytes,
  };
}

/** `other`: something is there, or it could not be told. */
function networkMode(pid: number): FirstAnswer["network"] {
  const interfaces = rowsOf(tryRead(`/proc/${pid}/net/dev`), 2);
  const routes = rowsOf(tryRead(`/proc/${pid}/net/route`), 1);
  if (interfaces === null || routes === null || routes.length > 0) return "other";
  // Without IPv6 in the kernel there is no such file.
  const routes6 = rowsOf(tryRead(`/proc/${pid}/net/ipv6_route`), 0) ?? [];
  if (routes6.some((fields) => fields.at(-1) !== "lo")) return "other";
  const silent = interfaces.every(([name = "", received, ...rest]) => {
    if (name === "lo:") return true;
    return KERNELS_OWN.test(name.slice(0, -1)) && received === "0" && rest[7] === "0";
  });
  return silent ? "none" : "other";
}

/** Of /proc/<pid>/limits: the hard one, up to which a process may raise its own; null when there is none. */
function coreLimit(limits: string): number | null {
  const hard = limits.match(/^Max core file size\s+\S+\s+(\d+)\s/m)?.[1];
  return hard === undefined ? null : Number(hard);
}

function rowsOf(table: string | null, headerLines: number): string[][] | null {
  if (table === null) return null;
  const lines = table.split("\n").slice(headerLines);
  return lines.filter((line) => line.trim() !== "").map((line) => line.trim().split(/\s+/));
}
