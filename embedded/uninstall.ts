// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate uninstall`: shows what an installation has on this computer, takes it off, and looks again.
 *
 *  A. Nothing is touched while `up` holds the lock, nor before somebody said yes.
 *  B. A folder that is not a state folder is left alone, and of one only what `up` makes is removed.
 *  C. When something would be left that only the state folder could find again (machines of an engine
 *     that does not answer, a disk mounted inside), nothing is removed.
 *  D. The end is judged by a second look and not by what the steps said.
 */
import { existsSync, readFileSync } from "node:fs";
import { lockFolder } from "./lock.ts";
import { forgetNames, namesAddress } from "./names/place.ts";
import { linesOfOurs } from "./names/resolver.ts";
import { findInstallation, type Installation } from "./uninstall/installation.ts";
import { dropOurs, dropStatements, findOurs, type OurObjects } from "./uninstall/own-server.ts";
import {
  engineIsAway,
  removeFiles,
  removeMachines,
  removeMounts,
  removeProcesses,
} from "./uninstall/remove.ts";
import { type Survey, survey } from "./uninstall/survey.ts";
import { forgetSshRedirect, putForwardingBack, removeVirtualMachines } from "./uninstall/virtual-machines.ts";

export interface UninstallOptions {
  state: string;
  /** Database, keys and the volumes of workloads stay. */
  keepData: boolean;
  /** Drop our tables in a PostgreSQL that is not ours. */
  dropTables: boolean;
  print(line: string): void;
  /** Asked once, after everything has been shown. */
  confirm(): Promise<boolean>;
}

/** True when nothing is left. Throws, with nothing touched, when it may not begin. */
export async function uninstall(options: UninstallOptions): Promise<boolean> {
  const { keepData, print } = options;
  const installation = findInstallation(options.state);
  const { state, there } = installation;
  if (existsSync(state) && !there)
    throw new Error(`${state} is not a state folder of casemate; it is left alone`);
  const lock = there ? lockFolder(`${state}/lock`) : null;
  try {
    const found = await survey(installation);
    const shown = linesOf(found, keepData);
    if (shown.length === 0) {
      print(`nothing of casemate is left here for ${state}`);
      return true;
    }
    print(`casemate will remove from this computer, for ${state}:`);
    for (const line of shown) print(`  ${line}`);
    mustBePossible(installation, found);
    const server = await ownServer(installation, options);
    for (const line of server.before) print(line);
    if (!(await options.confirm())) {
      print("nothing was removed");
      return false;
    }
    await removeProcesses(installation);
    await removeMachines(installation, found, keepData);
    await removeVirtualMachines(installation, keepData);
    await removeMounts(await survey(installation));
    for (const line of await server.drop()) print(line);
    const foreign = removeFiles(installation, keepData);
    await forgetSshRedirect();
    await forgetNames(state);
    const forwarding = await putForwardingBack();
    const rest = await survey(installation);
    return report({ installation, options, before: found, rest, foreign, forwarding });
  } finally {
    lock?.release();
  }
}

/** C */
function mustBePossible({ docker }: Installation, found: Survey): void {
  if (found.foreignMounts.length > 0)
    throw new Error(
      `nothing was removed: unmount what is not casemate's first: ${found.foreignMounts.join(", ")}`,
    );
  if (engineIsAway(found))
    throw new Error(
      `nothing was removed: there are ${found.machines.length} workloads, and no Docker engine answers at ${docker.socketPath}; start it and try again`,
    );
}

function linesOf(found: Survey, keepData: boolean): string[] {
  const line = (what: string, names: readonly string[]) =>
    names.length === 0 ? [] : [`${what.padEnd(14)} ${names.join(", ")}`];
  return [
    ...line(
      "processes",
      found.processes.map(({ pid, program }) => `${program} ${pid}`),
    ),
    ...line("cgroups", found.cgroups),
    ...line("mounts", found.mounts),
    ...line(
      "containers",
      (found.containers ?? []).map(({ name }) => name),
    ),
    ...(keepData ? [] : line("machines", found.virtualMachines)),
    ...line("networks", found.networks),
    ...(keepData ? [] : line("volumes", found.volumes)),
    ...line("firewall rules", found.rules),
    ...line(
      "folders",
      found.folders.map((path) => (keepData ? `${path} (without database and keys)` : path)),
    ),
  ];
}

interface OwnServer {
  before: string[];
  drop(): Promise<string[]>;
}

/** Read before the folder with the URL goes. */
async function ownServer(installation: Installation, options: UninstallOptions): Promise<OwnServer> {
  const { databaseUrlFile } = installation;
  const nothing = { before: [], drop: async () => [] };
  if (databaseUrlFile === null || options.keepData) return nothing;
  const url = readFileSync(databaseUrlFile, "utf8").trim();
  if (options.dropTables) {
    const named = ({ tables, functions, schemas }: OurObjects) =>
      [...tables, ...functions, ...schemas].join(", ") || "nothing";
    const found = await findOurs(url);
    return {
      before: [`  in your PostgreSQL ${named(found)}`],
      drop: async () => {
        const dropped = await dropOurs(url);
        return [`dropped in your PostgreSQL: ${named(dropped)}`];
      },
    };
  }
  const found = await findOurs(url).catch(() => null);
  if (found === null)
    return { ...nothing, before: ["your own PostgreSQL does not answer; its tables stay as they are"] };
  const statements = dropStatements(found);
  if (statements.length === 0) return nothing;
  return {
    ...nothing,
    before: [
      "the tables in your own PostgreSQL stay; --drop-tables removes them, or there:",
      ...statements.map((line) => `  ${line}`),
    ],
  };
}

/** D */
function report(done: {
  installation: Installation;
  options: UninstallOptions;
  before: Survey;
  rest: Survey;
  foreign: string[];
  /** What became of it, in words. */
  forwarding: string | null;
}): boolean {
  const { installation, options, before, rest, foreign, forwarding } = done;
  const { keepData, print } = options;
  const { state } = installation;
  const gone = (was: readonly string[], is: readonly string[]) =>
    was.filter((name) => !is.includes(name)).length;
  const counts = [
    [gone(before.processes.map(nameOf), rest.processes.map(nameOf)), "processes"],
    [gone(before.cgroups, rest.cgroups), "cgroups"],
    [gone(before.mounts, rest.mounts), "mounts"],
    [gone(namesOf(before), namesOf(rest)), "containers"],
    [gone(before.virtualMachines, rest.virtualMachines), "virtual machines"],
    [gone(before.networks, rest.networks), "networks"],
    [gone(before.volumes, rest.volumes), "volumes"],
    [gone(before.rules, rest.rules), "rules of machines"],
    [gone(before.folders, rest.folders), "folders"],
  ] as const;
  const removed = counts.filter(([count]) => count > 0).map(([count, what]) => `${what} ${count}`);
  print(`removed: ${removed.join(", ") || "files of the state folder"}`);
  const images = [...new Set((before.containers ?? []).map(({ image }) => image))];
  if (images.length > 0)
    print(
      `left: images in the Docker engine's store, which others may use too: docker image rm ${images.join(" ")}`,
    );
  if (forwarding !== null) print(forwarding);
  for (const { file, line } of linesOfOurs(namesAddress(state)))
    print(`left: "${line}" in ${file}, which you put there for names of instances; take it out again`);
  if (keepData) {
    print(`left: database and keys in ${state}; ./casemate up --state ${state} takes them up again`);
    if (rest.volumes.length > 0) print(`left: volumes of workloads: ${rest.volumes.join(", ")}`);
  }
  if (foreign.length > 0) print(`left in ${state}, not casemate's: ${foreign.join(", ")}`);
  const kept = keepData || foreign.length > 0;
  const remains = linesOf(
    { ...rest, folders: rest.folders.filter((path) => !(kept && path === state)) },
    keepData,
  );
  for (const line of remains) print(`STILL THERE: ${line}`);
  if (remains.length === 0) print("nothing else of casemate is left");
  return remains.length === 0;
}

const nameOf = ({ pid, start }: Survey["processes"][number]) => `${pid}:${start}`;
const namesOf = ({ containers }: Survey) => (containers ?? []).map(({ name }) => name);
