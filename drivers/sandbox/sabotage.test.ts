// SPDX-License-Identifier: Apache-2.0
/**
 * Each claim of the proof is broken on purpose, from outside and with root's rights, and exactly the
 * step that makes the claim must say so. The saboteur stands for a fault of ours or a curious operator.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { hold } from "#testing/held-process.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { newMachineId, run, SPEC } from "../conformance/machine.ts";
import type { EndFacts } from "../driver.ts";
import { listPids, statusFields, tryRead } from "./process-table.ts";
import type { SandboxRecord } from "./record.ts";
import { type OwnDriver, ownDriver } from "./testing.ts";

const failed = ({ steps }: EndFacts) =>
  Object.entries(steps)
    .filter(([, step]) => !step.ok)
    .map(([name]) => name);

describeWith([bubblewrap, root], "a sabotaged end", () => {
  let own: OwnDriver;
  let spool: string;
  beforeAll(() => {
    spool = mkdtempSync(join(tmpdir(), "casemate-spool-"));
    mkdirSync(join(spool, "deep"));
    writeFileSync(join(spool, "host.log"), "started\n");
    own = ownDriver("sabotage", {
      traces: { folders: [join(spool, "deep")], logs: [join(spool, "host.log")] },
    });
  });
  afterAll(async () => {
    await own.close();
    rmSync(spool, { recursive: true, force: true });
  });

  async function started() {
    const id = newMachineId();
    const { record } = (await own.driver.start(id, SPEC, async () => {})) as { record: SandboxRecord };
    await run(own.driver, id, "echo secret > secret");
    return { id, record, pid: record.started!.pid };
  }

  test("nothing is found when nothing was done", async () => {
    const { id } = await started();
    const facts = await own.driver.stop(id);
    expect(failed(facts)).toEqual([]);
    expect(facts.steps.namespace.measured.network_mode).toBe("none");
    expect(facts.steps.overwrite.measured.core_limit_bytes).toBe(1);
    // Its place among the machines, and its uid's.
    expect(facts.steps.identity.measured.slots_released).toBe(2);
    expect(facts.steps.identity.skipped.map(({ name }) => name)).toEqual(["account_keys"]);
    expect(facts.steps.forensic.skipped).toEqual([]);
    expect(facts.limits).toEqual([
      "freed_pages_not_zeroed",
      "host_kernel_trusted",
      "single_pass",
      "host_root_shared",
    ]);
  });

  test("a task in one of its namespaces fails step 1 alone", async () => {
    const { id, pid } = await started();
    // Joined to the network namespace only: it is in no pid namespace that dies and sees no mount.
    const task = await hold("nsenter", ["--net", "-t", String(pid), "sh", "-c", "echo in; exec sleep 60"]);
    const facts = await own.driver.stop(id);
    await task.end();
    expect(failed(facts)).toEqual(["namespace"]);
    expect(facts.steps.namespace.measured.tasks_found).toBeGreaterThan(0);
  });

  test("a task in its mount namespace fails step 1, and step 2 for the mounts it keeps", async () => {
    const { id, pid } = await started();
    const task = await hold("nsenter", ["--mount", "-t", String(pid), "sh", "-c", "echo in; exec sleep 60"]);
    const facts = await own.driver.stop(id);
    await task.end();
    expect(failed(facts)).toEqual(["namespace", "tmpfs"]);
    expect(facts.steps.namespace.measured.tasks_found).toBe(1);
  });

  test("an open file fails step 2 alone", async () => {
    const { id, pid } = await started();
    const fd = openSync(`/proc/${pid}/root/session/secret`, "r");
    const facts = await own.driver.stop(id);
    closeSync(fd);
    expect(failed(facts)).toEqual(["tmpfs"]);
    expect(facts.steps.tmpfs.measured.mounts.map((mount) => mount.open_fds_found)).toEqual([1, 0, 0, 0]);
  });

  test("a file that is mapped and no longer open fails step 2 alone", async () => {
    const { id, pid } = await started();
    const map =
      "import mmap, sys, time\nf = open(sys.argv[1], 'rb')\nm = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)\n";
    // mmap keeps a duplicate of the descriptor; every descriptor above 2 is closed behind its back.
    const close = "import os\nos.closerange(3, 100)\nprint('mapped', flush=True)\ntime.sleep(60)";
    const mapped = await hold("/usr/bin/python3", ["-c", map + close, `/proc/${pid}/root/session/secret`]);
    const facts = await own.driver.stop(id);
    await mapped.end();
    expect(failed(facts)).toEqual(["tmpfs"]);
    expect(facts.steps.tmpfs.measured.mounts.map((mount) => mount.open_fds_found)).toEqual([1, 0, 0, 0]);
  });

  // The call numbers in it are those of x86_64.
  test.runIf(process.arch === "x64")(
    "a mount in a namespace of somebody else fails step 2 alone",
    async () => {
      const { id, pid } = await started();
      const at = mkdtempSync(join(tmpdir(), "casemate-mount-"));
      // open_tree(2) and move_mount(2), so that a mount of another namespace can be taken: only perl has no wrapper for it.
      const take = `
      my ($ns, $at, $tmp, $none, $top, $empty) = (@ARGV, '/tmp', 'none', '/', '');
      open(my $session, '<', "/proc/$ns/root/tmp") or die; open(my $own, '<', '/proc/self/ns/mnt') or die;
      open(my $theirs, '<', "/proc/$ns/ns/mnt") or die;
      syscall(308, fileno($theirs), 0x20000) == 0 or die "setns: $!";
      my $tree = syscall(428, -100, $tmp, 1 | 0x80000); die "open_tree: $!" if $tree < 0;
      syscall(308, fileno($own), 0x20000) == 0 or die "back: $!";
      close $session;
      syscall(272, 0x20000) == 0 or die "unshare: $!";
      syscall(165, $none, $top, 0, 0x44000, 0) == 0 or die "private: $!";
      syscall(429, $tree, $empty, -100, $at, 4) == 0 or die "move_mount: $!";
      syscall(3, $tree); syscall(3, fileno($theirs)); chdir "/"; $| = 1; print "mounted\\n"; sleep 60`;
      const mount = await hold("perl", ["-e", take, String(pid), at]);
      const facts = await own.driver.stop(id);
      await mount.end();
      rmdirSync(at);
      expect(failed(facts)).toEqual(["tmpfs"]);
      expect(facts.steps.tmpfs.measured.mounts.map((each) => each.mountinfo_found)).toEqual([0, 1, 0, 0]);
    },
  );

  test("a page that somebody writes again after the overwrite fails step 3, with the held file that let him", async () => {
    const { id, pid } = await started();
    await run(own.driver, id, "head -c 20000000 /dev/zero > big");
    const write =
      "open F, '+<', $ARGV[0] or die; $| = 1; print qq(in\\n); while (1) { sysseek F, 0, 0; syswrite F, 'again' }";
    const writer = await hold("perl", ["-e", write, `/proc/${pid}/root/session/big`]);
    const facts = await own.driver.stop(id);
    await writer.end();
    expect(failed(facts)).toEqual(["tmpfs", "overwrite"]);
    expect(facts.steps.overwrite.measured.read_back_ok).toBe(false);
  });

  test("a cgroup that cannot be removed fails step 5 alone", async () => {
    const { id, record } = await started();
    const task = await hold("sh", ["-c", "echo in; exec sleep 60"]);
    writeFileSync(join(record.cgroups[0]!, "cgroup.procs"), String(task.child.pid));
    const facts = await own.driver.stop(id);
    await task.end();
    for (const path of record.cgroups) if (existsSync(path)) rmdirSync(path);
    expect(failed(facts)).toEqual(["identity"]);
    expect(facts.steps.identity.measured.cgroup_removed).toBe(false);
  });

  test("the canary in a spool folder fails step 6 alone", async () => {
    const { id, record } = await started();
    writeFileSync(join(spool, "deep", "upload"), `${"x".repeat(1_048_570)}${record.canaryHex}`);
    const facts = await own.driver.stop(id);
    rmSync(join(spool, "deep", "upload"));
    expect(failed(facts)).toEqual(["forensic"]);
    expect(facts.steps.forensic.measured.probes.filter(({ ok }) => !ok).map(({ name }) => name)).toEqual([
      "canary in spool folders",
    ]);
  });

  test("the canary in a log fails step 6 alone", async () => {
    const { id, record } = await started();
    writeFileSync(join(spool, "host.log"), `a line\n${record.canaryHex}\nanother\n`);
    const facts = await own.driver.stop(id);
    writeFileSync(join(spool, "host.log"), "");
    expect(failed(facts)).toEqual(["forensic"]);
  });

  test("a prober that dies is started again and the question asked again", async () => {
    const { id } = await started();
    process.kill(own.driver.proberPid!, "SIGKILL");
    expect(failed(await own.driver.stop(id))).toEqual([]);
  });

  test("when the watch on its file systems is lost, they are searched for instead", async () => {
    const { id } = await started();
    // Large, so that there is time between the setting of the watch and the question about it.
    await run(own.driver, id, "head -c 50000000 /dev/urandom > large");
    const watcher = watcherOf(own.driver.proberPid!);
    const ended = own.driver.stop(id);
    await vi.waitUntil(() => watchesOf(watcher) > 0, { timeout: 10_000, interval: 1 });
    process.kill(watcher, "SIGKILL");
    const facts = await ended;
    expect(failed(facts)).toEqual([]);
    expect(watcherOf(own.driver.proberPid!, false)).toBe(0);
  });
});

/** The prober's own child that watches file systems. */
function watcherOf(prober: number, required = true): number {
  const found = listPids().find(
    (pid) =>
      statusFields(pid)?.get("PPid") === String(prober) && !statusFields(pid)?.get("State")?.startsWith("Z"),
  );
  if (found === undefined && required) throw new Error("nothing watches");
  return found ?? 0;
}

function watchesOf(pid: number): number {
  return (
    readdirSync(`/proc/${pid}/fdinfo`)
      .map((fd) => tryRead(`/proc/${pid}/fdinfo/${fd}`) ?? "")
      .join("")
      .split("inotify wd:").length - 1
  );
}
