// SPDX-License-Identifier: Apache-2.0
/** What a person has to do, once, so that `ssh <name>.<slug>.<zone>` works here: one line, or lines for `ssh` where that cannot be had. */
import type { Resolver } from "./resolver.ts";

export interface ByName {
  zone: string;
  /** Null: ports 53 and 22 lead nowhere here, as without root. */
  resolver: Resolver | null;
}

export function wordsOf({ zone, resolver }: ByName, casemate: string, url: string): string[] {
  if (resolver === null)
    return [
      "To log in to instances by their names, put this into ~/.ssh/config (CASEMATE_INSTANCES_KEY is the tenant's key):",
      "",
      ...sshConfig(zone, casemate, url).map((line) => `  ${line}`),
    ];
  if (resolver.kind === "asks-us")
    return [`Names of instances resolve on this computer: ssh -i mine.key NAME.SLUG.${zone}`];
  const where = resolver.kind === "resolv.conf" ? " as the first line of /etc/resolv.conf" : "";
  return [
    `To log in by ssh -i mine.key NAME.SLUG.${zone} on this computer, once${where}:`,
    "",
    `  ${resolver.line}`,
  ];
}

/** The keys of a machine come with its record, which shows none that its evidence did not bind. */
export const sshConfig = (zone: string, casemate: string, url: string): string[] => [
  `Host *.${zone}`,
  `  ProxyCommand "${casemate}" ssh --url ${url} --pipe %h`,
  `  KnownHostsCommand "${casemate}" ssh --url ${url} --known-hosts %H`,
];
