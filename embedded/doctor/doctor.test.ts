// SPDX-License-Identifier: Apache-2.0
/**
 * Each check against a computer made of a folder: what it says when nothing is there, when what is there
 * hangs, lies or is too old, and when it is as it should be.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { findProcesses } from "#testing/process-status.ts";
import { CHECKS, thisComputer } from "./all.ts";
import type { Finding, Here } from "./check.ts";
import { examine, inTime } from "./examine.ts";

let root: string;
let here: Here;
const open: Server[] = [];
const undo: (() => void)[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "casemate-doctor-test-"));
  here = {
    ...thisComputer(join(root, "state")),
    ...{ root, path: "/usr/bin", uid: 0, arch: "x64", program: root },
    postgres: { folder: join(root, "no-postgres") },
    temporary: root,
    ports: { api: 0, http: 0, https: 0 },
  };
});
afterEach(async () => {
  for (const step of undo.splice(0)) step();
  for (const server of open.splice(0)) await new Promise((resolve) => server.close(resolve));
  rmSync(root, { recursive: true, force: true });
});

const write = (path: string, text: string) => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
};
const program = (path: string, text: string) => {
  write(path, `#!/bin/sh\n${text}\n`);
  chmodSync(join(root, path), 0o755);
};
const ask = (id: string, change: Partial<Here> = {}, timeoutMs = 5_000): Promise<Finding> => {
  const check = CHECKS.find((each) => each.id === id);
  if (check === undefined) throw new Error(`no check ${id}`);
  return inTime(check.look, { ...here, ...change }, timeoutMs);
};
const listenAt = async (server: Server, path: string | number) => {
  open.push(server);
  if (typeof path === "string") mkdirSync(dirname(path), { recursive: true });
  await new Promise<void>((resolve) => server.listen(path as never, "127.0.0.1" as never, resolve));
};

it.each([
  ["tools", "apt-get install -y util-linux coreutils tar"],
  ["perl", "apt-get install -y perl-base"],
  ["python", "apt-get install -y python3"],
  ["bubblewrap", "apt-get install -y bubblewrap"],
  ["sandbox", "apt-get install -y bubblewrap"],
  ["confinement", "apt-get install -y bubblewrap util-linux"],
  ["database-trial", "apt-get install -y bubblewrap"],
  ["compose", "apt-get install -y docker-compose (or Docker's docker-compose-plugin)"],
  ["iptables", "apt-get install -y iptables"],
  ["qemu", "apt-get install -y qemu-system-x86"],
  ["swtpm", "apt-get install -y swtpm"],
  ["measured-boot", "apt-get install -y ovmf"],
  ["vm-networks", "apt-get install -y iproute2"],
  ["docker-engine", "apt-get install -y docker.io docker-compose iptables && systemctl start docker"],
  ["postgres-programs", "npm ci"],
])("on a computer with nothing on it, %s is missing, with the line that gets it", async (id, get) => {
  expect(await ask(id)).toMatchObject({ state: "missing", get });
});

it("tells an ordinary user to ask with sudo", async () => {
  expect(await ask("bubblewrap", { uid: 1000 })).toMatchObject({ get: "sudo apt-get install -y bubblewrap" });
});

it("says no to everything on a computer with nothing on it, and still looks at all of it", async () => {
  const found = await examine(CHECKS, here);
  expect(found.checks).toHaveLength(CHECKS.length);
  expect([found.sessions, found.workloads, found.hardware]).toEqual([false, false, []]);
  expect(found.sentence).toMatch(
    /^Here: sessions no \(.*a real sandbox.*\); workloads no \(.*\); confidential hardware no\.$/,
  );
});

it("does not wait for a program that hangs, and leaves nothing of it", async () => {
  program("/usr/bin/bwrap", `exec sleep 1000 # ${root}`);
  program("/usr/bin/swtpm", `sleep 1001 & sleep 1002; : ${root}`);
  const begun = performance.now();
  const [bubblewrap, swtpm] = await Promise.all([ask("bubblewrap", {}, 300), ask("swtpm", {}, 300)]);
  expect(bubblewrap).toEqual({ state: "missing", says: "no answer within 0.3 s" });
  expect(swtpm).toEqual({ state: "missing", says: "no answer within 0.3 s" });
  expect(performance.now() - begun).toBeLessThan(9_000);
  await expect.poll(() => [...findProcesses(root), ...findProcesses("sleep", "1001")]).toEqual([]);
});

it("does not take a program that fails for one that works", async () => {
  program("/usr/bin/bwrap", "echo 'cannot open shared object' >&2; exit 127");
  expect(await ask("bubblewrap")).toMatchObject({
    state: "missing",
    says: expect.stringContaining("shared object"),
  });
  program("/usr/bin/docker-compose", "echo not a version");
  expect(await ask("compose")).toMatchObject({ state: "missing" });
  program("/usr/bin/docker", 'test "$1" = compose && echo v2.29.1');
  expect(await ask("compose")).toEqual({ state: "ok", says: "docker compose v2.29.1" });
});

it("knows an engine that is too old, one without cgroups, and one that never answers", async () => {
  let ApiVersion = "1.40";
  let CgroupDriver = "cgroupfs";
  const engine = createHttpServer((request, response) => {
    const body = request.url?.endsWith("/version")
      ? { ApiVersion, Version: "19.03" }
      : { CgroupDriver, CgroupVersion: "2", Driver: "overlay2" };
    response.setHeader("content-type", "application/json").end(JSON.stringify(body));
  });
  await listenAt(engine, join(root, "run/docker.sock"));
  const dockerSocket = "/run/docker.sock";
  expect(await ask("docker-engine", { dockerSocket })).toMatchObject({
    state: "missing",
    says: expect.stringContaining("too old, its API is 1.40"),
  });
  ApiVersion = "1.41";
  expect(await ask("docker-engine", { dockerSocket })).toEqual({
    state: "ok",
    says: "19.03, cgroups by cgroupfs (v2), storage overlay2",
  });
  CgroupDriver = "none";
  expect(await ask("docker-engine", { dockerSocket })).toMatchObject({ state: "missing" });
  CgroupDriver = "systemd";
  expect(await ask("docker-engine", { dockerSocket })).toMatchObject({
    state: "missing",
    get: expect.stringContaining("systemd"),
  });

  await listenAt(
    createServer((socket) => void socket.resume()),
    join(root, "run/silent.sock"),
  );
  expect(await ask("docker-engine", { dockerSocket: "/run/silent.sock" }, 300)).toMatchObject({
    state: "missing",
    says: expect.stringContaining("does not answer in time"),
  });
});

it("names confidential hardware only when the kernel says that it is on and the device is there", async () => {
  write("/sys/module/kvm_amd/parameters/sev_snp", "N\n");
  expect(await ask("sev-snp")).toMatchObject({ state: "missing", says: expect.stringContaining("says N") });
  write("/sys/module/kvm_amd/parameters/sev_snp", "Y\n");
  expect(await ask("sev-snp")).toMatchObject({
    state: "missing",
    says: expect.stringContaining("no /dev/sev"),
  });
  write("/dev/sev", "");
  expect(await ask("sev-snp")).toMatchObject({ state: "warning", get: "modprobe cpuid" });
  const processor = Buffer.alloc(16);
  processor[4] = 51;
  write("/dev/cpu/0/cpuid", "");
  const file = openSync(join(root, "/dev/cpu/0/cpuid"), "r+");
  writeSync(file, processor, 0, 16, 0x8000001f);
  closeSync(file);
  write("/sys/module/kvm_intel/parameters/tdx", "Y\n");
  const { hardware, sentence } = await examine(
    CHECKS.filter(({ group }) => group === "confidential hardware"),
    here,
  );
  expect(hardware).toEqual(["AMD SEV-SNP", "Intel TDX"]);
  expect(sentence).toContain("confidential hardware AMD SEV-SNP, Intel TDX.");
});

it("says that virtual machines work only when a kernel booted in one", async () => {
  expect(await ask("kvm")).toMatchObject({ state: "missing", says: expect.stringContaining("ENOENT") });
  write("/dev/kvm", "");
  for (const id of ["kvm", "emulation"]) {
    expect(await ask(id, { arch: "arm64" })).toMatchObject({ state: "warning" });
    expect(await ask(id)).toMatchObject({
      state: "warning",
      says: expect.stringMatching(/not tried.*no QEMU/),
    });
  }
  program("/usr/bin/qemu-system-x86_64", "echo no such accelerator >&2; exit 1");
  for (const id of ["kvm", "emulation"])
    expect(await ask(id)).toMatchObject({
      state: "warning",
      get: "apt-get install -y linux-image-cloud-amd64",
    });
  write("/boot/vmlinuz-6.1.0", "");
  for (const id of ["kvm", "emulation"])
    expect(await ask(id)).toMatchObject({
      state: "missing",
      says: expect.stringContaining("no such accelerator"),
    });
  program("/usr/bin/qemu-system-x86_64", "exec sleep 1000");
  expect(await ask("emulation", {}, 300)).toMatchObject({ state: "missing" });
  await expect.poll(() => findProcesses(root)).toEqual([]);
});

it("says what an image for virtual machines needs to be built, and that it takes root", async () => {
  for (const tool of ["apt-get", "dpkg-deb", "unshare"]) program(`/usr/bin/${tool}`, "exit 0");
  expect(await ask("guest-images")).toMatchObject({
    state: "missing",
    says: "none built, and no mmdebstrap, mkfs.erofs, xz, Debian's archive keys to build one",
    get: "apt-get install -y mmdebstrap erofs-utils xz-utils debian-archive-keyring",
  });
  for (const tool of ["mmdebstrap", "mkfs.erofs", "xz"]) program(`/usr/bin/${tool}`, "exit 0");
  write("/usr/share/keyrings/debian-archive-keyring.gpg", "keys");
  expect(await ask("guest-images", { uid: 1_000 })).toMatchObject({
    state: "warning",
    get: expect.stringMatching(/^sudo \.\/casemate images build base --state /),
  });
});

it("does not take folders that look like cgroups for cgroups, and makes none there", async () => {
  write("/proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
  write("/proc/self/cgroup", "0::/\n");
  write("/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n");
  write("/sys/fs/cgroup/cgroup.subtree_control", "");
  expect(await ask("cgroups")).toMatchObject({
    state: "missing",
    says: expect.stringContaining("v2 with memory, pids, cpu, not writable"),
  });
  expect(readdirSync(join(root, "sys/fs/cgroup")).sort()).toEqual([
    "cgroup.controllers",
    "cgroup.subtree_control",
  ]);
});

it("says what keeps user namespaces from an ordinary user", async () => {
  write("/proc/sys/user/max_user_namespaces", "0\n");
  expect(await ask("user-namespaces")).toMatchObject({
    state: "missing",
    get: "sysctl -w user.max_user_namespaces=15000",
  });
  write("/proc/sys/user/max_user_namespaces", "1000\n");
  write("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
  expect(await ask("user-namespaces")).toMatchObject({
    state: "warning",
    says: expect.stringContaining("AppArmor"),
  });
  write("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0\n");
  expect(await ask("user-namespaces")).toEqual({ state: "ok", says: "up to 1000" });
});

it("refuses a clock in another century and limits that no session fits under", async () => {
  expect(await ask("clock", { now: new Date("1970-01-02") })).toMatchObject({ state: "missing" });
  expect(await ask("clock", { now: new Date("2026-05-05") })).toMatchObject({ state: "ok" });
  write("/proc/self/limits", "Max open files            256                  256                  files\n");
  expect(await ask("descriptors")).toMatchObject({ state: "missing" });
  write("/proc/self/limits", "Max open files            1024                 1048576              files\n");
  expect(await ask("descriptors")).toMatchObject({ state: "ok" });
});

it("names the process that has a port, and does not take it for ours", async () => {
  const other = createServer();
  await listenAt(other, 0);
  const { port } = other.address() as AddressInfo;
  expect(await ask("port-api", { ports: { api: port, http: port, https: 0 } })).toMatchObject({
    state: "missing",
    says: expect.stringMatching(new RegExp(`^${port} is taken by .*\\(pid ${process.pid}\\)$`)),
    get: "./casemate up --port <another>",
  });
  expect(await ask("port-http", { ports: { api: 0, http: port, https: 0 } })).toMatchObject({
    state: "warning",
  });
});

it("knows the ports of the ingress that its own host started, and not those of another's", async () => {
  const serve =
    "require('net').createServer().listen(0, '127.0.0.1', function () { console.log(this.address().port) })";
  const words = [join(root, "host/main.ts"), join(root, "state/keys/host.json")];
  // It bears the host's words and starts the one that listens, which bears none.
  const line = ["-c", '"$1" -e "$2" & wait', "sh", process.execPath, serve, ...words];
  const host = spawn("sh", line, { detached: true, stdio: ["ignore", "pipe", "inherit"] });
  undo.push(() => process.kill(-host.pid!, "SIGKILL"));
  const [said] = await once(host.stdout, "data");
  const port = Number(String(said).trim());
  const ports = { api: 0, http: port, https: 0 };
  const own = await ask("port-http", { ports, state: join(root, "state") });
  expect(own).toMatchObject({ state: "ok", says: expect.stringContaining("this installation's own") });
  expect(await ask("port-http", { ports, state: join(root, "another") })).toMatchObject({
    state: "warning",
    says: expect.stringContaining(`casemate on ${join(root, "state")}`),
  });
});

it("counts errors in logs without showing one, and knows a folder of a newer release", async () => {
  const state = join(root, "state");
  const lines = [
    '{"level":30,"msg":"listening"}',
    '{"level":50,"msg":"secret"}',
    '{"event":"host.kept-halt-failed"}',
    '{"event":"host.link-fault"}',
  ];
  write("/state/logs/control.log", `${lines.join("\n")}\nTypeError: secret\n    at x\n`);
  const found = await ask("logs", { state });
  expect(found).toEqual({ state: "warning", says: `3 in ${join(state, "logs/control.log")}` });
  write("/state/version", "999.0.0\n");
  expect(await ask("release", { state })).toMatchObject({ state: "missing" });
  expect(await ask("running", { state })).toMatchObject({ state: "ok", says: "no, and it never ran" });
});

it("leaves nothing behind when it tries the database and the sandbox of this computer", async () => {
  const real = { ...thisComputer(join(root, "state")), temporary: root };
  const found = await examine(
    CHECKS.filter(({ id }) => ["database-trial", "sandbox", "cgroups"].includes(id)),
    real,
  );
  // What it says is this computer's business: that it was said, and by what, is ours.
  for (const { state, says } of found.checks)
    expect([state, says]).toEqual([state, expect.stringMatching(/./)]);
  await sleep(50);
  expect(readdirSync(root)).toEqual([]);
  expect(findProcesses(root)).toEqual([]);
  expect(findProcesses(`doctor-${process.pid}`)).toEqual([]);
}, 90_000);
