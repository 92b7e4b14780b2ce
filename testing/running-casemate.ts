// SPDX-License-Identifier: Apache-2.0
/** `./casemate up` as a person starts it, on a state folder of its own. */

import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { freePort } from "./free-port.ts";
import { type Caller, callerOf } from "./installation.ts";

const ROOT = new URL("..", import.meta.url).pathname;

export interface RunningCasemate extends AsyncDisposable {
  url: string;
  state: string;
  port: number;
  /** All that was printed so far. */
  output(): string;
  /** Process id of `casemate up` itself. */
  pid: number;
  signUp(): Promise<Caller>;
  /** Sends the signal to `casemate up` and waits for its end. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

export interface UpChoices {
  state?: string;
  port?: number;
  args?: string[];
  /** Kept when the test ends. */
  keepState?: boolean;
  env?: Record<string, string>;
  /** Words before the command, e.g. `setpriv` with another uid; they must end in an exec. */
  prefix?: string[];
}

export async function startCasemate(choices: UpChoices = {}): Promise<RunningCasemate> {
  const state = choices.state ?? mkdtempSync(join(tmpdir(), "casemate-up-"));
  const port = choices.port ?? (await freePort());
  const [command, ...args] = [
    ...[...(choices.prefix ?? []), join(ROOT, "casemate")],
    ...["up", "--state", state, "--port", String(port), ...(choices.args ?? [])],
  ];
  const child = spawn(command!, args, {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
    // Two minutes of computing beside each test, and what its package sources say of the day.
    env: { ...process.env, CASEMATE_IMAGES_BUILD: "false", ...choices.env },
  }) as ChildProcessByStdio<null, Readable, Readable>;
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const url = `http://127.0.0.1:${port}`;
  await ready(child, () => output, url);
  const end = (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    return exited;
  };
  return {
    ...{ url, state, port, end },
    output: () => output,
    pid: child.pid!,
    signUp: async () => {
      const email = `p${Math.random().toString(36).slice(2)}@example.com`;
      const reply = await callerOf(url, null)("POST", "/v1/signup", { email });
      return callerOf(url, reply.body.api_key);
    },
    [Symbol.asyncDispose]: async () => {
      await end("SIGTERM");
      if (choices.keepState !== true) rmSync(state, { recursive: true, force: true });
    },
  };
}

async function ready(child: ChildProcess, output: () => string, url: string): Promise<void> {
  const deadline = Date.now() + 180_000;
  while (!output().includes(`casemate ready ${url}`)) {
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`casemate up did not get ready:\n${output()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
