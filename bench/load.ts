// SPDX-License-Identifier: Apache-2.0
/**
 * A client under load, in a process of its own: what it costs must not be taken for what is measured.
 * Started with `fork`; one run at a time.
 */
import { type ChildProcess, fork } from "node:child_process";
import { Agent, request } from "node:http";
import { fileURLToPath } from "node:url";

export interface Load {
  url: string;
  method: string;
  /** Given out in turn, so that callers of several accounts can be asked for. */
  headers: Record<string, string>[];
  body: string | null;
  connections: number;
  durationMs: number;
}

export interface Loaded {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** Answers by status. */
  statuses: Record<string, number>;
}

async function run({ url, method, headers, body, connections, durationMs }: Load): Promise<Loaded> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const statuses: Record<string, number> = {};
  const took: number[] = [];
  const once = (number: number) =>
    new Promise<void>((resolve, reject) => {
      const from = performance.now();
      const sent = request(url, { agent, method, headers: headers[number % headers.length]! }, (response) => {
        response.resume();
        response.on("error", reject);
        response.on("end", () => {
          took.push(performance.now() - from);
          const status = String(response.statusCode);
          statuses[status] = (statuses[status] ?? 0) + 1;
          resolve();
        });
      });
      sent.on("error", reject);
      sent.end(body ?? undefined);
    });
  const from = performance.now();
  let number = 0;
  const worker = async () => {
    while (performance.now() - from < durationMs) await once(number++);
  };
  await Promise.all(Array.from({ length: connections }, worker));
  const seconds = (performance.now() - from) / 1000;
  agent.destroy();
  took.sort((a, b) => a - b);
  const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0;
  return { perSecond: took.length / seconds, p50Ms: at(0.5), p99Ms: at(0.99), statuses };
}

export interface LoadClient extends AsyncDisposable {
  run(load: Load): Promise<Loaded>;
}

export function startLoadClient(): LoadClient {
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), ["client"], {
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    run: (load) =>
      new Promise((resolve, reject) => {
        const lost = () => reject(new Error("the client died"));
        child.once("exit", lost);
        child.once("message", (said: Loaded | { error: string }) => {
          child.off("exit", lost);
          if ("error" in said) reject(new Error(said.error));
          else resolve(said);
        });
        child.send(load);
      }),
    [Symbol.asyncDispose]: async () => {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}

if (process.argv[2] === "client" && process.send) {
  process.on("message", (load: Load) => {
    run(load).then(
      (said) => process.send!(said),
      (error) => process.send!({ error: String(error) }),
    );
  });
  process.on("disconnect", () => process.exit(0));
}
