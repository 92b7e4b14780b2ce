// SPDX-License-Identifier: Apache-2.0
/**
 * The program that plays a machine's TPM: swtpm, one for each machine. It ends with the QEMU that is connected
 * to it (`--terminate`), bears the machine's mark as QEMU does, and keeps what a TPM keeps in the machine's folder.
 *
 * Its operator is the host's, who can read its keys: evidence signed by it shows what booted to whoever trusts
 * that operator, and nothing to anybody else.
 */
import { readFileSync } from "node:fs";
import { DriverFault } from "../driver.ts";
import type { Place, Uids } from "./place.ts";
import { type ProgramStart, startProgram } from "./processes.ts";

const READY_MS = 10_000;
const LOOK_EVERY_MS = 10;
const WORDS_MAX = 300;

export type TpmStart = Pick<ProgramStart, "program" | "owner" | "machineId" | "cgroupFiles"> & {
  place: Place;
  uids: Uids | null;
  signal: AbortSignal;
};

/** Resolves when QEMU can connect. */
export async function startTpm({ place, uids, signal, ...start }: TpmStart): Promise<void> {
  const { socket, state } = place.tpm;
  const child = startProgram({
    ...start,
    uid: uids?.tpm ?? null,
    groups: uids === null ? [] : [uids.qemu],
    words: [
      ...["socket", "--tpm2", "--tpmstate", `dir=${state},mode=0600`],
      ...["--ctrl", `type=unixio,path=${socket},mode=0660${uids === null ? "" : `,gid=${uids.qemu}`}`],
      "--terminate",
    ],
  });
  let ended: string | null = null;
  let words = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    words = (words + text).slice(-WORDS_MAX);
  });
  child.once("error", (error) => {
    ended = error.message;
  });
  child.once("close", (code, by) => {
    ended ??= `swtpm ended (${by ?? code}) ${words.trim().split("\n").at(-1)}`.trimEnd();
  });
  child.unref();
  const late = AbortSignal.any([signal, AbortSignal.timeout(READY_MS)]);
  while (!listensAt(socket)) {
    if (ended !== null) throw new DriverFault("machine.start-failed", ended);
    late.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** As the kernel says it: a connection made to look would be the one with which it ends. */
const ACCEPTS = 0x10000;

function listensAt(path: string): boolean {
  return readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .some((line) => {
      const [, , , flags = "0", , , , bound] = line.split(" ").filter((field) => field !== "");
      return bound === path && (Number.parseInt(flags, 16) & ACCEPTS) !== 0;
    });
}
