// SPDX-License-Identifier: Apache-2.0
/**
 * Everything on this computer that bears one installation's mark. It is made before, to show what will
 * go, and after, to see that it went; the second look trusts nothing that the removal said of itself.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Docker from "dockerode";
import { LABEL_MACHINE, LABEL_OWNER } from "#drivers/docker/marks.ts";
import { runProgram } from "#drivers/docker/program.ts";
import { GUEST_ISOLATIONS, placeOfDriver } from "#drivers/qemu/of-host.ts";
import { processesIn } from "#drivers/sandbox/cgroups.ts";
import { markOf } from "#drivers/sandbox/recover.ts";
import { type Installation, realPath } from "./installation.ts";
import { argumentsOf, type FoundProcess, findProcesses, worksIn } from "./processes.ts";
import { findVirtualMachines } from "./virtual-machines.ts";

const PROGRAM_MS = 30_000;
const ENGINE_MS = 10_000;
/** A tree of groups deeper than this is nobody's. */
const CGROUP_DEPTH_MAX = 12;

export interface Survey {
  processes: FoundProcess[];
  /** Folders of cgroup hierarchies. */
  cgroups: string[];
  mounts: string[];
  /** Mount points in the state folder that are somebody else's. */
  foreignMounts: string[];
  /** Null when no engine answers. */
  containers: { name: string; image: string; machineId: string }[] | null;
  networks: string[];
  volumes: string[];
  /** Comments of firewall rules. */
  rules: string[];
  /** Machines of which the driver has a note. */
  machines: string[];
  /** Of which anything is there. */
  virtualMachines: string[];
  folders: string[];
}

export async function survey(installation: Installation): Promise<Survey> {
  const { state, owner, runFolder, docker } = installation;
  const mounts = mountsBelow(realPath(state));
  const engine = await surveyEngine(docker.socketPath, owner);
  return {
    processes: [...partsOf(installation), ...sandboxedOf(owner)],
    cgroups: cgroupsOf(owner),
    mounts: mounts.filter(({ ours }) => ours).map(({ target }) => target),
    foreignMounts: mounts.filter(({ ours }) => !ours).map(({ target }) => target),
    containers: engine?.containers ?? null,
    networks: engine?.networks ?? [],
    volumes: engine?.volumes ?? [],
    rules: await rulesOf(owner),
    machines: notesIn(join(docker.folder, "machines")),
    virtualMachines: await findVirtualMachines(installation),
    folders: [runFolder, state].filter((path) => existsSync(path)),
  };
}

/**
 * Parts of `up`. Each names its configuration on its command line, and the database works in its own
 * folder; somebody who reads a log or stands in the folder with a shell is neither. The prober and the
 * signer hang on the host's pipes and end with it.
 */
export function partsOf({ state }: Pick<Installation, "state">): FoundProcess[] {
  const parts = [
    ["/control/src/main.ts", join(state, "config/control.json")],
    ["/host/main.ts", join(state, "keys/host.json")],
    ["/edge/main.ts", join(state, "edge")],
  ] as const;
  const signerFolder = `--chdir=${join(state, "signer")}`;
  const database = worksIn(join(state, "postgres/data"));
  const signer = worksIn(join(state, "signer"));
  return findProcesses((pid) => {
    if (database(pid)) return true;
    const words = argumentsOf(pid);
    if (words.some((word) => word.endsWith("/host/signer/main.ts")))
      return signer(pid) || words.includes(signerFolder);
    return parts.some(
      ([program, config]) => words.includes(config) && words.some((word) => word.endsWith(program)),
    );
  });
}

/** By their mark, and by being in a cgroup of the owner's: a daemon can leave its parent, but not its group. */
export function sandboxedOf(owner: string): FoundProcess[] {
  const inGroups = new Set(cgroupsOf(owner).flatMap(processesIn));
  return findProcesses((pid) => inGroups.has(pid) || markOf(pid)?.startsWith(`${owner}/`) === true);
}

/** In whatever hierarchy and below whatever group `up` was started in, which need not be ours. */
export function cgroupsOf(owner: string): string[] {
  const hierarchies = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, , type]) => type === "cgroup" || type === "cgroup2")
    .map(([, path]) => path!);
  const found: string[] = [];
  const machines = GUEST_ISOLATIONS.map((isolation) => placeOfDriver(isolation, owner, "/").owner);
  const own = new Set([owner, `${owner}-host`, ...machines]);
  /** systemd reads a dash as one level of nesting. */
  const slice = `casemate-${owner.replaceAll("-", "_")}`;
  const walk = (folder: string, depth: number) => {
    for (const name of foldersIn(folder)) {
      const path = join(folder, name);
      if (own.has(name) || name.startsWith(slice)) found.push(path);
      else if (depth < CGROUP_DEPTH_MAX) walk(path, depth + 1);
    }
  };
  for (const hierarchy of hierarchies) walk(hierarchy, 0);
  return found;
}

/** A memory file system that the driver mounted names itself so. */
function mountsBelow(state: string): { target: string; ours: boolean }[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .flatMap((line) => {
      const [left = "", right = ""] = line.split(" - ");
      const target = (left.split(" ")[4] ?? "").replace(/\\(\d{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      );
      const [type, source] = right.split(" ");
      return target.startsWith(`${state}/`)
        ? [{ target, ours: type === "tmpfs" && source === "casemate" }]
        : [];
    });
}

async function surveyEngine(socketPath: string, owner: string) {
  if (!existsSync(socketPath)) return null;
  const engine = new Docker({ socketPath });
  const filters = { label: [`${LABEL_OWNER}=${owner}`] };
  const abortSignal = AbortSignal.timeout(ENGINE_MS);
  try {
    const containers = await engine.listContainers({ all: true, filters, abortSignal });
    const networks = await engine.listNetworks({ filters: filters as never });
    const { Volumes } = await engine.listVolumes({ filters: filters as never, abortSignal });
    return {
      containers: containers.map(({ Names, Image, Labels }) => ({
        name: Names[0]?.slice(1) ?? "",
        image: Image,
        machineId: Labels[LABEL_MACHINE] ?? "",
      })),
      networks: networks.map(({ Name }) => Name),
      volumes: (Volumes ?? []).map(({ Name }) => Name),
    };
  } catch {
    return null;
  }
}

async function rulesOf(owner: string): Promise<string[]> {
  const found = new Set<string>();
  for (const program of ["iptables-save", "ip6tables-save"]) {
    const ran = await runProgram([program, "-t", "mangle"], { timeoutMs: PROGRAM_MS }).catch(() => null);
    for (const [comment] of ran?.stdout.matchAll(/casemate:[a-z0-9.:_-]+/g) ?? [])
      if (comment.startsWith(`casemate:${owner}:`)) found.add(comment);
  }
  return [...found];
}

function notesIn(folder: string): string[] {
  const names = tryList(folder).map((name) => name.split(".")[0]!);
  return [...new Set(names)].filter((name) => /^mach_[0-9a-f]{32}$/.test(name));
}

function foldersIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

function tryList(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
