// SPDX-License-Identifier: Apache-2.0
/** The Docker driver on an engine of the test file's own, and the host as seen from outside of it. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startDocker, type TestDocker } from "#testing/docker.ts";
import type { KeptSubject } from "../conformance/kept-suite.ts";
import { listPids, tryRead } from "../sandbox/process-table.ts";
import { listCgroups, removeCgroups } from "./cgroup-parent.ts";
import { DockerDriver, type DockerOptions } from "./driver.ts";
import { listContainers } from "./engine.ts";
import { Firewall } from "./firewall.ts";
import { bridgeOf, commentOf, LABEL_MACHINE, processMark } from "./marks.ts";

const METADATA = "169.254.169.254";
const PRIVATE = "10.99.99.99";
const PORT = 7777;
const CGROUPS = { driver: "cgroupfs", version: 1 } as const;

export interface DockerSubject extends KeptSubject {
  docker: TestDocker;
  options: DockerOptions;
}

export async function dockerSubject(
  more: Partial<DockerOptions> & { liveRestore?: boolean } = {},
): Promise<DockerSubject> {
  const { liveRestore = false, ...changed } = more;
  const docker = await startDocker({ liveRestore });
  const options = {
    socketPath: docker.socketPath,
    folder: join(docker.folder, "driver"),
    owner: `test-${process.pid}-${docker.slot}`,
    ...changed,
  };
  const { owner, folder } = options;
  const { engine } = docker;
  mkdirSync(folder, { mode: 0o700 });
  const world = new OtherHost(docker);
  const label = (machineId: string) => ({ filters: { label: [`${LABEL_MACHINE}=${machineId}`] } }) as object;

  const stopped = new Set<string>();
  const marked = (machineId: string) =>
    listPids().filter((pid) =>
      tryRead(`/proc/${pid}/environ`)?.split("\0").includes(processMark(owner, machineId)),
    );
  const running = async (machineId: string): Promise<string[]> => [
    ...marked(machineId).map((pid) => `process ${pid}`),
    ...(await engine.listContainers({ all: true, ...label(machineId) })).map(
      ({ Names }) => `container ${Names}`,
    ),
    ...(await engine.listNetworks(label(machineId))).map(({ Name }) => `network ${Name}`),
    ...linesWith(readFileSync("/proc/self/mountinfo", "utf8"), `${folder}/files/${machineId}`),
    ...["", ...readdirSync("/sys/fs/cgroup")]
      .map((hierarchy) => join("/sys/fs/cgroup", hierarchy, "casemate", owner, machineId))
      .filter((path) => existsSync(path)),
    ...["iptables-save", "ip6tables-save"].flatMap((program) =>
      linesWith(execFileSync(program, { encoding: "utf8" }), commentOf(owner, machineId)),
    ),
    ...linesWith(
      execFileSync("ip", ["-o", "link"], { encoding: "utf8" }),
      bridgeOf(owner, machineId, "default"),
    ),
  ];
  return {
    docker,
    options,
    image: "busybox:test",
    open: () => new DockerDriver(options),
    environmentStaysIn: ["/io.containerd.metadata.v1.bolt/meta.db"],
    running,
    traces: async (machineId) => [
      ...(await running(machineId)),
      ...((await engine.listVolumes(label(machineId))).Volumes ?? []).map(({ Name }) => `volume ${Name}`),
      ...(readdirSync(folder, { recursive: true }) as string[]).filter((path) => path.includes(machineId)),
    ],
    filesWith: async (text) => {
      // Layers and volumes are what machines wrote; a tmpfs is no disk, and grep is told not to enter one.
      const found = spawnSync(
        "find",
        [
          docker.folder,
          "-xdev",
          "-type",
          "f",
          "-not",
          "-path",
          "*/data/volumes/*/_data/*",
          "-exec",
          "grep",
          "-lF",
          text,
          "{}",
          "+",
        ],
        { encoding: "utf8" },
      );
      return found.stdout.split("\n").filter((line) => line !== "");
    },
    killInTheMiddle: async (machineId, spec, payload) => {
      const child = spawn(process.execPath, [new URL("./crashing-host.ts", import.meta.url).pathname], {
        stdio: ["pipe", "ignore", "inherit"],
      });
      child.stdin.end(JSON.stringify({ options, machineId, spec, payload }));
      const exited = new Promise((resolve) => child.once("exit", resolve));
      const until = Date.now() + 30_000;
      const seen = new Set((await listContainers(engine, owner, machineId)).map(({ id }) => id));
      for (;;) {
        const now = await listContainers(engine, owner, machineId);
        if (now.some(({ id, info }) => !seen.has(id) && info.State === "running")) break;
        if (Date.now() > until || child.exitCode !== null) throw new Error("the start did not get so far");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      child.kill("SIGKILL");
      await exited;
      // What it started is held still, or it might end by itself before anybody looks.
      for (const pid of marked(machineId)) process.kill(pid, "SIGSTOP");
      stopped.add(machineId);
    },
    addresses: async (machineId) => {
      const web = (await listContainers(engine, owner, machineId)).find(({ service }) => service === "web")!;
      const { NetworkSettings } = await engine.getContainer(web.id).inspect();
      const [network] = Object.values(NetworkSettings.Networks);
      return { own: network!.IPAddress, host: [network!.Gateway, world.hostAddress] };
    },
    outside: async (machineId) => world.connect(bridgeOf(owner, machineId, "default")),
    loseRules: (machineId) => new Firewall(owner).release(machineId),
    close: async () => {
      for (const pid of [...stopped].flatMap(marked)) process.kill(pid, "SIGKILL");
      try {
        await world.close();
      } finally {
        await docker.stop();
        // Of a driver that failed its test.
        const firewall = new Firewall(owner);
        for (const machineId of await firewall.list()) await firewall.release(machineId);
        for (const machineId of listCgroups(CGROUPS, owner)) await removeCgroups(CGROUPS, owner, machineId);
      }
    },
  };
}

const linesWith = (text: string, part: string) => text.split("\n").filter((line) => line.includes(part));

/**
 * A network namespace as the computer next door: it has an address of the world (of a range for
 * documents), the metadata address and a private one, and listens on all. Only packets from bridges
 * that were connected are routed there, so the machine's own network is left as it is.
 */
class OtherHost {
  readonly hostAddress: string;
  readonly #name: string;
  readonly #link: string;
  readonly #address: string;
  readonly #table: string;
  readonly #docker: TestDocker;
  readonly #connected = new Set<string>();
  // Not below the engine's: whatever names that folder ends with the engine.
  readonly #folder = mkdtempSync(join(tmpdir(), "casemate-other-host-"));
  #listener: ChildProcess | null = null;

  constructor(docker: TestDocker) {
    this.#docker = docker;
    const first = docker.slot * 4;
    this.hostAddress = `203.0.113.${first + 1}`;
    this.#address = `203.0.113.${first + 2}`;
    this.#name = `casemate-test-${docker.slot}`;
    this.#link = `cmtest${docker.slot}`;
    this.#table = String(52_000 + docker.slot);
    this.#remove();
    ip("netns", "add", this.#name);
    ip("link", "add", this.#link, "type", "veth", "peer", "name", "eth0", "netns", this.#name);
    ip("addr", "add", `${this.hostAddress}/30`, "dev", this.#link);
    ip("link", "set", this.#link, "up");
    const inside = (...args: string[]) => ip("-n", this.#name, ...args);
    inside("addr", "add", `${this.#address}/30`, "dev", "eth0");
    for (const address of [METADATA, PRIVATE]) inside("addr", "add", `${address}/32`, "dev", "lo");
    for (const device of ["lo", "eth0"]) inside("link", "set", device, "up");
    inside("route", "add", "default", "via", this.hostAddress);
    for (const address of [METADATA, PRIVATE])
      ip("route", "add", `${address}/32`, "via", this.#address, "table", this.#table);
    docker.forward(this.#link);
    this.#listener = spawn(
      "ip",
      ["netns", "exec", this.#name, "busybox", "httpd", "-f", "-p", String(PORT), "-h", this.#folder],
      { stdio: "ignore" },
    );
  }

  connect(bridge: string): { world: string; forbidden: string[] } {
    this.#docker.forward(bridge);
    if (!this.#connected.has(bridge)) ip("rule", "add", "iif", bridge, "lookup", this.#table);
    this.#connected.add(bridge);
    return { world: `${this.#address}:${PORT}`, forbidden: [`${METADATA}:${PORT}`, `${PRIVATE}:${PORT}`] };
  }

  async close(): Promise<void> {
    const listener = this.#listener;
    if (listener !== null && listener.exitCode === null && listener.signalCode === null) {
      const exited = new Promise((resolve) => listener.once("exit", resolve));
      listener.kill("SIGKILL");
      await exited;
    }
    this.#remove();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #remove(): void {
    for (const args of [
      ...[...this.#connected].map((bridge) => ["rule", "del", "iif", bridge, "lookup", this.#table]),
      ["route", "flush", "table", this.#table],
      ["link", "del", this.#link],
      ["netns", "del", this.#name],
    ])
      spawnSync("ip", args);
  }
}

function ip(...args: string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
}
