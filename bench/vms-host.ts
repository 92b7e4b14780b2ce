// SPDX-License-Identifier: Apache-2.0
/**
 * What a host's process has of its virtual machines, in a process that has nothing else, so that its memory can be looked at. Started
 * with `fork` and `--expose-gc`; one question at a time.
 */
import { readFileSync } from "node:fs";
import { KEPT_SPEC } from "#drivers/conformance/kept-machine.ts";
import { newMachineId } from "#drivers/conformance/machine.ts";
import type { VirtualMachines, VmAsk } from "#drivers/qemu/machines.ts";
import { openMachines } from "#drivers/qemu/testing.ts";

export type HostQuestion = ({ kind: "start" } & StartAsk) | { kind: "weigh" } | { kind: "end" };
export interface StartAsk {
  accelerator: "kvm" | "tcg";
  boot: VmAsk["boot"];
  root: string;
  memoryMiB: number;
  tpm: boolean;
  /** Otherwise it is removed before the answer. */
  keep: boolean;
}
export interface HostAnswer {
  /** From the driver's call until the agent in the guest answered. */
  ms?: number;
  /** Of the process that keeps machines, and of what runs for them beside their QEMUs. */
  rssBytes?: number;
  error?: string;
}

const START_MS = 300_000;
const PAGE_BYTES = 4096;

const test = openMachines();
let machines: VirtualMachines | null = null;
const kept = new Set<string>();
const rssOf = (pid: number) =>
  Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * PAGE_BYTES;
const programOf = (pid: number) => readFileSync(`/proc/${pid}/comm`, "latin1").trim().slice(0, 11);
const collect = (globalThis as unknown as { gc(): void }).gc;

process.on("message", (question: HostQuestion) => {
  void answer(question)
    .catch(
      (error: unknown): HostAnswer => ({ error: error instanceof Error ? error.message : String(error) }),
    )
    .then((said) => process.send!(said));
});

async function answer(question: HostQuestion): Promise<HostAnswer> {
  if (question.kind === "end") {
    await test.close();
    return {};
  }
  if (question.kind === "weigh") {
    collect();
    collect();
    // Beside QEMU a machine has the program that plays its TPM.
    const programs = [...kept]
      .flatMap((id) => test.processes(id))
      .filter((pid) => programOf(pid) !== "qemu-system");
    return { rssBytes: [process.pid, ...programs].reduce((sum, pid) => sum + rssOf(pid), 0) };
  }
  const { accelerator, boot, root, memoryMiB, tpm, keep } = question;
  machines ??= test.open({ accelerator });
  const id = newMachineId();
  const begun = performance.now();
  const { record } = await machines.start(
    id,
    { ...KEPT_SPEC, cpuMillis: 1000, memoryMiB },
    {
      ...{ boot, firmware: null, tpm, scratchMiB: 0, publicPort: null, network: null },
      roots: [{ path: root, readOnly: true, serial: "root" }],
    },
    { onRecord: async () => {}, onProgress: () => {}, signal: AbortSignal.timeout(START_MS) },
  );
  const ms = performance.now() - begun;
  if (keep) kept.add(id);
  else await machines.remove(id, record);
  return { ms };
}
