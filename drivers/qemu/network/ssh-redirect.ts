// SPDX-License-Identifier: Apache-2.0
/** One rule that leads port 22 of a range of addresses to the port that is listened on there. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const TIMEOUT_MS = 10_000;
const TABLE = "casemate-ssh";

/** The same table is written again by the next process. False: this computer does not let us, or has no nftables. */
export async function redirectSsh(addresses: string, port: number): Promise<boolean> {
  const chain = (hook: string) =>
    `chain ${hook} { type nat hook ${hook} priority -100;\nip daddr ${addresses} tcp dport 22 dnat to :${port}\n}\n`;
  const rules = `table ip ${TABLE}\ndelete table ip ${TABLE}\ntable ip ${TABLE} {\n${chain("prerouting")}${chain("output")}}\n`;
  return nft(rules);
}

/** Nothing of it is left when it answers true. */
export const forgetSshRedirect = (): Promise<boolean> => nft(`table ip ${TABLE}\ndelete table ip ${TABLE}\n`);

async function nft(input: string): Promise<boolean> {
  const running = promisify(execFile)("nft", ["-f", "-"], { timeout: TIMEOUT_MS });
  running.child.stdin?.on("error", () => {});
  running.child.stdin?.end(input);
  return running.then(
    () => true,
    () => false,
  );
}
