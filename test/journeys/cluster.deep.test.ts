// SPDX-License-Identifier: Apache-2.0
/**
 * A cluster as its operator would build it: PostgreSQL, a broker, two replicas of control, and two hosts
 * on machines of their own (network namespaces), which joined with an invitation. Real processes, real
 * containers. Under a load of creates a host, a replica and the broker are killed; then a host is put out.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Docker from "dockerode";
import pg from "pg";
import { expect, it } from "vitest";
import { startPostgres } from "#embedded/postgres.ts";
import { newNkey } from "#link/nats/access.ts";
import type { Caller } from "#testing/caller.ts";
import { dockerd } from "#testing/docker.ts";
import { type Inside, startInside } from "#testing/inside.ts";
import { natsServer } from "#testing/nats-server.ts";
import { type Network, networkNamespaces, openNetwork } from "#testing/network-namespaces.ts";
import { bubblewrap, describeWith } from "#testing/requirements.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const WORKLOADS = 8;
const PORTS = { one: 8801, two: 8802, broker: 4222 };
const ADMIN = `cm_admin_${"c".repeat(32)}`;

const ask = (n: number) => ({
  ...{
    name: `w${n}`,
    artifactsVersion: "0.1.0",
    publicContainerName: "api",
    publicContainerPort: 80,
    gpus: 0,
  },
  dockerCompose: `services:\n  api:\n    image: caddy:2\n    command: caddy respond --listen :80 --body "I am ${n}"`,
  ...{ memory: 512, cpus: 1, disk: 5 },
});

/** A process that is killed and started again by the test, as a supervisor would. */
class Part {
  readonly #command: string[];
  readonly #log: string;
  #child: ChildProcess | null = null;

  constructor(command: string[], log: string) {
    this.#command = command;
    this.#log = log;
  }

  start(): void {
    const log = openSync(this.#log, "a");
    const [first, ...rest] = this.#command;
    this.#child = spawn(first!, rest, { cwd: ROOT, stdio: ["ignore", log, log] });
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await exited;
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  get log(): string {
    return existsSync(this.#log) ? readFileSync(this.#log, "utf8") : "";
  }
}

const node = (script: string, ...args: string[]) => [
  ...[process.execPath, "--disable-warning=ExperimentalWarning", join(ROOT, script), ...args],
];

function writeJson(path: string, value: unknown): string {
  writeFileSync(path, JSON.stringify(value), { mode: 0o600 });
  return path;
}

async function startServer(folder: string) {
  const owner = { uid: 63_915, gid: 63_915 };
  mkdirSync(join(folder, "pg"));
  chownSync(join(folder, "pg"), owner.uid, owner.gid);
  const me = { uid: process.getuid!(), gid: process.getgid!(), name: "casemate-operator" };
  const server = await startPostgres({ folder: join(folder, "pg"), owner, clients: [me] });
  const client = new pg.Client({ host: server.host, user: server.user, database: "postgres" });
  await client.connect();
  await client.query("create database casemate");
  await client.end();
  return server;
}

/** Compose projects that run on an engine, each with how many containers. */
async function projectsOn(socketPath: string): Promise<string[]> {
  const all = await new Docker({ socketPath }).listContainers();
  return all.map(({ Labels }) => Labels["com.docker.compose.project"] ?? "").filter((name) => name !== "");
}

describeWith([bubblewrap, dockerd, natsServer, networkNamespaces], "a cluster on machines of its own", () => {
  it("loses and doubles no acknowledged workload, whoever is killed, and outlives a host that is put out", async () => {
    const folder = mkdtempSync(join(tmpdir(), "cm-cl-"));
    // What a failure left mounted there would hide it.
    const clear = () => {
      const mounts = readFileSync("/proc/self/mountinfo", "utf8").matchAll(/^(?:\S+ ){4}(\S+)/gm);
      const below = [...mounts].map(([, path]) => path!).filter((path) => path.startsWith(folder));
      for (const path of below.reverse()) spawnSync("umount", ["--lazy", path]);
      rmSync(folder, { recursive: true, force: true });
    };
    const undo: (() => unknown)[] = [clear];
    const network: Network = openNetwork(["hub", "h1", "h2"]);
    undo.push(() => network[Symbol.dispose]());
    try {
      execFileSync("chmod", ["755", folder]);
      const server = await startServer(folder);
      undo.push(() => server.stop());
      const insides: Record<string, Inside> = {};
      for (const name of ["hub", "h1", "h2"]) {
        const inside = startInside(network.inside(name));
        insides[name] = inside;
        undo.push(() => inside[Symbol.asyncDispose]());
      }
      const sockets = {
        h1: await insides.h1!.docker(60),
        h2: await insides.h2!.docker(61),
      };

      const seedFile = join(folder, "control.seed");
      writeFileSync(seedFile, newNkey().seed, { mode: 0o600 });
      const hub = network.addressOf("hub");
      const brokerConfig = join(folder, "broker.conf");
      const configOf = (replica: "one" | "two") => ({
        http: { host: "127.0.0.1", port: PORTS[replica] },
        database: { socket: server.host, user: server.user, name: "casemate" },
        link: {
          socket: join(folder, replica, "link.sock"),
          nats: { servers: [`nats://${hub}:${PORTS.broker}`], seedFile, tls: "off" },
          broker:
            replica === "one"
              ? {
                  ...{ configPath: brokerConfig, pidPath: join(folder, "broker.pid"), host: hub },
                  ...{ port: PORTS.broker, certPath: null, keyPath: null },
                }
              : null,
        },
        folder: join(folder, "shared"),
        blobs: { folder: join(folder, "shared", "blobs") },
        operator: { keyHash: createHash("sha256").update(ADMIN).digest("hex") },
        workloads: { requestsPerMinute: null },
        replica,
      });
      mkdirSync(join(folder, "shared"), { mode: 0o700 });
      const part = (name: string, where: string, command: string[]) => {
        const one = new Part([...network.inside(where), ...command], join(folder, `${name}.log`));
        undo.push(() => one.end("SIGTERM"));
        return one;
      };
      const replicas = (["one", "two"] as const).map((replica) => {
        mkdirSync(join(folder, replica), { mode: 0o700 });
        const path = writeJson(join(folder, `${replica}.json`), configOf(replica));
        return part(`control-${replica}`, "hub", node("control/src/main.ts", path));
      }) as [Part, Part];
      const broker = part("broker", "hub", ["nats-server", "-c", brokerConfig]);
      replicas[0].start();
      await expect.poll(() => existsSync(brokerConfig), { timeout: 30_000 }).toBe(true);
      broker.start();
      const urls = [`http://127.0.0.1:${PORTS.one}`, `http://127.0.0.1:${PORTS.two}`] as const;
      const from = (at: 0 | 1, key: string | null): Caller => insides.hub!.callerOf(urls[at], key);
      const up = async (at: 0 | 1) =>
        expect
          .poll(
            () =>
              from(at, null)("GET", "/livez").then(
                ({ status }) => status,
                () => 0,
              ),
            { timeout: 30_000 },
          )
          .toBe(200);
      await up(0);
      replicas[1].start();
      await up(1);

      const admin = from(0, ADMIN);
      const hosts = new Map<"h1" | "h2", Part>();
      for (const name of ["h1", "h2"] as const) {
        const { token } = (await admin("POST", "/platform/v1/hosts/invitations", { name })).body;
        const word = join(folder, `${name}.word`);
        writeFileSync(word, token, { mode: 0o600 });
        const state = join(folder, name);
        // Joining goes over loopback here; what follows goes over the network.
        const [command, ...args] = [
          ...network.inside("hub"),
          ...node("cli/main.ts", "host", "join", urls[0], "--invitation", word, "--state", state),
        ];
        execFileSync(command!, args, { cwd: ROOT, stdio: "ignore" });
        const config = writeJson(join(folder, `${name}.json`), {
          images: { build: false },
          host: {
            kept: {
              docker: { socketPath: sockets[name] },
              haltOnStop: false,
              ceiling: { cpuMillis: 32_000, memoryMiB: 65_536, diskMiB: 1_048_576 },
            },
          },
        });
        const host = part(`host-${name}`, name, [
          ...node("cli/main.ts", "host", "run", "--state", state, "--address", network.addressOf(name)),
          ...["--config", config],
        ]);
        host.start();
        hosts.set(name, host);
      }
      const connected = async (at: 0 | 1, n: number) =>
        expect
          .poll(
            () =>
              from(at, null)("GET", "/health").then(
                ({ body }) => body?.hosts,
                () => -1,
              ),
            {
              timeout: 60_000,
            },
          )
          .toBe(n);
      for (const at of [0, 1] as const) await connected(at, 2);

      const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "a", credits: 1e6 })).body;
      const owners = [from(0, apiToken), from(1, apiToken)] as const;
      const acknowledged: string[] = [];
      const create = async (n: number) => {
        for (let tries = 0; ; tries++) {
          const reply = await owners[((n + tries) % 2) as 0 | 1]("POST", "/api/v1/workloads/create", ask(n), {
            "idempotency-key": `create-${n}`,
          }).catch(() => null);
          if (reply?.status === 201) return void acknowledged.push(reply.body.workloadId);
          if (reply !== null && ![409, 500, 502, 503].includes(reply.status))
            throw new Error(`${reply.status} ${reply.text}`);
          await sleep(250);
        }
      };
      const load = (async () => {
        for (let n = 0; n < WORKLOADS; n++) {
          await create(n);
          await sleep(400);
        }
      })();

      // The host's own process, under the command that keeps it running.
      await sleep(500);
      const child = execFileSync("pgrep", ["-f", `host/main.ts ${folder}/h2/`], { encoding: "utf8" });
      for (const pid of child.trim().split("\n")) process.kill(Number(pid), "SIGKILL");
      await sleep(700);
      await replicas[1].end("SIGKILL");
      await sleep(700);
      replicas[1].start();
      await broker.end("SIGKILL");
      await sleep(700);
      broker.start();
      await load;
      await up(1);

      const all = async (at: 0 | 1) => (await owners[at]("GET", "/api/v1/workloads/list")).body;
      const allRun = async (n: number) =>
        expect
          .poll(
            async () =>
              (await all(0)).filter(({ status }: { status: string }) => status === "running").length,
            { timeout: 120_000, interval: 500 },
          )
          .toBe(n);
      await allRun(WORKLOADS);
      const listed = (await all(1)).map(({ workloadId }: { workloadId: string }) => workloadId);
      expect(listed.toSorted()).toEqual(acknowledged.toSorted());
      const running = [...(await projectsOn(sockets.h1)), ...(await projectsOn(sockets.h2))];
      expect(running).toHaveLength(WORKLOADS);
      expect(new Set(running).size).toBe(WORKLOADS);

      // Each answers at the host that has it, and as itself.
      const places = (await all(0)) as { name: string; domain: string; metalInstanceDomain: string }[];
      const metal = (await admin("GET", "/api/v1/metal-instances/list")).body as {
        domain: string;
        publicIp: string;
      }[];
      const answerOf = ({ domain, metalInstanceDomain }: (typeof places)[0]) => {
        const { publicIp } = metal.find((one) => one.domain === metalInstanceDomain)!;
        const [command, ...args] = [
          ...network.inside("hub"),
          ...["curl", "--silent", "--max-time", "10", "--header", `Host: ${domain}`, `http://${publicIp}/`],
        ];
        return execFileSync(command!, args, { encoding: "utf8" });
      };
      for (const place of places) expect(answerOf(place)).toBe(`I am ${place.name.slice(1)}`);

      // Put out, a host counts no more; what it had is started anew on the other.
      const known = (await admin("GET", "/platform/v1/hosts")).body.hosts as { id: string; name: string }[];
      const h2 = known.find(({ name }) => name === "h2")!;
      expect((await admin("POST", `/platform/v1/hosts/${h2.id}/revoke`)).status).toBe(200);
      for (const at of [0, 1] as const) await connected(at, 1);
      await expect
        .poll(async () => new Set(await projectsOn(sockets.h1)).size, { timeout: 120_000, interval: 500 })
        .toBe(WORKLOADS);
      await allRun(WORKLOADS);
      for (const { workloadId } of await all(0))
        expect((await owners[0]("POST", "/api/v1/workloads/delete", { workloadId })).status).toBe(200);
      await expect.poll(() => projectsOn(sockets.h1), { timeout: 60_000 }).toEqual([]);
    } finally {
      for (const step of undo.reverse()) await step();
    }
  }, 420_000);
});
