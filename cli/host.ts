// SPDX-License-Identifier: Apache-2.0
/** `casemate host join` and `casemate host run`: this machine as a host of a control that is elsewhere. */
import { mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { runHost } from "#embedded/run-host.ts";
import { joinControl, readJoined } from "#host/join.ts";

export interface JoinTarget {
  state: string;
  /** File with the word, `-` for standard input: it must be on no command line. */
  invitation: string;
  ca?: string;
}

export async function joinCommand(url: string, { state, invitation, ca }: JoinTarget): Promise<number> {
  const token = readFileSync(invitation === "-" ? 0 : invitation, "utf8").trim();
  const stateFolder = hostFolder(state);
  mkdirSync(stateFolder, { recursive: true, mode: 0o700 });
  const { servers } = await joinControl({
    ...{ url, token, stateFolder },
    ...(ca === undefined ? {} : { ca: readFileSync(ca, "utf8") }),
  });
  process.stdout.write(
    `joined; control is met at ${servers.join(", ")}\nstart it: ./casemate host run --state ${state}\n`,
  );
  return 0;
}

export interface RunTarget {
  state: string;
  address?: string;
  config?: string;
}

export async function runCommand({ state, address, config }: RunTarget): Promise<number> {
  const nats = readJoined(hostFolder(state));
  if (nats === null)
    throw new Error(`${state} has not joined yet: ./casemate host join <url> --invitation <file>`);
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  await runHost({
    ...{ state, nats, address: address ?? null, configFile: config ?? null, signal: stop.signal },
    say: (line) => process.stdout.write(`${line}\n`),
  });
  return 0;
}

const hostFolder = (state: string): string => join(resolve(state), "host");
