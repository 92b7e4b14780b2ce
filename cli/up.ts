// SPDX-License-Identifier: Apache-2.0
/** `casemate up`, until a signal ends it. */
import { up } from "#embedded/up.ts";

interface Options {
  state: string;
  port?: string;
  config?: string;
  json?: boolean;
}

export async function upCommand({ state, port, config, json = false }: Options): Promise<number> {
  const number = port === undefined ? null : Number(port);
  if (number !== null && !(Number.isInteger(number) && number > 0 && number < 65536)) {
    process.stderr.write(`casemate up: --port ${port} is not a port\n`);
    return 2;
  }
  const started = await up(
    { state, port: number, configFile: config ?? null, json },
    (line) => process.stdout.write(`${line}\n`),
    (line) => process.stderr.write(`casemate: ${line}\n`),
  );
  process.on("SIGUSR2", () => started.rotateIssuer());
  const signal = await new Promise<string>((resolve) => {
    for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(name, () => resolve(name));
  });
  process.stderr.write(`casemate: ${signal}: ending sessions and stopping\n`);
  await started.stop();
  return 0;
}
