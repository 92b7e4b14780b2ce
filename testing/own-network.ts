// SPDX-License-Identifier: Apache-2.0
/**
 * An installation with a network to itself, so that its rules and low ports are nobody else's, and somebody who works on that computer:
 * with a home of their own, and with a resolv.conf of the test's in the place of this machine's.
 */
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** Before `casemate up`. */
export const OWN_NETWORK = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"];

/** Words before a command, so that it runs in the network of that process. */
export const inNetworkOf = (pid: number): string[] => ["nsenter", `--net=/proc/${pid}/ns/net`, "--"];

export interface Visitor {
  folder: string;
  nameServers: readonly string[];
  /** What they answer where `ssh` asks whether a key is right. */
  trusts: string;
}

/** What the script printed, errors too. It is on a file, so that `stdin` is for the programs in it. */
export async function runAs(
  pid: number,
  { folder, nameServers, trusts }: Visitor,
  script: string,
  { stdin, env, timeoutMs }: { stdin: string; env: Record<string, string>; timeoutMs: number },
): Promise<string> {
  const [home, conf, file, asked] = ["home", "resolv.conf", "script.sh", "asked"].map((name) =>
    join(folder, name),
  );
  mkdirSync(home!, { recursive: true, mode: 0o700 });
  writeFileSync(conf!, nameServers.map((server) => `nameserver ${server}\n`).join(""));
  writeFileSync(file!, script);
  writeFileSync(asked!, `#!/bin/sh\necho ${trusts}\n`, { mode: 0o755 });
  // ssh takes the home of the user database, whatever HOME says.
  const enter =
    'mount --bind "$1" "$3" && mount --bind "$2" /etc/resolv.conf && cd "$3" && exec bash -eu "$4" 2>&1';
  const words = ["unshare", "--mount", "sh", "-c", enter, "sh", home!, conf!, homedir(), file!];
  const [command, ...args] = [...inNetworkOf(pid), ...words];
  const { PATH = "" } = process.env;
  const running = promisify(execFile)(command!, args, {
    env: { PATH, HOME: homedir(), SSH_ASKPASS: asked!, SSH_ASKPASS_REQUIRE: "force", ...env },
    ...{ timeout: timeoutMs, maxBuffer: 16 * 1024 * 1024 },
  });
  running.child.stdin!.end(stdin);
  try {
    return (await running).stdout;
  } catch (error) {
    const { message, stdout } = error as Error & { stdout: string };
    throw new Error(`${message}\n${stdout}`, { cause: error });
  }
}
