// SPDX-License-Identifier: Apache-2.0
/** The embedded PostgreSQL: that its programs run, and that it really makes a database and answers a query. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { startPostgres } from "../postgres.ts";
import { endAll, findProcesses, worksIn } from "../uninstall/processes.ts";
import { apt, type Check, type Here, missing, ok } from "./check.ts";
import { findOnPath, isProgram, runProgram } from "./program.ts";

/** Beside those of an installation's parts, and nobody's. */
const TRIAL_UID = 63_019;

const programs: Check = {
  id: "postgres-programs",
  group: "database",
  name: "PostgreSQL programs",
  needed: ["sessions", "workloads"],
  timeoutMs: 10_000,
  look: async (here, signal) => {
    if ("missing" in here.postgres) return missing(here.postgres.missing, "npm ci");
    const { folder } = here.postgres;
    const absent = ["initdb", "postgres"].filter((name) => !isProgram(join(folder, name)));
    if (absent.length > 0) return missing(`no ${absent.join(" and ")} in ${folder}`, "npm ci");
    const { code, stdout, stderr } = await runProgram(here, [join(folder, "postgres"), "--version"], signal);
    return code === 0 ? ok(stdout.trim()) : missing(`postgres does not run: ${stderr.trim()}`, "npm ci");
  },
};

const trial: Check = {
  id: "database-trial",
  group: "database",
  name: "database",
  needed: ["sessions", "workloads"],
  timeoutMs: 45_000,
  look: async (here, signal) => {
    if ("missing" in here.postgres) return missing("not tried: there are no programs", "npm ci");
    if (here.uid === 0 && findOnPath(here, "bwrap") === null)
      return missing("as root it is started by bubblewrap only", apt(here, "bubblewrap"));
    const folder = mkdtempSync(join(here.temporary, "casemate-doctor-db-"));
    // All of its processes work in that folder; without them the start that is under way fails by itself.
    const end = () =>
      endAll(() => findProcesses(worksIn(join(folder, "data"))), { graceMs: 0, forMs: 3_000 });
    signal.addEventListener("abort", end, { once: true });
    try {
      return ok(await tryIn(folder, here.postgres.folder, here));
    } finally {
      signal.removeEventListener("abort", end);
      await end();
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

/** Without fsync: what is asked is whether it works here, and not how fast the disk is. */
async function tryIn(folder: string, binFolder: string, here: Here): Promise<string> {
  const begun = performance.now();
  const server = await startPostgres({
    folder,
    binFolder,
    owner: here.uid === 0 ? { uid: TRIAL_UID, gid: TRIAL_UID } : null,
    clients: [{ uid: here.uid, gid: process.getgid?.() ?? here.uid, name: "casemate-doctor" }],
    settings: { fsync: "off", shared_buffers: "16MB", max_connections: "10" },
  });
  try {
    const client = new pg.Client({ host: server.host, user: server.user, database: "postgres" });
    await client.connect();
    const { rows } = await client.query<{ version: string }>(
      "select current_setting('server_version') version",
    );
    await client.end();
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    return `made, started and asked in ${seconds} s: PostgreSQL ${rows[0]!.version}`;
  } finally {
    await server.stop();
  }
}

export const DATABASE: readonly Check[] = [programs, trial];
