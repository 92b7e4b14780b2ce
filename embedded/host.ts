// SPDX-License-Identifier: Apache-2.0
/**
 * The host's process, kept running: beside control (`up`), or by itself on a machine of its own, whose
 * control it meets at a broker.
 */
import { writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { findProgram, spawnPart } from "#confine/spawn.ts";
import { hostConfig, ingressPortsHere, readUserConfig, type UserConfig } from "./config.ts";
import { type Layout, prepareLayout } from "./layout.ts";
import { lockFolder } from "./lock.ts";
import { openLogFile } from "./log-file.ts";
import { keepRunning, type Part } from "./part.ts";
import { withoutRoot } from "./without-root.ts";

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

export interface HostRun {
  state: string;
  /** As the host's configuration names its broker. */
  nats: object;
  /** Where strangers reach workloads here; null: only from this machine. */
  address: string | null;
  configFile: string | null;
  signal: AbortSignal;
  say(line: string): void;
}

/** Until the signal; then its machines are ended. */
export async function runHost(options: HostRun): Promise<void> {
  const { state, nats, address, configFile, signal, say } = options;
  const user = readUserConfig(configFile);
  const layout = prepareLayout(state);
  const lock = lockFolder(layout.path("lock"));
  try {
    if (layout.root && findProgram("bwrap") === null)
      throw new Error(
        "bubblewrap is missing, and as root nothing starts unconfined: apt-get install -y bubblewrap",
      );
    if (!layout.root) for (const line of withoutRoot(process.getuid?.() ?? 0)) say(line);
    const path = layout.path("keys", "host.json");
    const writeConfig = async () => {
      const ports = address === null ? await ingressPortsHere() : { httpPort: 80, httpsPort: 443 };
      const ingress = { host: address ?? "127.0.0.1", ...ports };
      const config = hostConfig({ layout, meeting: { nats }, user, ingress, registriesInside: [] });
      writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    };
    await writeConfig();
    const host = startHost(layout, user, path, say, writeConfig);
    say(`casemate host runs (log: ${layout.path("logs", "host.log")})`);
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
    await host.stop(HOST_GRACE_MS);
    layout.clear();
  } finally {
    lock.release();
  }
}
