// SPDX-License-Identifier: Apache-2.0
/**
 * The payload's files, and some documents for a moment: on memory, never on a disk. One
 * tmpfs for each machine, mounted below the driver's own folder, which only root may enter; containers
 * of any uid read what was bound into them, since a bind does not go through the folders above it.
 *
 *  A. Nothing a session wrote is followed: the tree is made by us in an empty mount.
 *  B. The leash is an empty folder that every container binds. After the host has restarted it is not
 *     there, so that the engine, which starts containers again before the driver has made its rules,
 *     fails to. Only `start` brings it back.
 *  C. `noswap` where the kernel knows it (6.4); elsewhere memory may reach a swap that the operator has.
 */
import { chmodSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ComposePayload } from "#contract/link/payload.ts";
import { mustRun, runProgram } from "./program.ts";

const TIMEOUT_MS = 20_000;
const PAGE = 4096;
const NAME = /^[\w.-]+(?:\/[\w.-]+)*$/;

export interface FilePlaces {
  root: string;
  /** What the document calls `/__files__`. */
  filesFolder: string;
  madeFolder: string;
  leash: string;
  document: string;
}

export const filePlaces = (folder: string, machineId: string): FilePlaces => {
  const root = join(folder, "files", machineId);
  return {
    root,
    filesFolder: join(root, "files"),
    madeFolder: join(root, "made"),
    leash: join(root, "leash"),
    document: join(root, "compose.json"),
  };
};

/** Mounts the folder anew and writes into it. */
export async function writeFiles(
  places: FilePlaces,
  payload: Pick<ComposePayload, "files" | "compose">,
  made: ReadonlyMap<string, string>,
): Promise<void> {
  await removeFiles(places);
  const files = Object.entries(payload.files).map(([name, text]) => [name, decode(text)] as const);
  const bytes = [
    ...files.map(([, content]) => content.length),
    ...[...made.values()].map((text) => Buffer.byteLength(text)),
  ];
  const size = bytes.reduce(
    (sum, each) => sum + Math.ceil(each / PAGE) * PAGE,
    payload.compose.length * 8 + 4 * 1024 * 1024,
  );
  mkdirSync(places.root, { recursive: true, mode: 0o700 });
  const options = `size=${size},nr_inodes=${files.length * 20 + made.size + 1000},mode=0711,nosuid,nodev`;
  const mount = (extra: string) =>
    runProgram(["mount", "-t", "tmpfs", "-o", options + extra, "casemate", places.root], {
      timeoutMs: TIMEOUT_MS,
    });
  if ((await mount(",noswap")).code !== 0) {
    const { code, stderr } = await mount("");
    if (code !== 0) throw new Error(`no memory file system for the files: ${stderr.trim()}`);
  }
  for (const path of [places.filesFolder, places.madeFolder, places.leash]) makeFolder(path);
  for (const [name, content] of files) {
    if (!NAME.test(name) || name.split("/").some((part) => part === "." || part === ".."))
      throw new Error("an uploaded file has a name that is not possible");
    const path = join(places.filesFolder, name);
    makeFolder(dirname(path));
    // What says itself that it is a program may be run as one.
    place(path, content, content.subarray(0, 2).toString() === "#!" ? 0o755 : 0o644);
  }
  for (const [name, text] of made) place(join(places.madeFolder, name), Buffer.from(text), 0o644);
}

/** Idempotent, and also for what an earlier process mounted twice. */
export async function removeFiles(places: Pick<FilePlaces, "root">): Promise<void> {
  for (let times = mountedTimes(places.root); times > 0; times--)
    await mustRun(["umount", "--lazy", places.root], { timeoutMs: TIMEOUT_MS });
  try {
    rmdirSync(places.root);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT")
      rmSync(places.root, { recursive: true, force: true });
  }
}

export const hasFiles = (places: Pick<FilePlaces, "root">) => mountedTimes(places.root) > 0;

function mountedTimes(path: string): number {
  // Blanks in paths stand as \040 there.
  const shown = path.replaceAll("\\", "\\134").replaceAll(" ", "\\040");
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.split(" ")[4] === shown).length;
}

function makeFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o755 });
  chmodSync(path, 0o755);
}

function place(path: string, content: Uint8Array, mode: number): void {
  writeFileSync(path, content);
  chmodSync(path, mode);
}

/** Either alphabet, with or without padding. */
const decode = (text: string) => Buffer.from(text.replaceAll("-", "+").replaceAll("_", "/"), "base64");
