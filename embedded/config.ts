// SPDX-License-Identifier: Apache-2.0
/**
 * What the three processes are told, from one file of the user's: `{ "control": {…}, "host": {…} }`.
 * Each process checks its own part against its own schema and refuses unknown keys.
 */
import { chownSync, readFileSync, writeFileSync } from "node:fs";
import { totalmem } from "node:os";
import type { AdminKey } from "./admin-key.ts";
import type { Layout } from "./layout.ts";

export interface UserConfig {
  control: Record<string, unknown>;
  host: Record<string, unknown>;
  logs: { bytesMax: number; filesMax: number };
}

const LOGS = { bytesMax: 10 * 1024 * 1024, filesMax: 5 };

export function readUserConfig(path: string | null): UserConfig {
  if (path === null) return { control: {}, host: {}, logs: LOGS };
  let given: Record<string, unknown>;
  try {
    given = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new Error(`config file ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  const unknown = Object.keys(given).find((key) => !["control", "host", "logs"].includes(key));
  if (unknown !== undefined) throw new Error(`config file ${path}: there is no key ${unknown}`);
  return { control: {}, host: {}, ...given, logs: { ...LOGS, ...(given.logs as object | undefined) } };
}

export interface Wiring {
  layout: Layout;
  admin: AdminKey;
  port: number | null;
  databaseSocket: string;
  user: UserConfig;
}

/** Writes both configs and returns their paths. They hold no secret, only hashes and places. */
export function writeConfigs({ layout, admin, port, databaseSocket, user }: Wiring): {
  control: string;
  host: string;
} {
  const socket = layout.path("run", "link.sock");
  const http = { ...(user.control.http as object | undefined), ...(port === null ? {} : { port }) };
  const control = {
    database: { socket: databaseSocket, user: "casemate", name: "casemate" },
    link: { socket },
    folder: layout.path("control"),
    operator: { keyHash: admin.hash, keyPrefix: admin.prefix },
    ...user.control,
    http,
  };
  const memoryMiB = Math.floor(totalmem() / 1024 / 1024);
  const host = {
    stateFolder: layout.path("host"),
    linkPath: socket,
    sandboxFolder: layout.runFolder,
    signer: {
      folder: layout.path("signer"),
      kekPath: layout.path("keys", "signer.kek"),
      uid: layout.owners?.signer ?? process.getuid?.() ?? 0,
    },
    proberUid: layout.owners?.prober ?? null,
    traces: { folders: [layout.path("host"), layout.path("control"), layout.path("logs")], logs: [] },
    // Limits are bounds, not reservations: most sandboxes stay far below theirs, so memory is offered
    // sixteen times over. Whoever wants no overcommitment sets memoryTotalMiB to the machine's memory.
    ceiling: {
      machines: 2000,
      memoryMiB: Math.min(memoryMiB, 8192),
      cpuMillis: 4000,
      pidsMax: 4096,
      memoryTotalMiB: 16 * memoryMiB,
      isolations: ["process"],
    },
    ...user.host,
  };
  const paths = { control: layout.path("run", "control.json"), host: layout.path("keys", "host.json") };
  writeFileSync(paths.control, `${JSON.stringify(control, null, 2)}\n`, { mode: 0o600 });
  writeFileSync(paths.host, `${JSON.stringify(host, null, 2)}\n`, { mode: 0o600 });
  if (layout.owners !== null) chownSync(paths.control, layout.owners.control.uid, layout.owners.control.gid);
  return paths;
}
