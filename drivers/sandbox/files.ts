// SPDX-License-Identifier: Apache-2.0
/**
 * Files of a live machine. The attacker owns every path below /session and may turn any of them into
 * a link at any moment, so no path of theirs is ever opened with the host's rights: each operation is
 * a small fixed script run through the entry, as the session, with the path as an argument. What a
 * link can reach there, the session could reach without us.
 */
import { randomBytes } from "node:crypto";
import { rmdirSync } from "node:fs";
import type { Readable } from "node:stream";
import { DriverFault } from "../driver.ts";
import { processesIn } from "./cgroups.ts";
import { enter } from "./enter.ts";
import { BASE_ENV, type ExecPlace, killMembers } from "./exec.ts";
import { feed } from "./feed.ts";
import { keepEntry } from "./machine.ts";
import { rlimitsFor } from "./rlimits.ts";

const PATH_BYTES_MAX = 4096;
const NOT_A_FILE = 65;
const NOT_FOUND = 66;
const NO_ROOM = 74;

// `head` takes one byte more than is allowed, so that a file of exactly the limit can be told from a
// longer one. It takes the shell's place: what dies with the entry is the command itself, not what it
// starts. The name ends with a random part: two transfers at once do not write into one file.
const RECEIVE = `
case "$1" in */*) mkdir -p -- "\${1%/*}" || exit ${NO_ROOM};; esac
[ ! -d "$1" ] || exit ${NOT_A_FILE}
exec head -c "$3" > "$1.$2"
`;
// Moved into place whole: a reader sees the old file or the new one.
const KEEP = `mv -fT -- "$1.$2" "$1" || exit ${NO_ROOM}`;
const DROP = `rm -f -- "$1.$2"`;
const SEND = `
[ -e "$1" ] || exit ${NOT_FOUND}
[ -f "$1" ] || exit ${NOT_A_FILE}
exec cat < "$1"
`;
const REMOVE = `
[ -e "$1" ] || [ -L "$1" ] || exit ${NOT_FOUND}
exec rm -rf -- "$1"
`;

/** The path as the scripts take it: relative to /session, never able to look like an option. */
function checked(path: string): string {
  const parts = path.split("/");
  const bad =
    path === "" ||
    path.startsWith("/") ||
    path.includes("\0") ||
    Buffer.byteLength(path) > PATH_BYTES_MAX ||
    parts.some((part) => part === ".." || part === "." || part === "");
  if (bad)
    throw new DriverFault("machine.path-refused", "a path is relative, without `..`, `.` and empty parts");
  return `./${path}`;
}

export async function putFile(
  place: ExecPlace,
  path: string,
  bytes: AsyncIterable<Uint8Array>,
  limitBytes: number,
): Promise<{ sizeBytes: number }> {
  const target = checked(path);
  const suffix = `part-${randomBytes(8).toString("hex")}`;
  let sizeBytes = 0;
  const counted = (async function* () {
    for await (const chunk of bytes) {
      sizeBytes += chunk.length;
      if (sizeBytes > limitBytes)
        throw new DriverFault("machine.file-too-large", `the file is over ${limitBytes} bytes`);
      yield chunk;
    }
  })();
  try {
    const received = await runScript(place, RECEIVE, [target, suffix, String(limitBytes + 1)], {
      input: counted,
    });
    judge(received === 0 || received === NOT_A_FILE ? received : NO_ROOM);
    judge(await runScript(place, KEEP, [target, suffix]));
    return { sizeBytes };
  } catch (error) {
    await runScript(place, DROP, [target, suffix]).catch(() => {});
    throw error;
  }
}

export async function getFile(
  place: ExecPlace,
  path: string,
  onBytes: (bytes: Uint8Array) => Promise<void> | void,
): Promise<{ sizeBytes: number }> {
  let sizeBytes = 0;
  const status = await runScript(place, SEND, [checked(path)], {
    onBytes: async (bytes) => {
      sizeBytes += bytes.length;
      await onBytes(bytes);
    },
  });
  judge(status);
  return { sizeBytes };
}

export async function removeFile(place: ExecPlace, path: string): Promise<void> {
  judge(await runScript(place, REMOVE, [checked(path)]));
}

function judge(exitCode: number): void {
  if (exitCode === 0) return;
  if (exitCode === NOT_FOUND) throw new DriverFault("machine.file-not-found", "there is no such file");
  if (exitCode === NOT_A_FILE)
    throw new DriverFault("machine.path-refused", "the path names a folder or something else");
  if (exitCode === NO_ROOM)
    throw new DriverFault("machine.file-refused", "the machine could not store the file");
  throw new DriverFault("machine.file-refused", `the transfer ended with ${exitCode}`);
}

async function runScript(
  { sandbox, cgroups, filter, entries }: ExecPlace,
  script: string,
  args: string[],
  io: { input?: AsyncIterable<Uint8Array>; onBytes?: (bytes: Uint8Array) => Promise<void> } = {},
): Promise<number> {
  const command = cgroups.createCommand(sandbox.cgroups, `f${++sandbox.commands}`);
  try {
    const entered = await enter(entries, {
      argv: ["/bin/sh", "-c", script, "sh", ...args],
      cwd: "/session",
      env: BASE_ENV,
      namespaces: sandbox.namespaces,
      hostUid: sandbox.record.uid,
      cgroupFiles: command.join,
      rlimits: rlimitsFor(sandbox, cgroups.kind),
      filter,
      input: io.input ? "pass" : "none",
    });
    keepEntry(sandbox, entered.process);
    entered.stderr.resume();
    const reading = drain(entered.stdout, io.onBytes);
    const feeding = io.input ? feed(entered, io.input) : Promise.resolve();
    const [fed, read, ended] = await Promise.allSettled([feeding, reading, entered.ended]);
    // The entry was killed, and what it had started dies after it: until then it may still make a file.
    // Only our fixed scripts are in the folder, which have nothing to tidy up.
    const { folder } = command;
    if (fed.status === "rejected" && folder !== null) await killMembers(() => processesIn(folder));
    if (fed.status === "rejected") throw fed.reason;
    if (read.status === "rejected") throw read.reason;
    if (ended.status === "rejected") throw ended.reason;
    return (ended.value & 0x7f) !== 0 ? 128 + (ended.value & 0x7f) : ended.value >> 8;
  } finally {
    if (command.folder !== null) {
      try {
        rmdirSync(command.folder);
      } catch {}
    }
  }
}

async function drain(stream: Readable, onBytes?: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  for await (const bytes of stream as AsyncIterable<Buffer>) await onBytes?.(bytes);
}
