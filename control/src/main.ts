// SPDX-License-Identifier: Apache-2.0
/**
 * Control's process: `node control/src/main.ts <config file>`. Ends cleanly on SIGTERM and when its
 * standard input closes: the process that started it may have been killed, and nobody would tell us.
 */
import { fstatSync } from "node:fs";
import pkg from "#package.json" with { type: "json" };
import { startControl } from "./assemble.ts";
import { readConfigFile, resolveConfig } from "./config.ts";
import { DEFAULT_CONFIG } from "./defaults.ts";
import { openLog } from "./log.ts";

/** Tells whoever starts us that trying again does not help. */
const PORT_IN_USE = 98;
const file = process.argv[2];
const config = resolveConfig(DEFAULT_CONFIG, file === undefined ? {} : readConfigFile(file), process.env);
const log = openLog(config.log.level, "control");
const control = await startControl({ config, version: pkg.version, log, checkAnswers: false }).catch(
  (error: NodeJS.ErrnoException) => {
    if (error.code !== "EADDRINUSE") throw error;
    process.stderr.write(`${config.http.host}:${config.http.port} is in use by another program\n`);
    return process.exit(PORT_IN_USE);
  },
);
log.info({ url: control.url }, "listening");

let ending = false;
const end = async (why: string) => {
  if (ending) return;
  ending = true;
  log.info({ why }, "stopping");
  await control.close();
  process.exit(0);
};
process.once("SIGTERM", () => end("SIGTERM"));
process.once("SIGINT", () => end("SIGINT"));
// Not of /dev/null, which a supervisor gives and which is always at its end.
const stdin = fstatSync(0);
if (stdin.isFIFO() || stdin.isSocket()) {
  process.stdin
    .setEncoding("utf8")
    .on("data", (text: string) => {
      // Whoever started us watches the disk that the database is on, which we need not be able to see.
      const said = text.trim().split("\n").at(-1);
      if (said === "room low" || said === "room again") control.setRoom(said === "room again");
    })
    .once("end", () => end("standard input closed"));
}
