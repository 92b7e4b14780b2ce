// SPDX-License-Identifier: Apache-2.0
/** The host's process, kept running: beside control (`up`), or by itself (run-host.ts). */
import { dirname } from "node:path";
import { spawnPart } from "#confine/spawn.ts";
import type { UserConfig } from "./config.ts";
import type { Layout } from "./layout.ts";
import { openLogFile } from "./log-file.ts";
import { keepRunning, type Part } from "./part.ts";

const ROOT = dirname(dirname(new URL(import.meta.url).pathname));
/** The host's exit code when another program has a port of the ingress. */
const PORT_IN_USE = 98;
/** Its machines are ended with a proof each. */
export const HOST_GRACE_MS = 60_000;

export function startHost(
  layout: Layout,
  user: UserConfig,
  config: string,
  warn: (line: string) => void,
  /** Writes the configuration anew with ports that are free now. */
  choosePorts: () => Promise<void>,
): Part {
  const log = openLogFile(layout.path("logs", "host.log"), user.logs);
  let taken = false;
  return keepRunning({
    name: "host",
    log,
    prepare: async () => {
      // Somebody else took them after we had found them free: another casemate, begun at the same moment.
      if (taken)
        await choosePorts().catch((error: Error) => warn(`no ports for the ingress: ${error.message}`));
      taken = false;
    },
    spawn: () =>
      spawnPart({
        command: process.execPath,
        args: ["--disable-warning=ExperimentalWarning", `${ROOT}/host/main.ts`, config],
        env: passedOn(),
        cwd: ROOT,
        confinement: null,
        stdio: ["pipe", "pipe", "pipe"],
      }),
    onDeath: (name, code, signal, lastLine) => {
      taken = code === PORT_IN_USE;
      warn(`${name} died (${signal ?? code}), starting it again: ${lastLine}`);
      return true;
    },
  });
}

/** Only what the parts read: PATH to find programs, TZ never, and our own settings. */
export function passedOn(): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name]) => name === "PATH" || name.startsWith("CASEMATE_"),
  );
  return {
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    ...(Object.fromEntries(kept) as Record<string, string>),
    LC_ALL: "C.UTF-8",
  };
}
