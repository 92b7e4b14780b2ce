// SPDX-License-Identifier: Apache-2.0
/**
 * A Docker engine of a test file's own: its data, its sockets, its address range and its bridges meet
 * those of no other engine, also not of the one that a developer works with.
 *
 * The engine makes no firewall rules, because the chains it would make have the same names for every
 * engine of the host, and a second one flushes those of the first. What a container needs to be
 * forwarded is switched on for its bridge alone (`forward`), never for the whole host.
 *
 * Images are made from programs of this machine, since tests pull from nowhere.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import Docker from "dockerode";
import { findProcesses } from "./process-status.ts";
import type { Requirement } from "./requirements.ts";

const PROGRAMS = [
  "dockerd",
  "containerd",
  "runc",
  "docker-compose",
  "iptables",
  "caddy",
  "busybox",
  "setpriv",
];
const READY_MS = 30_000;
const STOP_MS = 20_000;
/** Engines at once on one machine; each has a /24 of 10.213.0.0/16 in networks of 14 addresses. */
const SLOTS = 64;

const missing = PROGRAMS.filter((name) => findProgram(name) === null);

export const dockerd: Requirement = {
  met: process.getuid?.() === 0 && missing.length === 0,
  reason: `needs root and ${missing.join(", ") || "Docker"} (apt-get install -y docker.io docker-compose iptables caddy busybox-static)`,
};

export interface TestDocker {
  socketPath: string;
  /** Everything the engine keeps is below; the driver under test may have a folder here too. */
  folder: string;
  dataRoot: string;
  engine: Docker;
  /** A number that no other engine of a test has at this moment. */
  slot: number;
  /** Lets the host forward packets that come in by this interface. */
  forward(networkInterface: string): void;
  /** Ends the engine and starts it again on the same data: as its service does, or as after a crash of all of it. */
  restart(signal?: "SIGTERM" | "SIGKILL"): Promise<void>;
  stop(): Promise<void>;
}

/**
 * `liveRestore`: containers outlive a restart of the engine. `firstSlot`: for an engine in a network
 * namespace, where the locks of the slots are not those of the machine.
 */
export async function startDocker({ liveRestore = false, firstSlot = 0 } = {}): Promise<TestDocker> {
  const slot = await takeSlot(firstSlot);
  const folder = mkdtempSync(join(tmpdir(), "casemate-docker-"));
  const range = `10.213.${slot.number}`;
  let child: ChildProcess | null = null;
  const stop = async () => {
    try {
      await endEngine(child, folder);
      removeTraces(folder, range, slot.number);
    } finally {
      slot.lock.close();
    }
  };
  const socketPath = join(folder, "docker.sock");
  const engine = new Docker({ socketPath });
  try {
    writeFileSync(join(folder, "daemon.json"), JSON.stringify({ "live-restore": liveRestore }));
    child = await startEngine(folder, socketPath, range, slot.number);
    await Promise.all([
      addImage(engine, folder, "caddy:2", ["caddy"], ['CMD ["caddy", "run"]', "WORKDIR /srv"]),
      addImage(engine, folder, "busybox:test", ["busybox"], ['CMD ["sh"]']),
    ]);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    socketPath,
    folder,
    dataRoot: join(folder, "data"),
    engine,
    slot: slot.number,
    forward: (name) => writeFileSync(`/proc/sys/net/ipv4/conf/${name}/forwarding`, "1"),
    restart: async (signal) => {
      if (liveRestore) await endChild(child, signal);
      else await endEngine(child, folder, signal);
      // The engine would wait for a containerd that nobody has reaped yet.
      rmSync(join(folder, "exec/containerd/containerd.pid"), { force: true });
      child = await startEngine(folder, socketPath, range, slot.number);
    },
    stop,
  };
}

/** An abstract socket is the lock of a slot: the kernel drops it with the process. */
async function takeSlot(first: number): Promise<{ number: number; lock: Server }> {
  for (let number = first; number < SLOTS; number++) {
    const lock = createServer();
    const taken = await new Promise<boolean>((resolve) => {
      lock.once("error", () => resolve(false));
      lock.listen(`\0casemate-test-docker-${number}`, () => resolve(true));
    });
    if (taken) return { number, lock: lock.unref() };
  }
  throw new Error("every address range for test engines is taken");
}

async function startEngine(folder: string, socketPath: string, range: string, slot: number) {
  const config = join(folder, "daemon.json");
  const log = openSync(join(folder, "dockerd.log"), "a");
  const child = spawn(
    "setpriv",
    [
      "--pdeathsig=KILL",
      "dockerd",
      ...["--config-file", config],
      ...["--storage-driver", "overlay2"],
      ...["--data-root", join(folder, "data")],
      ...["--exec-root", join(folder, "exec")],
      ...["--pidfile", join(folder, "dockerd.pid")],
      ...["--host", `unix://${socketPath}`],
      ...["--cgroup-parent", cgroupParent(slot)],
      ...["--default-address-pool", `base=${range}.0/24,size=28`],
      ...["--bridge", "none"],
      ...["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"],
    ],
    { stdio: ["ignore", log, log] },
  );
  const engine = new Docker({ socketPath });
  const until = Date.now() + READY_MS;
  for (;;) {
    if (await engine.ping().then(Boolean, () => false)) return child;
    if (child.exitCode !== null || Date.now() > until) {
      await endEngine(child, folder);
      throw new Error(
        `dockerd did not start: ${readFileSync(join(folder, "dockerd.log"), "utf8").slice(-2000)}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function endEngine(
  child: ChildProcess | null,
  folder: string,
  signal: "SIGTERM" | "SIGKILL" = "SIGTERM",
): Promise<void> {
  await endChild(child, signal);
  // Its containerd and the shims of containers name the folder on their command line; what runs in a
  // container has its root below it, and is left alone by an engine that was killed.
  const until = Date.now() + STOP_MS;
  for (;;) {
    const left = [...findProcesses(folder), ...processesInside(folder)].filter((pid) => pid !== process.pid);
    if (left.length === 0) return;
    if (Date.now() > until) throw new Error(`processes of ${folder} do not end: ${left.join(" ")}`);
    for (const pid of left) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {}
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function endChild(
  child: ChildProcess | null,
  signal: "SIGTERM" | "SIGKILL" = "SIGTERM",
): Promise<void> {
  if (child !== null && child.exitCode === null && child.signalCode === null) {
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await exited;
    clearTimeout(late);
  }
}

function processesInside(folder: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const root = readFileSync(`/proc/${pid}/mountinfo`, "utf8")
          .split("\n")
          .find((line) => line.split(" ")[4] === "/");
        return root?.includes(`upperdir=${folder}/`) === true;
      } catch {
        return false;
      }
    });
}

const cgroupParent = (slot: number) => `/casemate-test-docker-${slot}`;

function removeTraces(folder: string, range: string, slot: number): void {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((target) => target.startsWith(`${folder}/`))
    .sort((a, b) => b.length - a.length);
  for (const target of mounts) spawnSync("umount", ["--lazy", target]);
  const links = execFileSync("ip", ["-4", "-o", "addr", "show"], { encoding: "utf8" });
  for (const [, name] of links.matchAll(
    new RegExp(`^\\d+: (\\S+) +inet ${range.replaceAll(".", "\\.")}\\.`, "gm"),
  ))
    spawnSync("ip", ["link", "delete", name!]);
  for (const hierarchy of [".", ...readdirSync("/sys/fs/cgroup")]) {
    const path = join("/sys/fs/cgroup", hierarchy, cgroupParent(slot));
    if (existsSync(path)) rmdirSync(path);
  }
  rmSync(folder, { recursive: true, force: true });
}

/** Programs of this machine with the libraries they are linked to, as an image. */
async function addImage(engine: Docker, folder: string, name: string, programs: string[], changes: string[]) {
  const root = mkdtempSync(join(folder, "image-"));
  for (const path of ["bin", "etc", "srv", "tmp"]) mkdirSync(join(root, path), { mode: 0o755 });
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
  for (const program of programs) {
    const path = findProgram(program)!;
    copyFileSync(path, join(root, "bin", program));
    for (const library of librariesOf(path)) {
      mkdirSync(join(root, dirname(library)), { recursive: true });
      copyFileSync(realpathSync(library), join(root, library));
    }
  }
  if (programs.includes("busybox")) {
    const applets = execFileSync(findProgram("busybox")!, ["--list"], { encoding: "utf8" })
      .trim()
      .split("\n");
    for (const applet of applets.filter((each) => basename(each) === each && each !== "busybox"))
      symlinkSync("busybox", join(root, "bin", applet));
  }
  const tar = spawn("tar", ["-C", root, "-c", "."], { stdio: ["ignore", "pipe", "inherit"] });
  const [repo, tag] = name.split(":") as [string, string];
  const answer = await engine.importImage(tar.stdout, {
    repo,
    tag,
    changes: ["ENV PATH=/bin:/usr/bin", ...changes],
  });
  for await (const _ of answer);
  rmSync(root, { recursive: true, force: true });
  await engine.getImage(name).inspect();
}

function librariesOf(path: string): string[] {
  const { status, stdout } = spawnSync("ldd", [path], { encoding: "utf8" });
  // A static program is a failure to ldd.
  return status === 0 ? [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, library]) => library!) : [];
}

function findProgram(name: string): string | null {
  const folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null;
}
