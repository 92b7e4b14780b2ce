// SPDX-License-Identifier: Apache-2.0
/**
 * How this computer's resolver comes to ask us: one line, which its owner puts in. We never do: whoever writes that file decides
 * where every name of the computer leads.
 *
 *  - systemd-resolved takes a file beside its own, with the zone that is asked of us, and no other name comes here.
 *  - glibc by itself asks one server after the other until one does not refuse. We refuse what is not in our zones
 *    (core/ingress/answer.ts), so as the first we cost other names a moment on loopback. Behind another server we would never be
 *    asked: that one says that there is no such name.
 */
import { readFileSync, realpathSync } from "node:fs";

export const RESOLV_CONF = "/etc/resolv.conf";
export const DROP_IN = "/etc/systemd/resolved.conf.d/casemate.conf";

export type Resolver =
  /** The line is there already. */
  { kind: "asks-us" } | { kind: "systemd-resolved"; line: string } | { kind: "resolv.conf"; line: string };

/** Below `root`, which only tests change. */
export function resolverOf(address: string, zone: string, root = ""): Resolver {
  if (linesOfOurs(address, root).length > 0) return { kind: "asks-us" };
  if (!isResolved(root)) return { kind: "resolv.conf", line: `nameserver ${address}` };
  const [folder] = DROP_IN.split("/casemate.conf");
  const text = `'[Resolve]\\nDNS=${address}\\nDomains=~${zone}\\n'`;
  return {
    kind: "systemd-resolved",
    line: `sudo mkdir -p ${folder} && printf ${text} | sudo tee ${DROP_IN} && sudo systemctl restart systemd-resolved`,
  };
}

/** What its owner has put in for us, by file. */
export function linesOfOurs(address: string, root = ""): { file: string; line: string }[] {
  const servers: [string, string][] = [
    [RESOLV_CONF, `nameserver ${address}`],
    [DROP_IN, `DNS=${address}`],
  ];
  return servers
    .filter(([file, line]) =>
      textOf(root + file)
        .split("\n")
        .some((one) => one.trim() === line),
    )
    .map(([file, line]) => ({ file, line }));
}

/** It is what programs ask when the file leads to its stub, or to a list that it keeps. */
const isResolved = (root: string): boolean =>
  /^nameserver 127\.0\.0\.53$/m.test(textOf(root + RESOLV_CONF)) ||
  pathOf(root + RESOLV_CONF).includes("/run/systemd/resolve/");

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function pathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
