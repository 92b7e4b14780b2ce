// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate witness`: the second small process. It runs where the log's operator does not: what it adds
 * is that somebody else has to lie too.
 */
import { mkdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { readNoteKey, writeNoteKey } from "#evidence/log/note.ts";
import { openWitnessKey } from "#witness/key.ts";
import { witnessServer } from "#witness/server.ts";
import { Witness } from "#witness/witness.ts";
import { commandOf, type Given, type Printing, UsageFault } from "./usage.ts";

const USAGE = `Usage: casemate witness --folder <dir> --name <name> --log <key> [--log <key> ...] [options]

  --folder <dir>           Its key, and what it saw last of each log. What is lost here it has not seen: no backups.
  --name <name>            What its signatures are named: a URL without scheme, for all time.
  --log <key>              A log that it witnesses, as GET /log/keys has its key. Repeatable; also for a log's next key.
  --listen <host:port>     Where it is asked (default 127.0.0.1:8788). Let something that speaks TLS stand before it.

It prints its own key, for the log's config (transparency.witnesses) and for whoever verifies, and serves until it is ended.
`;

const OPTIONS = {
  folder: { type: "string" },
  name: { type: "string" },
  log: { type: "string", multiple: true },
  listen: { type: "string" },
} as const;

export const witnessCommand = commandOf(USAGE, OPTIONS, run);

async function run({ values, positionals }: Given<typeof OPTIONS>, { out, err }: Printing): Promise<number> {
  const { folder, name, log = [], listen = "127.0.0.1:8788" } = values;
  if (folder === undefined || name === undefined || log.length === 0 || positionals.length > 0)
    throw new UsageFault("--folder, --name and at least one --log are needed, and nothing else.");
  if (!/^[a-z0-9][a-z0-9./-]{0,127}$/.test(name)) throw new UsageFault("--name is a URL without scheme.");
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(listen) ?? [];
  if (host === undefined || Number(port) > 65_535) throw new UsageFault("--listen is <host>:<port>.");
  const keys = log.map((text) => {
    const key = readNoteKey(text);
    if (key === null) throw new UsageFault("--log is <name>+<id>+<base64>, as GET /log/keys has it.");
    return key;
  });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const key = await openWitnessKey(join(folder, "key.pem"), name);
  const witness = await Witness.open(folder, key, keys, Date.now);
  const server = witnessServer(witness, key, (error) => err(`${(error as Error).message}\n`));
  const { promise: ended, resolve, reject } = Promise.withResolvers<number>();
  server.once("error", reject);
  server.listen(Number(port), host.replace(/^\[|\]$/g, ""), () => {
    const at = server.address() as AddressInfo;
    out(`${writeNoteKey(key)}\n`);
    err(`witnessing ${new Set(keys.map((one) => one.name)).size} log(s) on ${at.address}:${at.port}\n`);
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const)
    process.once(signal, () => {
      server.close(() => resolve(0));
      server.closeIdleConnections();
    });
  return ended;
}
