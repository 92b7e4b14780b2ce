// SPDX-License-Identifier: Apache-2.0
/**
 * Where one container's files are. All of them are ours, and none is seen from inside:
 *
 *   run/       sockets that the agent inside was given open; nobody but root passes
 *   runc/      what the runtime keeps
 *   the rest   folders that the root is mounted on, in a namespace of mounts that ends with the container
 *
 * What is written inside lies in memory and is gone with it.
 */
import {
  chmodSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { MACHINE_ID } from "../docker/marks.ts";
import { DriverFault } from "../driver.ts";

/** The kernel's, with the byte that ends it. */
const SOCKET_PATH_MAX = 107;
const AGENT_BYTES_MAX = 64 * 2 ** 20;

export interface ContainerPlace {
  folder: string;
  sockets: { folder: string; guest: string; console: string };
  root: string;
  agent: string;
  config: string;
  state: string;
  log: string;
  pid: string;
}

export function placeOf(folder: string, machineId: string): ContainerPlace {
  if (!MACHINE_ID.test(machineId)) throw new TypeError("not a machine id");
  const own = join(folder, "containers", machineId);
  const sockets = join(own, "run");
  return {
    folder: own,
    sockets: { folder: sockets, guest: join(sockets, "guest"), console: join(sockets, "console") },
    ...{ root: join(own, "root"), agent: join(own, "agent"), config: join(own, "config.json") },
    ...{ state: join(own, "runc"), log: join(own, "runc.log"), pid: join(own, "pid") },
  };
}

export function preparePlaces(folder: string): void {
  mkdirSync(join(folder, "containers"), { recursive: true });
  for (const each of [folder, join(folder, "containers")]) chmodSync(each, 0o711);
  const longest = placeOf(folder, `mach_${"0".repeat(32)}`).sockets.console;
  if (Buffer.byteLength(longest) > SOCKET_PATH_MAX)
    throw new TypeError(
      `the path ${folder} is too long: sockets below it would be over ${SOCKET_PATH_MAX} bytes`,
    );
}

/** Whatever was there is replaced. */
export function makePlace(place: ContainerPlace, initrd: string, config: object): void {
  emptyPlace(place);
  mkdirSync(place.folder, { recursive: true, mode: 0o711 });
  for (const each of [place.sockets.folder, place.state]) mkdirSync(each, { mode: 0o700 });
  writeFileSync(place.agent, agentOf(initrd), { mode: 0o755 });
  writeFileSync(place.config, JSON.stringify(config), { mode: 0o600 });
}

/** What ran of it has ended. */
export const emptyPlace = (place: ContainerPlace): void =>
  rmSync(place.folder, { recursive: true, force: true });

export const listPlaces = (folder: string): string[] =>
  readdirSync(join(folder, "containers")).filter((name) => MACHINE_ID.test(name));

/**
 * The agent out of the image's initramfs (images/cpio.ts): the same program, measured in a machine and by its hash here. Entries
 * are in the order of their names, and before `init` there is none.
 */
function agentOf(initrd: string): Buffer {
  const file = openSync(initrd, "r");
  try {
    const head = Buffer.alloc(116);
    readSync(file, head, 0, head.length, 0);
    const field = (at: number) => Number.parseInt(head.toString("latin1", 6 + at * 8, 14 + at * 8), 16);
    const bytes = field(6);
    const named =
      head.toString("latin1", 0, 6) === "070701" && head.toString("latin1", 110, 115) === "init\0";
    if (!named || !(bytes > 0 && bytes < AGENT_BYTES_MAX && bytes < fstatSync(file).size))
      throw new DriverFault("machine.start-failed", "the image's initramfs does not begin with its agent");
    const agent = Buffer.alloc(bytes);
    // The name with its zero ends at 115, and what follows is at a multiple of four.
    readSync(file, agent, 0, bytes, 116);
    return agent;
  } finally {
    closeSync(file);
  }
}
