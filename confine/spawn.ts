// SPDX-License-Identifier: Apache-2.0
/**
 * Starts one of our own resident processes with less than we have. As root with bubblewrap present a
 * part gets a uid of its own, no capability, no_new_privs, and a mount namespace that holds only the
 * folders named for it: an attacker who owns that process finds no Docker socket, no other part's
 * files and no home folder to read. Binding the program's folder in, rather than opening its
 * permissions, is also what lets a clone under root's 0700 home be run by another uid.
 *
 * Without root everything already runs as one ordinary user; parts then start as they are and the
 * caller says so.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, lstatSync } from "node:fs";
import { delimiter, join } from "node:path";

export interface Confinement {
  uid: number;
  gid: number;
  /** Capabilities kept, in setpriv's words (`sys_ptrace`); empty for none. */
  capabilities?: string[];
  /** Absolute folders or files that can be read. */
  readable: string[];
  /** Absolute folders that can be written. */
  writable: string[];
  /** Absolute folders shown empty, though they lie inside a readable one. */
  hidden?: string[];
  /** True: it sees and can signal only processes of its own, and they all end with its first. */
  ownProcesses?: boolean;
  /** A file to stand as /etc/passwd inside, for programs that ask who they are. */
  passwd?: string;
}

export interface PartOptions {
  command: string;
  args: string[];
  env: Record<string, string>;
  cwd: string;
  /** null runs the part as the caller is. */
  confinement: Confinement | null;
  stdio: ("pipe" | "inherit" | "ignore" | number)[];
}

export const findProgram = (name: string): string | null => {
  for (const folder of [
    ...(process.env.PATH ?? "").split(delimiter),
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
  ]) {
    if (folder !== "" && existsSync(join(folder, name))) return join(folder, name);
  }
  return null;
};

export function spawnPart(options: PartOptions): ChildProcess {
  const { command, args, env, cwd, confinement, stdio } = options;
  if (confinement === null) return spawn(command, args, { env, cwd, stdio });
  return spawn(
    "bwrap",
    [...bubblewrapArguments(confinement, cwd), "--", ...dropTo(confinement), command, ...args],
    {
      env,
      cwd: "/",
      stdio,
    },
  );
}

/**
 * bubblewrap stays root only to build the mounts; `setpriv` inside it then takes the uid and drops
 * the rest. A user namespace is not used: our parts talk to each other by uid, and some kernels
 * refuse user namespaces to everyone but bubblewrap's own profile.
 */
function bubblewrapArguments(confinement: Confinement, cwd: string): string[] {
  const system = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc/ssl",
    "/etc/ld.so.cache",
    "/etc/localtime",
  ];
  const resolver = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];
  const kept = ["setuid", "setgid", "setpcap", ...(confinement.capabilities ?? [])];
  const hidden = confinement.hidden ?? [];
  // bubblewrap follows a link that stands where a folder should be, to wherever it points.
  for (const path of [...confinement.readable, ...confinement.writable]) {
    if (lstatSync(path).isSymbolicLink()) throw new Error(`${path} is a link; a part is given folders only`);
  }
  // What is shown of a hidden folder is mounted after the emptiness that hides it.
  const isInside = (path: string) => hidden.some((folder) => path.startsWith(`${folder}/`));
  const within = [...confinement.readable, ...confinement.writable].filter(isInside);
  const outside = [...confinement.readable, ...confinement.writable].filter((path) => !isInside(path));
  const bind = (path: string) => [confinement.writable.includes(path) ? "--bind" : "--ro-bind", path, path];
  // bubblewrap makes missing parents 0700 root, which the dropped uid could not pass through.
  const parents = (folders: string[]) => folders.flatMap((folder) => ["--perms", "0755", "--dir", folder]);
  return [
    ...["--unshare-ipc", "--unshare-uts", "--die-with-parent", "--new-session"],
    ...(confinement.ownProcesses === true ? ["--unshare-pid"] : []),
    ...["--cap-drop", "ALL"],
    ...kept.flatMap((name) => ["--cap-add", `CAP_${name.toUpperCase()}`]),
    ...["--perms", "0755", "--dir", "/etc"],
    ...[...system, ...resolver].flatMap((path) => ["--ro-bind-try", path, path]),
    ...["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp"],
    ...(confinement.passwd === undefined ? [] : ["--ro-bind", confinement.passwd, "/etc/passwd"]),
    ...parents(ancestors([...outside, ...hidden])),
    ...outside.flatMap(bind),
    ...hidden.flatMap((path) => ["--perms", "0755", "--tmpfs", path]),
    ...parents(ancestors(within).filter(isInside)),
    ...within.flatMap(bind),
    ...["--chdir", cwd],
  ];
}

/** Every folder above the given paths, outermost first. */
function ancestors(paths: string[]): string[] {
  const above = new Set<string>();
  for (const path of paths) {
    const parts = path.split("/").slice(1, -1);
    for (let n = 1; n <= parts.length; n++) above.add(`/${parts.slice(0, n).join("/")}`);
  }
  for (const provided of ["/usr", "/bin", "/lib", "/lib64", "/sbin", "/tmp", "/proc", "/dev"])
    above.delete(provided);
  return [...above].sort();
}

function dropTo(confinement: Confinement): string[] {
  const kept = (confinement.capabilities ?? []).map((name) => `+${name}`);
  return [
    "setpriv",
    ...["--reuid", String(confinement.uid), "--regid", String(confinement.gid), "--clear-groups"],
    ...["--bounding-set", ["-all", ...kept].join(",")],
    ...["--inh-caps", ["-all", ...kept].join(",")],
    ...["--ambient-caps", ["-all", ...kept].join(",")],
    ...["--no-new-privs", "--pdeathsig", "KILL", "--"],
  ];
}
