// SPDX-License-Identifier: Apache-2.0
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { newMachineId, run, SPEC } from "../conformance/machine.ts";
import { listPids, namespaceInode, statusFields } from "./process-table.ts";
import type { SandboxRecord } from "./record.ts";
import { markOf } from "./recover.ts";
import { type OwnDriver, ownDriver } from "./testing.ts";

const HOST = fileURLToPath(new URL("./crashing-host.ts", import.meta.url));

const ofUid = (uid: number | null) =>
  listPids().filter((pid) => {
    const fields = statusFields(pid);
    return fields?.get("Uid")?.startsWith(`${uid}\t`) && !fields.get("State")?.startsWith("Z");
  });

describeWith([bubblewrap, root], "after a crash of the host", () => {
  let own: OwnDriver;
  beforeAll(() => {
    own = ownDriver("recover");
  });
  afterAll(() => own.close());

  /** Runs a host until it has printed `lines` lines and kills it; answers the last record it stored. */
  async function crash(hold: number, lines: number): Promise<{ machineId: string; record: SandboxRecord }> {
    const child = spawn(process.execPath, [HOST, JSON.stringify({ options: own.options, hold })], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let last: { machineId: string; record: SandboxRecord } | undefined;
    let seen = 0;
    for await (const line of createInterface({ input: child.stdout! })) {
      const said = JSON.parse(line);
      if (said.record) last = said;
      if (++seen === lines) break;
    }
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
    return last!;
  }

  test.each([
    ["before the sandbox exists", 1, 1],
    ["before the machine is reported", 2, 2],
    ["while it runs", 3, 3],
  ])("%s: everything is found and ended, and no overwrite is claimed", async (_, hold, lines) => {
    const { machineId, record } = await crash(hold, lines);
    const facts = await own.driver.recover(machineId, record);
    expect(ofUid(record.uid)).toEqual([]);
    for (const path of record.cgroups) expect(existsSync(path)).toBe(false);
    for (const [name, step] of Object.entries(facts.steps)) expect(step.ok, name).toBe(true);
    expect(facts.limits).toContain("overwrite_not_claimed");
    expect(facts.limits.includes("start_facts_lost")).toBe(record.started === null);
    expect(facts.steps.overwrite.measured).toMatchObject({
      passes: 0,
      bytes_overwritten: 0,
      read_back_ok: null,
    });
  });

  test("a process of the machine's uid that survived is ended", async () => {
    const { machineId, record } = await crash(2, 2);
    const survivor = spawn("sleep", ["600"], { uid: record.uid!, gid: record.uid!, stdio: "ignore" });
    const ended = new Promise((resolve) => survivor.once("exit", (_, signal) => resolve(signal)));
    await own.driver.recover(machineId, record);
    expect(await ended).toBe("SIGKILL");
  });

  test("a recorded pid that is another process by now is left alone", async () => {
    const { machineId, record } = await crash(2, 2);
    const stranger = spawn("sleep", ["600"], { stdio: "ignore" });
    const started = { ...record.started!, pid: stranger.pid! };
    const facts = await own.driver.recover(machineId, { ...record, started });
    expect(facts.steps.namespace.ok).toBe(true);
    expect(stranger.exitCode ?? stranger.signalCode).toBe(null);
    stranger.kill("SIGKILL");
  });

  test("numbers that a stranger was given since are not taken for the machine's", async () => {
    const { machineId, record } = await crash(2, 2);
    const stranger = newMachineId();
    // Another driver's machine stands for a container: it holds the numbers now.
    const other = ownDriver("stranger");
    const { started } = (await other.driver.start(stranger, SPEC, async () => {})).record as SandboxRecord;
    const reused = {
      ...record,
      started: { ...record.started!, namespaces: started!.namespaces, mounts: started!.mounts },
    };
    const facts = await own.driver.recover(machineId, reused);
    expect(facts.steps.namespace.ok && facts.steps.tmpfs.ok).toBe(true);
    expect(other.driver.live()).toEqual([stranger]);
    expect((await run(other.driver, stranger, "echo alive")).stdout).toBe("alive\n");
    await other.close();
  });

  test("after a restart of the host no recorded number is acted on", async () => {
    const { machineId, record } = await crash(2, 2);
    const stranger = spawn("sleep", ["600"], { uid: record.uid!, gid: record.uid!, stdio: "ignore" });
    // The recorded inode is now that of a namespace full of strangers.
    const namespaces = { ...record.started!.namespaces, net: namespaceInode(process.pid, "net")! };
    const before = { ...record, bootId: "another", started: { ...record.started!, namespaces } };
    const facts = await own.driver.recover(machineId, before);
    expect(facts.steps.namespace).toMatchObject({ ok: true, measured: { tasks_found: 0 } });
    expect(stranger.exitCode ?? stranger.signalCode).toBe(null);
    expect(facts.steps.namespace.measured.kill_method).toBe("ended by a restart of the host");
    stranger.kill("SIGKILL");
  });

  test("reap ends what nobody wants any more and spares what is alive or kept", async () => {
    const alive = newMachineId();
    await own.driver.start(alive, SPEC, async () => {});
    const { machineId: kept, record } = await crash(3, 3);
    const { machineId: unwanted, record: other } = await crash(3, 3);
    expect(await own.driver.reap(new Set([kept]))).toBe(1);
    for (const path of other.cgroups) expect(existsSync(path)).toBe(false);
    for (const path of record.cgroups) expect(existsSync(path)).toBe(true);
    expect((await run(own.driver, alive, "echo alive")).stdout).toBe("alive\n");
    expect(listPids().some((pid) => markOf(pid)?.endsWith(unwanted))).toBe(false);
    expect(await own.driver.reap(new Set())).toBe(1);
    await own.driver.stop(alive);
  });

  test("a session that puts another machine's mark, or a path, into its environment has only itself ended", async () => {
    const id = newMachineId();
    await own.driver.start(id, SPEC, async () => {});
    const fake = `CASEMATE_MACHINE=${own.owner}`;
    await run(
      own.driver,
      id,
      `(${fake}/../../etc sleep 60 & ${fake}/mach_${"f".repeat(32)} sleep 61 &) >/dev/null 2>&1`,
    );
    // A mark is there to be found from exec on, which may be after the shell has gone.
    const marked = (end: string) => listPids().some((pid) => markOf(pid)?.endsWith(end));
    await expect.poll(() => marked("/../../etc") && marked("f".repeat(32))).toBe(true);
    expect(await own.driver.reap(new Set())).toBe(1);
    expect((await run(own.driver, id, "cat /proc/[0-9]*/cmdline | grep -ac 6[0]")).stdout).toBe("1\n");
    await own.driver.stop(id);
  });

  test("a record of another shape is refused", async () => {
    await expect(own.driver.recover(newMachineId(), { v: 2 })).rejects.toMatchObject({
      code: "machine.record-unreadable",
    });
  });
});
