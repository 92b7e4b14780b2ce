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

/** Tell whoever starts us that trying again does not help; the second is EX_CONFIG of sysexits.h. */
const PORT_IN_USE = 98;
const WRONG_CONFIG = 78;

/** Every fault of the configuration begins with the word, wherever it is found. */
function endIfWrongConfig(error: unknown): void {
  const message = error instanceof Error ? error.message : "";
  if (!message.startsWith("config ")) return;
  process.stderr.write(`${message}\n`);
  process.exit(WRONG_CONFIG);
}

function configured() {
  const file = process.argv[2];
  try {
    return resolveConfig(DEFAULT_CONFIG, file === undefined ? {} : readConfigFile(file), process.env);
  } catch (error) {
    endIfWrongConfig(error);
    throw error;
  }
}

const config = configured();
const log = openLog(config.log.level, "control");
const control = await startControl({ config, version: pkg.version, log, checkAnswers: false }).catch(
  (error: NodeJS.ErrnoException) => {
    endIfWrongConfig(error);
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
