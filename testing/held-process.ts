// SPDX-License-Identifier: Apache-2.0
/** A process of a test's own that says a line when it is where it should be, and is ended by its id. */
import { type ChildProcess, spawn } from "node:child_process";

export interface HeldProcess {
  child: ChildProcess;
  end(): Promise<void>;
}

export async function hold(command: string, args: string[]): Promise<HeldProcess> {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  await new Promise((resolve, reject) => {
    child.stdout!.once("data", resolve);
    child.once("exit", () => reject(new Error(`${command} ended`)));
  });
  const end = () =>
    new Promise<void>((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve();
      child.once("exit", () => resolve());
      child.kill("SIGKILL");
    });
  return { child, end };
}
