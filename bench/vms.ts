// SPDX-License-Identifier: Apache-2.0
/**
 * What a virtual machine costs beyond what QEMU and its kernel ask for by themselves. The bare boot is the same kernel with the same
 * accelerator, memory and command line, and an initramfs that says one word: it checks nothing, mounts nothing, has no
 * disk and no network. Turns alternate, so that a busy neighbour slows both, and medians are compared.
 */
import { fork, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { PROGRAM, qemu, swtpm } from "#drivers/qemu/testing.ts";
import { findAccelerator } from "#drivers/qemu/trial.ts";
import { BASE_COMMAND_LINE, commandLine } from "#images/metadata.ts";
import { runTool } from "#images/program.ts";
import { type BuiltImage, findAlteredFile, findImage } from "#images/store.ts";
import { lackingForBuild } from "#images/tools.ts";
import type { Line } from "./sessions.ts";
import { benchSnp } from "./snp.ts";
import { TINY_WORD, tinyInitrd } from "./tiny-init.ts";
import type { HostAnswer, HostQuestion, StartAsk } from "./vms-host.ts";

const BOOT_GOAL = 3;
const OVERHEAD_GOAL_MIB = 10;
const MEMORY_MIB = 512;
const BARE_MS = 120_000;
const MIB = 2 ** 20;
const IMAGE = "base";
const CASEMATE = new URL("../casemate", import.meta.url).pathname;
/** Where an image is looked for that was built before: the state folder that all commands have without an option. */
const STATE = ".casemate";

export async function benchVms(options: { quick: boolean; onLine(line: Line): void }): Promise<Line[]> {
  const lines = await benchSnp(options);
  const say = (line: Line) => {
    lines.push(line);
    options.onLine(line);
  };
  const lacking = qemu.met ? lackingForBuild(process.getuid?.() ?? -1) : qemu.reason;
  if (lacking !== null) {
    process.stderr.write(`not measured: virtual machines: ${lacking}\n`);
    return lines;
  }
  const folder = mkdtempSync(join(tmpdir(), "casemate-bench-vms-"));
  // Machines have uids of their own, which read the image.
  chmodSync(folder, 0o755);
  const host = startHostProcess();
  try {
    const image = await requireImage(folder);
    const kernel = join(image.folder, "kernel");
    const found = await findAccelerator({
      ...{ program: PROGRAM, kernel, seccomp: true, temporary: folder },
      signal: AbortSignal.timeout(BARE_MS),
    });
    if ("why" in found) throw new Error(`no machine starts here: ${found.why}`);
    const { accelerator } = found;
    const ask: Start = {
      accelerator,
      boot: {
        ...{ kernel, initrd: join(image.folder, "initrd") },
        line: commandLine(image.metadata, "0".repeat(64)),
      },
      ...{ root: join(image.folder, "root.img"), memoryMiB: MEMORY_MIB },
    };
    const initrd = join(folder, "tiny.cpio");
    writeFileSync(initrd, tinyInitrd());
    say(await boots(options.quick ? 3 : 9, ask, () => bareBoot(accelerator, kernel, initrd), host));
    say(await weighs(options.quick ? 2 : 5, ask, host));
  } finally {
    await host.end();
    rmSync(folder, { recursive: true, force: true });
  }
  return lines;
}

async function boots(
  turns: number,
  ask: Start,
  bare: () => Promise<number>,
  host: HostProcess,
): Promise<Line> {
  const [ours, floor]: [number[], number[]] = [[], []];
  // The first of each brings the files into memory.
  for (let turn = 0; turn <= turns; turn++) {
    floor.push(await bare());
    ours.push((await host.ask({ kind: "start", ...ask, tpm: false, keep: false })).ms!);
  }
  const [left, right] = [ours, floor].map((each) => median(each.slice(1))) as [number, number];
  return {
    ...{ name: "VM cold boot to its agent / bare QEMU boot", ratio: left / right, goal: BOOT_GOAL },
    ...{ sense: "most", ok: left / right <= BOOT_GOAL },
    detail: `${left.toFixed(0)} ms over ${right.toFixed(0)} ms, ${ask.accelerator}`,
  };
}

/** Machines that run at the same time, and what keeping them takes beside their QEMUs. */
async function weighs(count: number, ask: Start, host: HostProcess): Promise<Line> {
  const rss = async () => (await host.ask({ kind: "weigh" })).rssBytes!;
  const start = () => host.ask({ kind: "start", ...ask, tpm: swtpm.met, keep: true });
  await start();
  const before = await rss();
  for (let started = 0; started < count; started++) await start();
  const each = Math.max(0, (await rss()) - before) / count / MIB;
  return {
    ...{ name: "host memory for each running VM beside QEMU, MiB", ratio: each, goal: OVERHEAD_GOAL_MIB },
    ...{ sense: "most", ok: each <= OVERHEAD_GOAL_MIB },
    detail: `${count} more machines beside one: the process that keeps them${swtpm.met ? ", and their TPMs" : ""}`,
  };
}

/** From the start of QEMU to the word of its first program. Answers when it has powered off. */
export async function bareBoot(
  accelerator: StartAsk["accelerator"],
  kernel: string,
  initrd: string,
): Promise<number> {
  const begun = performance.now();
  const child = spawn(
    PROGRAM,
    [
      ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35"],
      ...["-accel", accelerator === "kvm" ? "kvm" : "tcg,thread=multi"],
      ...["-cpu", accelerator === "kvm" ? "host" : "max", "-m", `${MEMORY_MIB}M`, "-smp", "1"],
      ...["-kernel", kernel, "-initrd", initrd, "-append", BASE_COMMAND_LINE, "-serial", "stdio"],
    ],
    { stdio: ["ignore", "pipe", "ignore"], timeout: BARE_MS, killSignal: "SIGKILL" },
  );
  const ended = new Promise((resolve) => child.once("close", resolve).once("error", resolve));
  let ms: number | null = null;
  createInterface({ input: child.stdout! }).on("line", (line) => {
    if (line.trim().endsWith(TINY_WORD)) ms ??= performance.now() - begun;
  });
  await ended;
  if (ms === null) throw new Error("the bare kernel did not start its program");
  return ms;
}

/** One that was built before, or one of this run. */
async function requireImage(folder: string): Promise<BuiltImage> {
  const built = findImage(resolve(STATE, "images"), IMAGE);
  if (built !== undefined && (await findAlteredFile(built)) === null) return built;
  process.stderr.write(`building ${IMAGE} for this run; casemate images build ${IMAGE} keeps one\n`);
  await runTool(CASEMATE, ["images", "build", IMAGE, "--state", folder], {
    signal: AbortSignal.timeout(20 * 60_000),
  });
  return findImage(join(folder, "images"), IMAGE)!;
}

type Start = Omit<StartAsk, "keep" | "tpm">;

interface HostProcess {
  ask(question: HostQuestion): Promise<HostAnswer>;
  end(): Promise<void>;
}

function startHostProcess(): HostProcess {
  const child = fork(new URL("./vms-host.ts", import.meta.url), { execArgv: ["--expose-gc"] });
  const ask = (question: HostQuestion) =>
    new Promise<HostAnswer>((done, fail) => {
      const gone = () => fail(new Error("the process that keeps machines ended"));
      child.once("exit", gone);
      child.once("message", (said: HostAnswer) => {
        child.off("exit", gone);
        if (said.error === undefined) done(said);
        else fail(new Error(said.error));
      });
      child.send(question);
    });
  return {
    ask,
    end: async () => {
      await ask({ kind: "end" });
      child.disconnect();
    },
  };
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
