// SPDX-License-Identifier: Apache-2.0
/**
 * The program that plays a machine's TPM: swtpm, one for each machine. It ends with the QEMU that is connected
 * to it (`--terminate`), bears the machine's mark as QEMU does, and keeps what a TPM keeps in the machine's folder.
 *
 * Its operator is the host's, who can read its keys: evidence signed by it shows what booted to whoever trusts
 * that operator, and nothing to anybody else.
 */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DriverFault } from "../driver.ts";
import { tryRead } from "../sandbox/process-table.ts";
import { handState, type Place, type Uids } from "./place.ts";
import { type Known, knownOf, type ProgramStart, startProgram } from "./processes.ts";
import type { TpmAuthority } from "./tpm-authority.ts";

const READY_MS = 10_000;
const LOOK_EVERY_MS = 10;
const WORDS_MAX = 300;

export type TpmStart = Pick<ProgramStart, "program" | "owner" | "machineId" | "cgroupFiles"> & {
  place: Place;
  uids: Uids | null;
  /** Null: nobody vouches for the TPM. */
  authority: TpmAuthority | null;
  signal: AbortSignal;
};

/** Of the TPM's state, by its program; it is written when the state is made. */
const STATE_FILE = "tpm2-00.permall";
/** Ours: a setup that was killed half way left a state without a certificate. */
const HALF_MADE = ".half-made";

/** Resolves when QEMU can connect; null: it has ended again. */
export async function startTpm({
  place,
  uids,
  authority,
  signal,
  ...start
}: TpmStart): Promise<Known | null> {
  const { socket, state } = place.tpm;
  if (authority !== null) await endowOnce(authority, state, uids, signal);
  const child = startProgram({
    ...start,
    // Its socket is a file: of the host's network it needs nothing, and whoever takes it over is given nothing.
    ...(uids !== null && { through: ["unshare", "--net", "--"] }),
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
  while (!listensAt(child.pid, socket)) {
    if (ended !== null) throw new DriverFault("machine.start-failed", ended);
    late.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  return knownOf(child.pid!);
}

async function endowOnce(
  authority: TpmAuthority,
  state: string,
  uids: Uids | null,
  signal: AbortSignal,
): Promise<void> {
  const [half, whole] = [join(state, HALF_MADE), join(state, STATE_FILE)];
  if (existsSync(whole) && !existsSync(half)) return;
  rmSync(whole, { force: true });
  writeFileSync(half, "");
  await authority.endow(state, signal);
  rmSync(half);
  if (uids !== null) handState(state, uids.tpm);
}

/** As the kernel says it: a connection made to look would be the one with which it ends. */
const ACCEPTS = 0x10000;

/** Each network has a list of its own, and the program becomes one of another network after its start. */
function listensAt(pid: number | undefined, path: string): boolean {
  const listening = pid === undefined ? null : tryRead(`/proc/${pid}/net/unix`);
  return (listening ?? "").split("\n").some((line) => {
    const [, , , flags = "0", , , , bound] = line.split(" ").filter((field) => field !== "");
    return bound === path && (Number.parseInt(flags, 16) & ACCEPTS) !== 0;
  });
}
