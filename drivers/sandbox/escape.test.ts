// SPDX-License-Identifier: Apache-2.0
/**
 * Real programs that try to get out, run the way a customer's would be: through exec. The attacker
 * owns the session wholly and wants another session's bytes, the host's, or to stay after its end.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { CHECKED, DENIED, type Machine } from "#confine/syscalls.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { newMachineId, run, SPEC } from "../conformance/machine.ts";
import { findCgroups, processesIn } from "./cgroups.ts";
import { listPids, statusFields } from "./process-table.ts";
import type { SandboxRecord } from "./record.ts";
import { type OwnDriver, ownDriver } from "./testing.ts";

const PROGRAMS = fileURLToPath(new URL("../../testing/escape/", import.meta.url));
const arch = process.arch as Machine;
const cgroups = findCgroups(`test-escape-${process.pid}`);
cgroups.close();
const counted = cgroups.kind !== "rlimits";

describeWith([bubblewrap, root], "an escape", () => {
  let own: OwnDriver;
  const opened: string[] = [];
  beforeAll(() => {
    own = ownDriver("escape");
  });
  afterAll(() => own.close());
  beforeEach(async () => {
    for (const id of opened.splice(0)) await own.driver.stop(id);
  });

  async function machine(spec = SPEC) {
    const id = newMachineId();
    const { record } = (await own.driver.start(id, spec, async () => {})) as { record: SandboxRecord };
    opened.push(id);
    return { id, record, sh: (command: string, ask = {}) => run(own.driver, id, command, ask) };
  }

  async function program(id: string, name: string) {
    const bytes = readFileSync(join(PROGRAMS, name));
    await own.driver.putFile(
      id,
      name,
      (async function* () {
        yield bytes;
      })(),
      1_000_000,
    );
  }

  test("every forbidden system call is refused with its own errno", async () => {
    const { id, sh } = await machine();
    await program(id, "forbidden-calls.pl");
    const calls = DENIED.filter((call) => call[arch] >= 0);
    const { stdout } = await sh(
      `perl forbidden-calls.pl ${calls.map((call) => `${call.name}=${call[arch]}`).join(" ")}`,
    );
    expect(stdout.trim().split("\n").sort()).toEqual(
      calls.map((call) => `${call.name} ${call.errno}`).sort(),
    );
  });

  test("arguments decide where a call is needed: new namespaces, raw and foreign sockets, typed-in keys", async () => {
    const { id, sh } = await machine();
    await program(id, "arguments.pl");
    const numbers = Object.entries(CHECKED).map(([name, by]) => `${name}=${by[arch]}`);
    const { stdout } = await sh(
      `perl arguments.pl ${numbers.join(" ")}; grep 'core file' /proc/self/limits | tr -s ' '`,
    );
    const got = Object.fromEntries(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.split(" ")),
    );
    for (const kind of ["user", "mount", "net", "pid", "cgroup"])
      expect(got[`clone-${kind}`], kind).toBe("1");
    for (const kind of ["unix", "inet", "inet6", "cloexec"]) expect(got[`socket-${kind}`], kind).toBe("0");
    for (const kind of ["raw", "raw6", "raw-cloexec", "old-packet"])
      expect(got[`socket-${kind}`], kind).toBe("1");
    for (const kind of ["packet", "netlink", "netlink-high", "vsock", "alg", "bluetooth"])
      expect(got[`socket-${kind}`], kind).toBe("97");
    for (const kind of ["tiocsti", "tiocsti-high", "tioclinux", "personality-no-random"])
      expect(got[kind], kind).toBe("1");
    expect(got["personality-read"]).toBe("0");
  });

  test("the core limit cannot be changed, so no host program is ever handed a session's memory", async () => {
    const { sh } = await machine();
    const ran = await sh(
      "ulimit -c 0; ulimit -c unlimited; grep -i 'core file' /proc/self/limits; perl -e 'kill SEGV, $$'; ls -A | grep core",
    );
    expect(ran.stdout).toMatch(/^Max core file size\s+1\s+1\s+bytes\s*$/);
  });

  test.runIf(process.arch === "x64")("the x32 twins of forbidden calls are refused", async () => {
    const { sh } = await machine();
    const { stdout } = await sh(`perl -e '$r = syscall(0x40000000 + 39); print $r == -1 ? $!+0 : "called"'`);
    expect(stdout).toBe("38");
  });

  test("another session's files, processes and names are not there", async () => {
    const victim = await machine();
    await victim.sh("echo marker-7f3a > secret-7f3a; (WORD=marker-7f3a sleep 30 >/dev/null 2>&1 &)");
    const thief = await machine();
    // The pattern is written so that the search does not find its own command line.
    const { stdout } = await thief.sh(
      "find / -path /usr -prune -o -name 'secret-7f[3]a*' -print 2>/dev/null;" +
        "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -a 'marker-7f[3]a';" +
        "ls -A /proc/[0-9]*/root/session 2>/dev/null | grep 'secret-7f[3]a'; echo done",
    );
    expect(stdout).toBe("done\n");
    expect(
      (await victim.sh("cat secret-7f3a; cat /proc/[0-9]*/environ | grep -ac 'marker-7f[3]a'")).stdout,
    ).toBe("marker-7f3a\n1\n");
  });

  test("host processes are neither seen nor reached by a signal", async () => {
    const { sh } = await machine();
    const { stdout } = await sh(
      `ls /proc | grep -c '^[0-9]'; kill -9 ${process.pid} ${own.driver.proberPid}; echo sent`,
    );
    const [processes, sent] = stdout.split("\n");
    expect(Number(processes)).toBeLessThan(8);
    expect(sent).toBe("sent");
    expect(await own.driver.selfTest()).toBe(true);
  });

  test("killing everything it can see ends its own commands and not the machine", async () => {
    const { sh } = await machine();
    await sh("sleep 3333 >/dev/null 2>&1 &");
    await sh("kill -9 1; kill -9 -1"); // the second spares only the caller
    expect((await sh("echo still; grep -al 'sleep.333[3]' /proc/[0-9]*/cmdline | wc -l")).stdout).toBe(
      "still\n0\n",
    );
  });

  test("nothing outside the four writable places can be written, nor a switch of the kernel", async () => {
    const { id, sh } = await machine();
    await program(id, "write-outside.sh");
    expect((await sh("sh write-outside.sh")).stdout).toBe("tried\n");
  });

  test("filling the writable places meets their size and leaves the host's as it was", async () => {
    const { sh } = await machine();
    const fill =
      "for d in /session /tmp /dev/shm /run/casemate/input; do head -c 1000000000 /dev/zero > $d/fill; stat -c %s $d/fill; done";
    const ran = await sh(fill);
    const sizes = ran.stdout.trim().split("\n").map(Number);
    expect(sizes).toHaveLength(4);
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(SPEC.memoryMiB * 1024 * 1024);
    expect((await sh("rm -f /session/fill; echo room > /session/room; cat /session/room")).stdout).toBe(
      "room\n",
    );
  });

  test.runIf(counted)("a fork bomb meets the limit and is ended whole", async () => {
    const { record, sh } = await machine();
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, ...record.cgroups.map((path) => processesIn(path).length));
    }, 20);
    const ran = await sh("perl -e '$SIG{TERM}=\"IGNORE\"; while (1) { fork }'", { timeoutMs: 500 });
    clearInterval(watch);
    expect(ran).toMatchObject({ exitCode: 124, timedOut: true });
    expect(most).toBeLessThanOrEqual(SPEC.pidsMax + 2); // the entry joins from outside
    expect(most).toBeGreaterThan(10);
    // The dead may still wait for process 1 to take note of them; what lived would go on for ever.
    const listed = async () => (await sh("ls /proc | grep -c '^[0-9]'")).stdout.trim();
    await expect.poll(listed, { timeout: 10_000 }).toMatch(/^[3-6]$/);
  });

  test.runIf(counted)("a memory bomb dies of its own limit", async () => {
    const { sh } = await machine();
    const ran = await sh("perl -e 'while (1) { push @x, \"y\" x (1 << 20) }'");
    expect(ran).toMatchObject({ exitCode: 137, oomKilled: true });
    expect((await sh("echo alive")).stdout).toBe("alive\n");
  });

  test("a daemon does not outlive the session", async () => {
    const { id, record, sh } = await machine();
    await sh(
      "perl -e 'fork and exit; setpgrp; fork and exit; $SIG{$_} = \"IGNORE\" for keys %SIG; sleep 1 while 1' >/dev/null 2>&1",
    );
    const ofUid = () =>
      listPids().filter((pid) => statusFields(pid)?.get("Uid")?.startsWith(`${record.uid}\t`));
    expect(ofUid().length).toBeGreaterThan(2);
    const facts = await own.driver.stop(id);
    expect(ofUid()).toEqual([]);
    expect(facts.steps.namespace).toMatchObject({ ok: true, measured: { tasks_found: 0 } });
  });

  test("the host's loopback, abstract and path sockets are out of reach", async () => {
    const mark = `casemate-escape-${process.pid}`;
    const path = join(own.folder, "host.sock");
    const servers = [createServer(), createServer(), createServer()] as const;
    const up = (server: Server, at: object | string) =>
      new Promise<void>((resolve) => server.listen(at as string, resolve));
    await Promise.all([
      up(servers[0], { host: "127.0.0.1", port: 0 }),
      up(servers[1], `\0${mark}`),
      up(servers[2], path),
    ]);
    const { port } = servers[0].address() as { port: number };
    let reached = 0;
    for (const server of servers) server.on("connection", () => reached++);
    const { id, sh } = await machine();
    await program(id, "reach-host.py");
    const ran = await sh(`python reach-host.py ${port} ${mark} ${path}`);
    for (const server of servers) server.close();
    expect(ran.stdout.match(/^refused /gm)).toHaveLength(3);
    expect(reached).toBe(0);
  });

  test("the entry program cannot be taken hold of from inside while it changes sides", async () => {
    const { id, sh } = await machine();
    await program(id, "watch-entry.pl");
    const watching = sh("perl watch-entry.pl");
    const until = performance.now() + 2500;
    while (performance.now() < until) await sh("true");
    const { stdout } = await watching;
    expect(Number(stdout.match(/^seen (\d+)$/m)?.[1])).toBeGreaterThan(2);
    expect(stdout).not.toContain("GOT");
  });

  test("a link in the session leads the host's file operations to the session's own view only", async () => {
    const { id, sh } = await machine();
    await sh("ln -s /etc/hostname name; ln -s /etc/shadow shadow; mkdir d; ln -s /usr/bin d/out");
    const read = async (path: string) => {
      const parts: Buffer[] = [];
      await own.driver.getFile(id, path, (bytes) => void parts.push(Buffer.from(bytes)));
      return Buffer.concat(parts).toString();
    };
    expect(await read("name")).toBe("session\n");
    await expect(read("shadow")).rejects.toMatchObject({ code: "machine.file-not-found" });
    const put = own.driver.putFile(
      id,
      "d/out/planted",
      (async function* () {
        yield Buffer.from("x");
      })(),
      10,
    );
    await expect(put).rejects.toMatchObject({ code: "machine.file-refused" });
    expect(readdirSync("/usr/bin")).not.toContain("planted");
    await own.driver.removeFile(id, "d/out");
    expect(statSync("/usr/bin/env").isFile()).toBe(true);
  });

  test("a program with the set-uid bit gives no rights", async () => {
    const { sh } = await machine();
    const { stdout } = await sh(
      "for f in $(find /usr/bin -perm -4000 2>/dev/null); do echo found; break; done; cp /usr/bin/id my-id; chmod 4755 my-id; ./my-id -u; grep -c nosuid /proc/self/mounts > /dev/null && echo nosuid",
    );
    expect(stdout).toMatch(/1000\nnosuid\n$/);
  });
});
