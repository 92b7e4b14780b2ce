// SPDX-License-Identifier: Apache-2.0
/**
 * What is measured: a real `./casemate up` on a state folder of its own, spoken to over HTTP on
 * loopback by one account. Only limits are configured away; every guarantee stays on.
 */
import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DEFAULT_TIERS } from "#control/src/surfaces/sessions/tiers.ts";
import { startCasemate } from "#testing/running-casemate.ts";
import type { BareAnswer, BareQuestion } from "./bare.ts";

const MACHINES_MAX = 1200;

export interface Timed<T> {
  ms: number;
  value: T;
}

export interface Live extends AsyncDisposable {
  state: string;
  /** Process id of `casemate up`. */
  pid: number;
  create(): Promise<Timed<string>>;
  exec(session: string, command: string): Promise<Timed<{ output: string; exit_code: number }>>;
  /** Answers when the teardown was verified; `value` is the signed proof, parsed. */
  destroy(session: string): Promise<Timed<Record<string, unknown>>>;
}

export async function startLive(): Promise<Live> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-bench-"));
  const config = join(folder, "config.json");
  writeFileSync(config, JSON.stringify(limitless()));
  const casemate = await startCasemate({
    state: join(folder, "state"),
    args: ["--config", config],
    keepState: true,
  }).catch((error) => {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  });
  const { key } = await casemate.signUp();
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });

  const call = async <T>(status: number, method: string, path: string, body?: object): Promise<Timed<T>> => {
    const from = performance.now();
    const said = await ask(agent, casemate.url + path, method, key!, body);
    const ms = performance.now() - from;
    if (said.status !== status)
      throw new Error(`${method} ${path}: ${said.status} ${said.text.slice(0, 300)}`);
    return { ms, value: JSON.parse(said.text) as T };
  };
  return {
    state: casemate.state,
    pid: casemate.pid,
    create: async () => {
      const { ms, value } = await call<{ session_id: string }>(201, "POST", "/v1/sessions", {});
      return { ms, value: value.session_id };
    },
    exec: (session, command) => call(200, "POST", `/v1/sessions/${session}/exec`, { command }),
    destroy: (session) => call(200, "DELETE", `/v1/sessions/${session}`),
    [Symbol.asyncDispose]: async () => {
      agent.destroy();
      await casemate[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function limitless(): object {
  const free = {
    ...DEFAULT_TIERS.free,
    rpm: null,
    concurrentSessions: null,
    cdpsPerCycle: null,
    ttlSeconds: 3600,
  };
  return {
    control: { sessions: { tiers: { free } }, log: { level: "error" } },
    host: {
      ceiling: {
        machines: MACHINES_MAX,
        memoryMiB: 4096,
        cpuMillis: 4000,
        pidsMax: 4096,
        memoryTotalMiB: MACHINES_MAX * 4096,
        isolations: ["process"],
      },
    },
  };
}

function ask(
  agent: Agent,
  url: string,
  method: string,
  key: string,
  body?: object,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    };
    const sent = request(url, { agent, method, headers }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (bytes: Buffer) => parts.push(bytes));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode!, text: Buffer.concat(parts).toString() }),
      );
    });
    sent.on("error", reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

export interface Bare extends AsyncDisposable {
  pid: number;
  ask(question: BareQuestion): Promise<number>;
}

/** The process of the baselines (bare.ts). */
export function startBare(): Bare {
  const child: ChildProcess = fork(fileURLToPath(new URL("./bare.ts", import.meta.url)), {
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    pid: child.pid!,
    ask: (question) =>
      new Promise((resolve, reject) => {
        const lost = () => reject(new Error("the process of the baselines died"));
        child.once("exit", lost);
        child.once("message", (said: BareAnswer) => {
          child.off("exit", lost);
          if (said.error === undefined) resolve(said.ms);
          else reject(new Error(said.error));
        });
        child.send(question);
      }),
    [Symbol.asyncDispose]: async () => {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}
