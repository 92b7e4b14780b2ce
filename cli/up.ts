// SPDX-License-Identifier: Apache-2.0
/** `casemate up`, until a signal ends it. */
import { up } from "#embedded/up.ts";

interface Options {
  state: string;
  port?: string;
  config?: string;
  insecure?: boolean;
  json?: boolean;
  withEdge?: boolean;
}

export async function upCommand({
  state,
  port,
  config,
  insecure = false,
  json = false,
  withEdge = false,
}: Options): Promise<number> {
  const number = port === undefined ? null : Number(port);
  if (number !== null && !(Number.isInteger(number) && number > 0 && number < 65536)) {
    process.stderr.write(`casemate up: --port ${port} is not a port\n`);
    return 2;
  }
  // Before anything starts: a signal in the middle of a start must undo what has started.
  const asked = new AbortController();
  const signalled = new Promise<string>((resolve) => {
    for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
      process.on(name, () => {
        asked.abort(new Error(`stopped by ${name}`));
        resolve(name);
      });
    }
  });
  const started = await up(
    { state, port: number, configFile: config ?? null, insecure, json, withEdge, signal: asked.signal },
    (line) => process.stdout.write(`${line}\n`),
    (line) => process.stderr.write(`casemate: ${line}\n`),
  );
  process.on("SIGUSR2", () => started.rotateIssuer());
  const signal = await signalled;
  process.stderr.write(`casemate: ${signal}: ending sessions and stopping\n`);
  await started.stop();
  return 0;
}
