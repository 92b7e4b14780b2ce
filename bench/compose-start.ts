// SPDX-License-Identifier: Apache-2.0
/**
 * From a create request to an answer under the workload's name, over the compose program by itself with the
 * same image and command, from its start to an answer on a port. Both on one private engine, in turns.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "#drivers/docker/program.ts";
import { dockerd, startDocker, type TestDocker } from "#testing/docker.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf } from "#testing/installation.ts";
import { startCasemate } from "#testing/running-casemate.ts";
import type { Line } from "./sessions.ts";

const GOAL = 1.15;
const ANSWER_MS = 120_000;
const LOOK_EVERY_MS = 5;
const COMPOSE = ["docker-compose"];

const document = (ports: string[]) =>
  JSON.stringify({
    services: {
      api: {
        image: "caddy:2",
        command: ["caddy", "respond", "--listen", ":80", "--body", "hi"],
        ...(ports.length > 0 && { ports }),
      },
    },
  });

/** Null, and why on standard error, where there is no engine to start. */
export async function composeStart(turns: number): Promise<Line | null> {
  if (!dockerd.met) {
    process.stderr.write(`not measured: compose start ${dockerd.reason}\n`);
    return null;
  }
  const folder = mkdtempSync(join(tmpdir(), "casemate-bench-compose-"));
  const docker = await startDocker();
  try {
    const httpPort = await freePort();
    const config = join(folder, "config.json");
    const kept = { docker: { socketPath: docker.socketPath }, ingress: { httpPort } };
    writeFileSync(config, JSON.stringify({ host: { kept } }));
    await using casemate = await startCasemate({ args: ["--config", config] });
    const admin = callerOf(casemate.url, readFileSync(join(casemate.state, "admin.key"), "utf8").trim());
    const account = await admin("POST", "/api/v1/accounts/create", { name: "bench", credits: 10_000 });
    const me = callerOf(casemate.url, account.body.apiToken);
    const ours: number[] = [];
    const bare: number[] = [];
    // The first of each warms what both share.
    for (let turn = 0; turn <= turns; turn++) {
      bare.push(await bareStart(docker, folder));
      ours.push(await ourStart(docker, me, httpPort));
    }
    const [left, right] = [ours, bare].map((each) => median(each.slice(1))) as [number, number];
    return {
      ...{ name: "create to answer / compose up to answer", ratio: left / right, goal: GOAL, sense: "most" },
      ok: left / right <= GOAL,
      detail: `${left.toFixed(0)} ms over ${right.toFixed(0)} ms`,
    };
  } finally {
    await docker.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function bareStart(docker: TestDocker, folder: string): Promise<number> {
  const port = await freePort();
  const path = join(folder, "compose.json");
  writeFileSync(path, document([`127.0.0.1:${port}:80`]));
  const env = { DOCKER_HOST: `unix://${docker.socketPath}`, HOME: folder };
  const compose = (...words: string[]) =>
    runProgram([...COMPOSE, "-f", path, "-p", "bare", ...words], { timeoutMs: ANSWER_MS, env });
  const from = performance.now();
  const { code, stderr } = await compose("up", "-d");
  if (code !== 0) throw new Error(`compose up: ${stderr}`);
  await answering(port, `127.0.0.1:${port}`);
  const took = performance.now() - from;
  await compose("down", "--timeout", "0");
  return took;
}

async function ourStart(docker: TestDocker, me: Caller, httpPort: number): Promise<number> {
  const from = performance.now();
  const made = await me("POST", "/api/v1/workloads/create", {
    ...{ name: "bench", artifactsVersion: "0.1.0", dockerCompose: document([]) },
    ...{ publicContainerName: "api", publicContainerPort: 80, memory: 512, cpus: 1, disk: 5, gpus: 0 },
  });
  if (made.status !== 201) throw new Error(`create answered ${made.status} ${made.text}`);
  await answering(httpPort, new URL(made.body.url).host);
  const took = performance.now() - from;
  await me("POST", "/api/v1/workloads/delete", { workloadId: made.body.workloadId });
  const gone = async () => (await docker.engine.listContainers({ all: true })).length === 0;
  for (const until = performance.now() + ANSWER_MS; !(await gone()); ) {
    if (performance.now() > until) throw new Error("the workload is not removed");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return took;
}

/** Until somebody says 200. */
async function answering(port: number, host: string): Promise<void> {
  const status = () =>
    new Promise<number>((resolve) => {
      const asked = request({ host: "127.0.0.1", port, headers: { host }, agent: false }, (answer) => {
        answer.resume();
        resolve(answer.statusCode!);
      });
      asked.on("error", () => resolve(0)).end();
    });
  for (const until = performance.now() + ANSWER_MS; (await status()) !== 200; ) {
    if (performance.now() > until) throw new Error(`nothing answers on port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
