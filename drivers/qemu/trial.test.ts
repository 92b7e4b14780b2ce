// SPDX-License-Identifier: Apache-2.0
/** What boots and what only looks like it, with programs that are QEMU, that hang, that fail and that lie. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findProcesses } from "#testing/process-status.ts";
import { describeWith } from "#testing/requirements.ts";
import { kernel, PROGRAM, qemu } from "./testing.ts";
import { findAccelerator, findKernel, hasSeccomp, tryAccelerator } from "./trial.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-trial-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const attempt = (program: string, signal: AbortSignal, booted = findKernel("") ?? "/none") =>
  tryAccelerator({
    ...{ program, accelerator: "tcg", kernel: booted, seccomp: false, temporary: folder, signal },
  });
const script = (text: string) => {
  const path = join(folder, "program");
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
};
const left = () => readdirSync(folder).filter((name) => name !== "program");

describeWith([qemu, kernel], "a real kernel", () => {
  it("boots by emulation, and leaves nothing", async () => {
    expect(await attempt(PROGRAM, AbortSignal.timeout(50_000))).toEqual({
      boots: true,
      tookMs: expect.any(Number),
    });
    expect(left()).toEqual([]);
    expect(findProcesses(folder)).toEqual([]);
  });

  it("is not said to boot when its time is over first", async () => {
    const late = new AbortController();
    const tried = attempt(PROGRAM, late.signal);
    await expect.poll(() => readdirSync(join(folder, left()[0] ?? "")).length).toBeGreaterThan(1);
    late.abort();
    expect(await tried).toEqual({ boots: false, why: "it did not boot in time" });
    expect(left()).toEqual([]);
    expect(findProcesses(folder)).toEqual([]);
  });
});

it("when QEMU ended at once, who asked is not kept from ending by what still looked for its sockets", () => {
  const words = {
    ...{ program: script("exit 1"), accelerator: "kvm", kernel: "/none", seccomp: false, temporary: folder },
  };
  const text = `
    const { tryAccelerator } = await import(${JSON.stringify(new URL("./trial.ts", import.meta.url).href)});
    const { signal } = new AbortController();
    console.log(JSON.stringify(await tryAccelerator({ ...${JSON.stringify(words)}, signal })));`;
  const child = spawnSync(process.execPath, ["--input-type=module", "--eval", text], {
    encoding: "utf8",
    timeout: 60_000,
  });
  expect([child.status, child.stdout]).toEqual([0, '{"boots":false,"why":"QEMU ended (1)"}\n']);
}, 90_000);

describeWith([qemu], "a QEMU without a kernel to boot", () => {
  it("gives its own words for why it does not", async () => {
    const trial = await attempt(PROGRAM, AbortSignal.timeout(50_000), join(folder, "no-kernel"));
    expect(trial).toEqual({ boots: false, why: expect.stringMatching(/QEMU ended \(1\) .*no-kernel/) });
  });

  it("has a system call filter that takes our words, or says so", async () => {
    expect(typeof (await hasSeccomp(PROGRAM))).toBe("boolean");
    expect(await hasSeccomp(script("exit 1"))).toBe(false);
    expect(await hasSeccomp(join(folder, "none"))).toBe(false);
  });
});

describe("a program that is no QEMU", () => {
  it.each([
    ["fails", "echo cannot open shared object >&2; exit 127", /\(127\) cannot open shared object/],
    ["ends well at once", "exit 0", /QEMU ended \(0\)/],
  ])("that %s is not taken for one that boots", async (_, text, why) => {
    const trial = await attempt(script(text), AbortSignal.timeout(50_000));
    expect(trial).toEqual({ boots: false, why: expect.stringMatching(why) });
  });

  it("that hangs is ended when the time is over", async () => {
    const program = script("exec sleep 1000");
    expect(await attempt(program, AbortSignal.timeout(200))).toMatchObject({ boots: false });
    expect(left()).toEqual([]);
  });

  it("that fails with both accelerators gives the reason of each", async () => {
    const ask = { program: script("echo not here >&2; exit 1"), kernel: "/none", seccomp: false };
    const found = await findAccelerator({ ...ask, temporary: folder, signal: AbortSignal.timeout(50_000) });
    expect(found).toEqual({ why: expect.stringMatching(/^kvm: .*not here; tcg: .*not here$/) });
  });

  it("that aborts with KVM alone is used without", async () => {
    const text = `case "$*" in *"-accel kvm"*) exit 134;; esac; exec ${PROGRAM} "$@"`;
    const ask = { program: script(text), kernel: findKernel("") ?? "/none", seccomp: false };
    const found = await findAccelerator({ ...ask, temporary: folder, signal: AbortSignal.timeout(50_000) });
    expect(found).toEqual(qemu.met && kernel.met ? { accelerator: "tcg" } : { why: expect.any(String) });
  });

  it("that is not there is told", async () => {
    const trial = await attempt(join(folder, "none"), AbortSignal.timeout(50_000));
    expect(trial).toEqual({ boots: false, why: expect.stringContaining("ENOENT") });
  });
});

it("finds the newest kernel of a computer, and none where there is none", () => {
  expect(findKernel(folder)).toBeNull();
  mkdirSync(join(folder, "boot"));
  expect(findKernel(folder)).toBeNull();
  for (const [name, seconds] of [
    ["vmlinuz-6.1.0-9", 1_000],
    ["vmlinuz-6.1.0-10", 2_000],
    ["initrd.img-6.1.0-10", 3_000],
  ] as const) {
    writeFileSync(join(folder, "boot", name), "");
    utimesSync(join(folder, "boot", name), seconds, seconds);
  }
  expect(findKernel(folder)).toBe(join(folder, "boot/vmlinuz-6.1.0-10"));
});
