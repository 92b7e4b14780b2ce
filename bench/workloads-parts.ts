// SPDX-License-Identifier: Apache-2.0
/**
 * Processes that the workload figures compare, each started with `fork` and a word:
 *
 *   bare      a Fastify route that answers with the JSON it was given
 *   target    what stands for a container: a plain HTTP server with a small answer
 *   ingress   the host's ingress with one route to a port it is told
 *   host      a host that takes every wish and does nothing about it
 */
import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Fastify from "fastify";
import type { HostFacts } from "#contract/link/machine.ts";
import { startIngressProcess } from "#host/ingress/process.ts";
import { dialSocket } from "#link/socket.ts";

export type PartAsk =
  | { kind: "bare"; json: unknown }
  | { kind: "target" }
  | { kind: "ingress"; port: number }
  | { kind: "host"; socket: string; facts: HostFacts };
export const DOMAIN = "bench.localhost";
const INGRESS_UID = 63_914;

async function serve(ask: PartAsk): Promise<number> {
  if (ask.kind === "host") {
    dialSocket({
      ...{ path: ask.socket, facts: ask.facts },
      handlers: { onDesired() {}, onStream: (_, stream) => stream.end({ kind: "done", trailer: null }) },
    });
    return 0;
  }
  if (ask.kind === "bare") {
    const app = Fastify();
    app.get("/", async () => ask.json);
    await app.listen({ host: "127.0.0.1", port: 0 });
    return (app.server.address() as AddressInfo).port;
  }
  if (ask.kind === "target") {
    const server = createServer((_request, response) => {
      response.writeHead(200, { "content-type": "application/json" }).end('{"hi":"foo"}');
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  }
  const folder = mkdtempSync(join(tmpdir(), "casemate-bench-ingress-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const ingress = await startIngressProcess({
    ...{ folder, uid: INGRESS_UID, host: "127.0.0.1", httpPort: 0, httpsPort: 0, log: () => {} },
    attester: () => ({ status: 200, contentType: "text/plain", body: "" }),
  });
  const target = { host: "127.0.0.1", port: ask.port };
  await ingress.setRoutes([{ domain: DOMAIN, machineId: `mach_${"0".repeat(32)}`, target }]);
  return ingress.httpPort;
}

export interface Part extends AsyncDisposable {
  port: number;
}

export async function startPart(ask: PartAsk): Promise<Part> {
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), ["part"], {
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const port = await new Promise<number>((resolve, reject) => {
    child.once("exit", () => reject(new Error(`${ask.kind} did not start`)));
    child.once("message", (said: number) => resolve(said));
    child.send(ask);
  });
  return {
    port,
    [Symbol.asyncDispose]: async () => {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}

if (process.argv[2] === "part" && process.send) {
  process.on("message", (ask: PartAsk) => {
    void serve(ask).then((port) => process.send!(port));
  });
  process.on("disconnect", () => process.exit(0));
}
