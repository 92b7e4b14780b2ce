// SPDX-License-Identifier: Apache-2.0
/**
 * Whether an accelerator boots anything here: one kernel, with the driver's own command line and no root file
 * system, until it says that it found none. A device that opens proves nothing: we have met a /dev/kvm that
 * opened, under which QEMU aborted with one version and hung with another.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../docker/program.ts";
import { commandLine, SECCOMP } from "./launch.ts";
import { Qmp } from "./qmp.ts";
import { connectSoon } from "./sockets.ts";
import type { PlainVm } from "./vm.ts";

const MEMORY_MIB = 256;
const LINE = "console=ttyS0 panic=-1 quiet";
/** All of the kernel was there to say this. */
const BOOTED = "Kernel panic - not syncing: VFS";
/** A KVM that boots needs a fraction; emulation on a busy computer needs most of it. */
const KVM_MS = 10_000;
const TCG_MS = 60_000;
const HEARD_MAX = 256 * 1024;
const LAST_WORDS_MAX = 200;
const SECCOMP_MS = 10_000;
const WORDS_MS = 1_000;

export type Trial = { boots: true; tookMs: number } | { boots: false; why: string };

export interface TrialAsk {
  program: string;
  accelerator: PlainVm["accelerator"];
  kernel: string;
  seccomp: boolean;
  /** A place for sockets; what is made there is removed. */
  temporary: string;
  signal: AbortSignal;
}

export async function tryAccelerator(ask: TrialAsk): Promise<Trial> {
  if (ask.signal.aborted) return { boots: false, why: "no time for a trial" };
  const folder = mkdtempSync(join(ask.temporary, "casemate-vm-trial-"));
  const vm = trialVm(ask, folder);
  const child = spawn(ask.program, commandLine(vm), {
    cwd: "/",
    env: { LC_ALL: "C" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = new Promise<string>((resolve) => {
    let words = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-LAST_WORDS_MAX * 4);
    });
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) =>
      resolve(`QEMU ended (${signal ?? code}) ${lastWords(words)}`.trimEnd()),
    );
  });
  const late = new Promise<string>((resolve) => {
    ask.signal.addEventListener("abort", () => resolve("it did not boot in time"), { once: true });
  });
  const failed = Promise.race([exited, late]);
  // A QEMU that ended listens nowhere, and who waits for it to must not wait for ever.
  const over = new AbortController();
  try {
    const trial = await Promise.race([
      boot(vm, AbortSignal.any([ask.signal, over.signal])).catch(
        (error: Error): Trial => ({ boots: false, why: error.message }),
      ),
      failed.then((why): Trial => ({ boots: false, why })),
    ]);
    if (trial.boots) return trial;
    // A QEMU that aborts closes its sockets first; its own words say more than ours about that.
    const why = await Promise.race([
      failed,
      new Promise<null>((resolve) => setTimeout(resolve, WORDS_MS, null)),
    ]);
    return { boots: false, why: why ?? trial.why };
  } finally {
    over.abort();
    child.kill("SIGKILL");
    await exited;
    rmSync(folder, { recursive: true, force: true });
  }
}

/** KVM only where a kernel booted with it; then emulation, by the same proof; otherwise why neither. */
export async function findAccelerator(
  ask: Omit<TrialAsk, "accelerator">,
): Promise<{ accelerator: PlainVm["accelerator"] } | { why: string }> {
  const reasons: string[] = [];
  for (const [accelerator, limitMs] of [
    ["kvm", KVM_MS],
    ["tcg", TCG_MS],
  ] as const) {
    const signal = AbortSignal.any([ask.signal, AbortSignal.timeout(limitMs)]);
    const trial = await tryAccelerator({ ...ask, accelerator, signal });
    if (trial.boots) return { accelerator };
    reasons.push(`${accelerator}: ${trial.why}`);
  }
  return { why: reasons.join("; ") };
}

async function boot(vm: PlainVm, signal: AbortSignal): Promise<Trial> {
  const console = await connectSoon(vm.consoleSocket, signal);
  const booted = new Promise<void>((resolve) => {
    let heard = "";
    console.setEncoding("latin1").on("data", (text: string) => {
      heard = (heard + text).slice(-HEARD_MAX);
      if (heard.includes(BOOTED)) resolve();
    });
  });
  try {
    const connected = await Qmp.greet(await connectSoon(vm.qmpSocket, signal));
    if (!connected.ok) return { boots: false, why: connected.fault.message };
    const qmp = connected.value;
    try {
      const kvm = await qmp.execute("query-kvm");
      if (kvm.ok && kvm.value.enabled !== (vm.accelerator === "kvm"))
        return { boots: false, why: `QEMU runs without ${vm.accelerator}` };
      const begun = performance.now();
      const started = await qmp.execute("cont");
      if (!started.ok) return { boots: false, why: started.fault.message };
      await booted;
      return { boots: true, tookMs: Math.round(performance.now() - begun) };
    } finally {
      qmp.close();
    }
  } finally {
    console.destroy();
  }
}

const trialVm = (ask: TrialAsk, folder: string): PlainVm => ({
  kind: "plain",
  machineId: "trial",
  accelerator: ask.accelerator,
  cpus: 1,
  memoryMiB: MEMORY_MIB,
  boot: { kernel: ask.kernel, initrd: null, line: LINE },
  firmware: null,
  disks: [],
  ports: [],
  network: { kind: "none" },
  consoleSocket: join(folder, "console"),
  qmpSocket: join(folder, "qmp"),
  tpmSocket: null,
  seccomp: ask.seccomp,
});

const lastWords = (text: string) => text.trim().split("\n").at(-1)!.slice(0, LAST_WORDS_MAX);

/** Whether this QEMU was built with its system call filter: one that was not refuses the words. */
export async function hasSeccomp(program: string): Promise<boolean> {
  const words = [...SECCOMP, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"];
  const input = `${JSON.stringify({ execute: "qmp_capabilities" })}\n${JSON.stringify({ execute: "quit" })}\n`;
  const ran = await runProgram([program, ...words], { timeoutMs: SECCOMP_MS, input }).catch(() => null);
  return ran?.code === 0;
}

/** A kernel of this computer that a trial can boot: the newest that can be read. */
export function findKernel(root: string): string | null {
  const folder = `${root}/boot`;
  const readable = (path: string) => {
    try {
      const { mode, uid } = statSync(path);
      return process.getuid?.() === 0 || uid === process.getuid?.() || (mode & 0o004) !== 0;
    } catch {
      return false;
    }
  };
  try {
    const names = readdirSync(folder).filter((name) => name.startsWith("vmlinuz-"));
    return (
      names
        .map((name) => join(folder, name))
        .filter(readable)
        .sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs)
        .at(-1) ?? null
    );
  } catch {
    return null;
  }
}
