// SPDX-License-Identifier: Apache-2.0
/**
 * One PostgreSQL for a whole test run, with a template database that has every migration applied;
 * each test file clones it. Durability is off: these tests are not about power cuts.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { migrate } from "#control/src/database/migrate.ts";
import { startPostgres } from "#embedded/postgres.ts";

declare module "vitest" {
  interface ProvidedContext {
    postgres: { host: string; user: string };
  }
}

/** Not one of the uids that a real installation uses. */
const TEST_UID = 63_900;

export default async function setup(project: TestProject) {
  const folder = mkdtempSync(join(tmpdir(), "casemate-pg-"));
  const root = process.getuid?.() === 0;
  if (root) chmodSync(folder, 0o755);
  const binFolder = process.env.CASEMATE_TEST_POSTGRES_BIN;
  const server = await startPostgres({
    folder,
    owner: root ? { uid: TEST_UID, gid: TEST_UID } : null,
    clients: [{ uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, name: "tester" }],
    settings: { fsync: "off", full_page_writes: "off", max_connections: "400" },
    ...(binFolder === undefined || binFolder === "" ? {} : { binFolder }),
  });
  const stop = async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await makeTemplate(server.host, server.user);
  } catch (error) {
    await stop();
    throw error;
  }
  project.provide("postgres", { host: server.host, user: server.user });
  return stop;
}

async function makeTemplate(host: string, user: string): Promise<void> {
  const client = new pg.Client({ host, user, database: "postgres" });
  await client.connect();
  await client.query("create database casemate_template");
  await client.end();
  const template = new pg.Client({ host, user, database: "casemate_template" });
  await template.connect();
  await migrate(template).finally(() => template.end());
}
