// SPDX-License-Identifier: Apache-2.0
/**
 * Where an installation is and by what mark its things are known. The mark follows from the path of the
 * state folder, so what a killed process left is found even when the folder is gone already.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

export interface Installation {
  state: string;
  /** True when the folder holds what `up` makes in one; others are never touched. */
  there: boolean;
  /** Bears the host's cgroups, containers, rules and processes. */
  owner: string;
  /** What sandboxes read while they start; outside of the state folder for root. */
  runFolder: string;
  docker: { socketPath: string; folder: string };
  /** Folder of virtual machines. */
  vms: string;
  /** File with the URL of a PostgreSQL that is not ours; null when ours is used. */
  databaseUrlFile: string | null;
}

const digest = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 12);

export function findInstallation(folder: string): Installation {
  const state = resolve(folder);
  const host = readJson(join(state, "keys/host.json")) as {
    stateFolder?: string;
    kept?: {
      docker?: { socketPath?: string; folder?: string };
      qemu?: { folder?: string } | null;
    } | null;
  } | null;
  const control = readJson(join(state, "config/control.json")) as {
    database?: { urlFile?: string | null };
  } | null;
  const docker = host?.kept?.docker;
  return {
    state,
    there:
      existsSync(join(state, "keys")) && ["version", "lock"].some((name) => existsSync(join(state, name))),
    owner: `cm-${digest(realPath(host?.stateFolder ?? join(state, "host")))}`,
    runFolder: `/run/casemate-${digest(state)}`,
    docker: {
      socketPath: docker?.socketPath ?? "/var/run/docker.sock",
      folder: docker?.folder ?? join(state, "docker"),
    },
    vms: host?.kept?.qemu?.folder ?? join(state, "vms"),
    databaseUrlFile: control?.database?.urlFile ?? null,
  };
}

/** As the host made it: links resolved, also when the last folders are no more. */
export function realPath(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const above = dirname(path);
  return above === path ? path : join(realPath(above), path.slice(above.length));
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return null;
  }
}
