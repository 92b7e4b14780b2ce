// SPDX-License-Identifier: Apache-2.0
/**
 * Rules that lead a port below 1024 of an address to one that a process without rights listens on. They are passed before any socket
 * is looked for, so another program may hold the low port of every address. A table holds what is led, and is replaced as a whole.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const TIMEOUT_MS = 10_000;

export interface Lead {
  protocol: "tcp" | "udp";
  /** An address or a range, as nft writes them. */
  addresses: string;
  from: number;
  to: number;
}

/** The same table is written again by the next process. False: this computer does not let us, or has no nftables. */
export function redirect(table: string, leads: readonly Lead[]): Promise<boolean> {
  const rules = leads
    .map(
      ({ protocol, addresses, from, to }) =>
        `ip daddr ${addresses} ${protocol} dport ${from} dnat to :${to}\n`,
    )
    .join("");
  const chain = (hook: string) => `chain ${hook} { type nat hook ${hook} priority -100;\n${rules}}\n`;
  return nft(`${without(table)}table ip ${table} {\n${chain("prerouting")}${chain("output")}}\n`);
}

/** Nothing of it is left when it answers true. */
export const forgetRedirect = (table: string): Promise<boolean> => nft(without(table));

/** One that is not there cannot be deleted, so it is made first. */
const without = (table: string) => `table ip ${table}\ndelete table ip ${table}\n`;

async function nft(input: string): Promise<boolean> {
  const running = promisify(execFile)("nft", ["-f", "-"], { timeout: TIMEOUT_MS });
  running.child.stdin?.on("error", () => {});
  running.child.stdin?.end(input);
  return running.then(
    () => true,
    () => false,
  );
}
