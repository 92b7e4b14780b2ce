// SPDX-License-Identifier: Apache-2.0
/**
 * Backup and restore of a state folder as one tar file: database, keys, the host's records. It works
 * while casemate runs, by PostgreSQL's own online backup (pg_backup_start/stop), and while it does not.
 *
 *  A. Keys are copied after the database: a key ring only grows, so the later copy opens everything
 *     that the earlier one holds. So are blobs: what the database names is kept for a day after nothing
 *     names it any more (registry.collectAfterMs).
 *  B. The file holds every key of the installation; it is written 0600 and is as secret as the folder.
 *  C. A restore goes into a folder that is not there yet. Sessions that lived at backup time are ended
 *     by the host's recovery at the next start, with a proof that says so.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import pg from "pg";
import { lockFolder } from "./lock.ts";

const KEPT = ["control", "blobs", "host", "signer", "keys", "config", "edge", "admin.key", "version"];

export async function backup(folderOfState: string, target: string): Promise<void> {
  // The database's client takes a relative path for a host's name, and a running server for one that is not there.
  const state = resolve(folderOfState);
  if (!existsSync(join(state, "version"))) throw new Error(`${state} is not a state folder`);
  if (existsSync(target)) throw new Error(`${target} exists already`);
  const folder = mkdtempSync(join(dirname(resolve(target)), ".casemate-backup-"));
  try {
    mkdirSync(join(folder, "postgres"), { mode: 0o755 });
    await copyDatabase(state, folder);
    for (const name of KEPT) if (existsSync(join(state, name))) copy(join(state, name), folder);
    const draft = join(folder, "backup.tar");
    run("tar", ["--create", "--numeric-owner", "--exclude=./backup.tar", "-f", draft, "-C", folder, "."]);
    chmodSync(draft, 0o600);
    renameSync(draft, resolve(target));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * `newest`: the newest checkpoint of the transparency log that anybody has, so that the log knows what it signed
 * after the backup. Without one it signs nothing until its operator has decided: to go on would be to sign, for sizes
 * that strangers hold, other trees.
 */
export function restore(source: string, state: string, newest: Uint8Array | null = null): void {
  if (existsSync(state) && readdirSync(state).length > 0)
    throw new Error(`${state} is not empty; restore needs a new folder`);
  const names = run("tar", ["--list", "-f", source]).split("\n");
  if (!names.includes("./version") || !names.includes("./postgres/data/PG_VERSION")) {
    throw new Error(`${source} is not a backup of casemate`);
  }
  mkdirSync(state, { recursive: true, mode: 0o755 });
  run("tar", ["--extract", "--numeric-owner", "--same-permissions", "-f", source, "-C", state]);
  const known = join(state, "control/log-checkpoint");
  if (!existsSync(dirname(known))) return;
  const origin = existsSync(known) ? ` ${readFileSync(known, "utf8").split("\n")[0]}` : "";
  const unknown =
    `restored${origin}\n` +
    "What the log signed after the backup is not known here, so it signs nothing. Put its newest checkpoint in place\n" +
    "of this file, from the old machine, a witness or whoever saved one; or begin another log.\n";
  // New, so that it is control's, whose folder it is, to replace, and no link is followed.
  rmSync(known, { force: true });
  writeFileSync(known, newest ?? unknown, { mode: 0o644, flag: "wx" });
}

async function copyDatabase(state: string, folder: string): Promise<void> {
  const data = join(state, "postgres/data");
  const copied = join(folder, "postgres/data");
  const client = new pg.Client({
    host: join(state, "postgres/socket"),
    user: "casemate",
    database: "postgres",
  });
  const running = await client.connect().then(
    () => true,
    () => false,
  );
  if (!running) {
    // Nobody may start while the folder is copied. A folder of a killed server is whole with its WAL.
    const lock = lockFolder(join(state, "lock"));
    copy(data, join(folder, "postgres"));
    rmSync(join(copied, "postmaster.pid"), { force: true });
    lock.release();
    return;
  }
  try {
    // The WAL written meanwhile must still be there when it is copied, last.
    await client.query("alter system set wal_keep_size = '1GB'");
    await client.query("select pg_reload_conf()");
    await client.query("select pg_backup_start('casemate', fast => true)");
    copy(data, join(folder, "postgres"));
    const { rows } = await client.query<{ labelfile: string }>(
      "select labelfile from pg_backup_stop(wait_for_archive => false)",
    );
    rmSync(join(copied, "pg_wal"), { recursive: true });
    copy(join(data, "pg_wal"), copied);
    rmSync(join(copied, "postmaster.pid"), { force: true });
    writeLabel(copied, rows[0]!.labelfile);
  } finally {
    await client.query("alter system reset wal_keep_size").catch(() => {});
    await client.query("select pg_reload_conf()").catch(() => {});
    await client.end();
  }
}

/** PostgreSQL replays from the point this file names; it must belong to the server's uid. */
function writeLabel(data: string, label: string): void {
  const path = join(data, "backup_label");
  // What was copied is the server's word; a link planted under this name must not be followed.
  rmSync(path, { recursive: true, force: true });
  writeFileSync(path, label, { mode: 0o600, flag: "wx" });
  const { uid, gid } = lstatSync(data);
  lchownSync(path, uid, gid);
}

const copy = (from: string, into: string) => {
  // A server at work removes files while they are copied; PostgreSQL's replay makes up for those.
  const { status, stderr } = spawnSync("cp", ["--archive", from, into], { encoding: "utf8" });
  const others = (stderr ?? "")
    .split("\n")
    .filter((line) => line !== "" && !/No such file or directory/.test(line));
  if (status !== 0 && others.length > 0) throw new Error(`copying ${from} failed: ${others[0]}`);
};

function run(command: string, args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    maxBuffer: 256 * 1024 * 1024,
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} failed: ${stderr.trim().split("\n").at(-1)}`);
  return stdout;
}
