// SPDX-License-Identifier: Apache-2.0
/**
 * Where one machine's files are, and whose. QEMU runs as a uid of its own, and a guest may take it over:
 *
 *  A. The machine's folder is ours. QEMU may write into its disks and cannot put a link in their place, which
 *     we would follow as root.
 *  B. Sockets are in a folder below that QEMU may write to. A socket is connected to and nothing else; what is
 *     there is emptied before each start.
 *  C. All of it is below one folder that every uid of ours may pass through. Whoever else is on this
 *     computer can pass too, and finds nothing that it may open.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  existsSync,
  ftruncateSync,
  lchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { halfOf } from "../disk-file.ts";
import { MACHINE_ID } from "../docker/marks.ts";

const MIB = 1024 * 1024;
/** The kernel's, with the byte that ends it. */
const SOCKET_PATH_MAX = 107;

export interface Place {
  folder: string;
  sockets: { folder: string; qmp: string; console: string; guest: string };
  /** Of the program that plays the TPM: what the TPM keeps for good, and its socket. */
  tpm: { state: string; folder: string; socket: string };
  /** Of the firmware; a copy of its template, made anew with each start. */
  variables: string;
  /** Kept from one start to the next. */
  state: string;
  /** Made anew with each start. */
  scratch: string;
}

export function placeOf(folder: string, machineId: string): Place {
  if (!MACHINE_ID.test(machineId)) throw new TypeError("not a machine id");
  const own = join(folder, "vms", machineId);
  const sockets = join(own, "run");
  return {
    folder: own,
    sockets: {
      folder: sockets,
      qmp: join(sockets, "qmp"),
      console: join(sockets, "console"),
      guest: join(sockets, "guest"),
    },
    tpm: { state: join(own, "tpm"), folder: join(own, "tpm-run"), socket: join(own, "tpm-run/tpm") },
    variables: join(own, "variables.fd"),
    state: join(own, "state.img"),
    scratch: join(own, "scratch.img"),
  };
}

/** The driver's own folder; its constructor asks. */
export function preparePlaces(folder: string): void {
  mkdirSync(join(folder, "vms"), { recursive: true });
  chmodSync(folder, 0o711);
  chmodSync(join(folder, "vms"), 0o711);
  const longest = placeOf(folder, `mach_${"0".repeat(32)}`).sockets.console;
  if (Buffer.byteLength(longest) > SOCKET_PATH_MAX)
    throw new TypeError(
      `the path ${folder} is too long: sockets below it would be over ${SOCKET_PATH_MAX} bytes`,
    );
}

/** The first folder on the way that another uid cannot pass through, or null. */
export function findClosedFolder(folder: string): string | null {
  for (let path = folder; path !== dirname(path); path = dirname(path))
    if ((statSync(path).mode & 0o001) === 0) return path;
  return null;
}

export interface DiskSizes {
  stateMiB: number;
  scratchMiB: number;
}

/** Uids of QEMU and of what plays its TPM; null when they run as we do. */
export interface Uids {
  qemu: number;
  tpm: number;
}

/**
 * Idempotent. The TPM's program has a uid of its own: a guest that took over its QEMU could else sign with the
 * TPM's keys what it never measured. QEMU may pass through that folder, to a socket that its group may use.
 */
export function makePlace(
  place: Place,
  uids: Uids | null,
  { stateMiB, scratchMiB }: DiskSizes,
  variables: string | null,
): void {
  const uid = uids?.qemu ?? null;
  makePlaceFolder(place);
  rmSync(place.sockets.folder, { recursive: true, force: true });
  mkdirSync(place.sockets.folder, { mode: 0o700 });
  rmSync(place.scratch, { force: true });
  for (const [path, sizeMiB] of [
    [place.state, stateMiB],
    [place.scratch, scratchMiB],
  ] as const) {
    if (sizeMiB > 0) growSparse(path, sizeMiB * MIB);
    if (sizeMiB > 0 && uid !== null) chownSync(path, uid, uid);
  }
  rmSync(place.tpm.folder, { recursive: true, force: true });
  mkdirSync(place.tpm.folder, { mode: 0o710 });
  mkdirSync(place.tpm.state, { recursive: true, mode: 0o700 });
  if (variables !== null) copyFileSync(variables, place.variables);
  if (uids === null) return;
  chownSync(place.sockets.folder, uids.qemu, uids.qemu);
  chownSync(place.tpm.folder, uids.tpm, uids.qemu);
  handState(place.tpm.state, uids.tpm);
  if (variables !== null) chownSync(place.variables, uids.qemu, uids.qemu);
}

export const makePlaceFolder = (place: Place): void => {
  mkdirSync(place.folder, { recursive: true, mode: 0o711 });
};

/** The folder was an earlier uid's, which has ended. Links in it are changed themselves, and not what they lead to. */
export function handState(folder: string, uid: number): void {
  lchownSync(folder, uid, uid);
  for (const name of readdirSync(folder)) lchownSync(join(folder, name), uid, uid);
}

/** What runs of the machine has ended. Its state stays, and is nobody's but ours: its uids are given to other machines. */
export function emptyPlace(place: Place): void {
  const uid = process.getuid?.() ?? 0;
  if (existsSync(place.tpm.state)) handState(place.tpm.state, uid);
  if (existsSync(place.state)) lchownSync(place.state, uid, uid);
  for (const folder of [place.sockets.folder, place.tpm.folder])
    rmSync(folder, { recursive: true, force: true });
  for (const file of [place.scratch, place.variables, halfOf(place.state)]) rmSync(file, { force: true });
}

export const removePlace = (place: Place): void => rmSync(place.folder, { recursive: true, force: true });

export function listPlaces(folder: string): string[] {
  return readdirSync(join(folder, "vms")).filter((name) => MACHINE_ID.test(name));
}

/** Never made smaller: what is behind the end would be gone. */
function growSparse(path: string, bytes: number): void {
  const file = openSync(path, "a", 0o600);
  try {
    if (statSync(path).size < bytes) ftruncateSync(file, bytes);
  } finally {
    closeSync(file);
  }
}
