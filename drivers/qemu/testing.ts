// SPDX-License-Identifier: Apache-2.0
/** A QEMU for tests: the program of this computer, with no machine in it or with a real one. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Requirement } from "#testing/requirements.ts";
import { connectSoon } from "./sockets.ts";
import { findKernel } from "./trial.ts";

export const PROGRAM = "/usr/bin/qemu-system-x86_64";

export const qemu: Requirement = {
  met: process.arch === "x64" && existsSync(PROGRAM),
  reason: "needs QEMU on x86-64 (apt-get install qemu-system-x86)",
};

export const kernel: Requirement = {
  met: findKernel("") !== null,
  reason: "needs a kernel in /boot (apt-get install linux-image-cloud-amd64)",
};

/** Whether the QEMU of this computer knows an object: what it refuses it says in words. */
export const knowsObject = (name: string): Requirement => ({
  met: qemu.met && spawnSync(PROGRAM, ["-object", `${name},help`], { stdio: "ignore" }).status === 0,
  reason: `needs a QEMU that knows ${name} (Debian 13 or later)`,
});

export interface BareQemu {
  /** Another conversation; QEMU has one at a time. */
  connect(): Promise<Socket>;
  child: ChildProcess;
  close(): Promise<void>;
}

/** Runs no instruction: there is a control socket and nothing behind it. */
export function openQemu(words: readonly string[]): BareQemu {
  const folder = mkdtempSync(join(tmpdir(), "casemate-qmp-"));
  const socketPath = join(folder, "qmp");
  const quiet = ["-nodefaults", "-no-user-config", "-display", "none", "-S"];
  const child = spawn(PROGRAM, [...quiet, ...words, "-qmp", `unix:${socketPath},server=on,wait=off`], {
    stdio: "ignore",
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const close = async () => {
    child.kill("SIGKILL");
    await exited;
    rmSync(folder, { recursive: true, force: true });
  };
  // Ended by itself, it is waited for no longer.
  const over = new AbortController();
  void exited.then(() => over.abort(new Error("QEMU ended")));
  return { connect: () => connectSoon(socketPath, over.signal), child, close };
}
