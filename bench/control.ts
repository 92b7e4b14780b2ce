// SPDX-License-Identifier: Apache-2.0
/** Control on a durable PostgreSQL of its own, without a host: what is measured when no machine is. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { startControl } from "#control/src/assemble.ts";
import { type ControlConfig, resolveConfig } from "#control/src/config.ts";
import { hashKey, makeKey } from "#control/src/core/identity/index.ts";
import { DEFAULT_CONFIG } from "#control/src/defaults.ts";
import { openLog } from "#control/src/log.ts";
import { startPostgres } from "#embedded/postgres.ts";
import { NO_NATS } from "#link/nats/files.ts";

export interface BareControl extends AsyncDisposable {
  url: string;
  adminKey: string;
  config: ControlConfig;
  connection: pg.PoolConfig;
  /** Ended before the rest, the last first. */
  undo: (() => unknown)[];
}

export async function openControl(change: Record<string, unknown>): Promise<BareControl> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-bench-c-"));
  const undo: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
  const close = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    const owner = process.getuid?.() === 0 ? { uid: 63_013, gid: 63_013 } : null;
    const caller = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, name: "casemate-operator" };
    const server = await startPostgres({ folder: join(folder, "pg"), owner, clients: [caller] });
    undo.push(() => server.stop());
    const admin = new pg.Client({ host: server.host, user: server.user, database: "postgres" });
    await admin.connect();
    await admin.query("create database bench");
    await admin.end();
    const adminKey = makeKey("cm_admin_");
    const base = {
      ...structuredClone(DEFAULT_CONFIG),
      http: { ...DEFAULT_CONFIG.http, port: 0 },
      database: { socket: server.host, user: server.user, name: "bench", urlFile: null, poolMax: 16 },
      link: { socket: join(folder, "run", "link.sock"), nats: NO_NATS, broker: null, hostServers: [] },
      folder,
      blobs: { ...DEFAULT_CONFIG.blobs, folder: join(folder, "blobs") },
      operator: { keyHash: hashKey(adminKey).toString("hex"), keyPrefix: "cm_admin_" },
      log: { level: "error" },
    } satisfies ControlConfig;
    const config = resolveConfig(base, change, {});
    const log = openLog("error", "bench");
    const control = await startControl({ config, version: "0.0.1", log, checkAnswers: false });
    undo.push(() => control.close());
    const connection = { host: server.host, user: server.user, database: "bench" };
    return { url: control.url, adminKey, config, connection, undo, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
