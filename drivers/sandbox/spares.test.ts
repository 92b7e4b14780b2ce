// SPDX-License-Identifier: Apache-2.0
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { newMachineId, run, SPEC } from "../conformance/machine.ts";
import { findCgroups } from "./cgroups.ts";
import type { SandboxOptions } from "./driver.ts";
import { listPids } from "./process-table.ts";
import type { SandboxRecord } from "./record.ts";
import { markOf } from "./recover.ts";
import { type OwnDriver, ownDriver } from "./testing.ts";

const HOST = fileURLToPath(new URL("./crashing-host.ts", import.meta.url));

/** Process 1 of each sandbox of this owner, by the id that it was made under. */
function sandboxesOf(owner: string): Map<string, number> {
  const found = new Map<string, number>();
  // bubblewrap outside has the mark on its command line and comes first; process 1 is younger.
  for (const pid of listPids().sort((a, b) => a - b)) {
    const mark = markOf(pid);
    if (mark?.startsWith(`${owner}/`) && !found.has(mark)) found.set(mark, pid);
  }
  return new Map([...found].map(([mark, pid]) => [mark.slice(owner.length + 1), pid]));
}

describeWith([bubblewrap, root], "a sandbox made ahead", () => {
  let own: OwnDriver;
  afterEach(() => own.close());

  const settle = (count: number) => expect.poll(() => own.driver.spares(), { timeout: 10_000 }).toBe(count);

  async function ready(spares: number, more: Partial<SandboxOptions> = {}): Promise<void> {
    own = ownDriver("spares", { spares, ...more });
    const first = newMachineId();
    await own.driver.start(first, SPEC, async () => {});
    await own.driver.stop(first);
    // As many as starts were seen: one.
    await settle(1);
  }

  /** Starts one; answers its records. */
  async function start(spec = SPEC): Promise<{ id: string; records: SandboxRecord[] }> {
    const id = newMachineId();
    const records: SandboxRecord[] = [];
    await own.driver.start(id, spec, async (record) => {
      records.push(record as SandboxRecord);
    });
    return { id, records };
  }

  test("becomes the next machine of its shape, complete in the first record", async () => {
    await ready(1);
    const [spare] = sandboxesOf(own.owner).keys();
    const { id, records } = await start();
    expect(records).toHaveLength(1);
    expect(records[0]).toMatchObject({ madeAs: spare, started: { seccompMode: 2, noNewPrivs: true } });
    expect(own.driver.live()).toEqual([id]);
    expect((await run(own.driver, id, "echo mine > file; cat file")).stdout).toBe("mine\n");
    const { steps } = await own.driver.stop(id);
    for (const [name, step] of Object.entries(steps)) expect(step.ok, name).toBe(true);
    for (const path of records[0]!.cgroups) expect(existsSync(path)).toBe(false);
  });

  test("serves one machine, and shares with no other what tells machines apart", async () => {
    await ready(2);
    const seen = new Set<unknown>();
    let members = 0;
    for (let round = 0; round < 4; round++) {
      const { id, records } = await start();
      const { uid, saltHex, canaryHex, cgroups, madeAs, started } = records.at(-1)!;
      const own1 = [uid, saltHex, canaryHex, cgroups[0], madeAs ?? id, started!.pid];
      for (const value of own1) seen.add(value);
      members += own1.length;
      await own.driver.stop(id);
      await expect.poll(() => own.driver.spares()).toBeGreaterThan(0);
    }
    expect(seen.size).toBe(members);
  });

  test("is not given to a machine of another shape; what is made ahead follows what is asked for", async () => {
    await ready(1);
    const [spare] = sandboxesOf(own.owner).keys();
    const larger = { ...SPEC, memoryMiB: 256 };
    const { id, records } = await start(larger);
    expect(records).toHaveLength(2);
    expect(records[1]!.madeAs).toBe(undefined);
    await own.driver.stop(id);
    await expect.poll(() => sandboxesOf(own.owner).has(spare!)).toBe(false);
    await settle(1);
    const next = await start(larger);
    expect(next.records).toHaveLength(1);
    const session = next.records[0]!.started!.mounts.find(({ target }) => target === "/session");
    expect(session!.sizeBytes).toBe(128 * 1024 * 1024);
    await own.driver.stop(next.id);
  });

  test("that died while it waited is given to nobody, and leaves nothing", async () => {
    await ready(1);
    const [[spare, pid] = ["", 0]] = sandboxesOf(own.owner);
    const paths = findCgroups(own.owner).plan(spare).paths;
    process.kill(pid, "SIGKILL");
    // Gone, and nobody has told the driver yet: its turn comes after this.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    expect(own.driver.spares()).toBe(1);
    const { id, records } = await start();
    expect(records.at(-1)!.madeAs).not.toBe(spare);
    expect((await run(own.driver, id, "echo alive")).stdout).toBe("alive\n");
    await expect.poll(() => paths.some((path) => existsSync(path))).toBe(false);
    await own.driver.stop(id);
  });

  test("whose machine cannot be recorded is ended", async () => {
    await ready(1);
    const [spare] = sandboxesOf(own.owner).keys();
    const full = async () => {
      throw new Error("disk full");
    };
    await expect(own.driver.start(newMachineId(), SPEC, full)).rejects.toMatchObject({
      code: "machine.start-failed",
    });
    expect([own.driver.live(), sandboxesOf(own.owner).has(spare!)]).toEqual([[], false]);
  });

  test("is spared by a reap, as is the machine it became", async () => {
    await ready(2);
    const { id } = await start();
    await settle(2);
    expect(await own.driver.reap(new Set())).toBe(0);
    expect([own.driver.spares(), own.driver.live()]).toEqual([2, [id]]);
    expect((await run(own.driver, id, "echo alive")).stdout).toBe("alive\n");
    await own.driver.stop(id);
  });

  test("ends with its driver", async () => {
    await ready(2);
    const [spare] = sandboxesOf(own.owner).keys();
    const paths = findCgroups(own.owner).plan(spare!).paths;
    await own.close();
    expect([...sandboxesOf(own.owner)]).toEqual([]);
    for (const path of paths) expect(existsSync(path)).toBe(false);
  });

  test("holds its numbers: a recovery does not take them for those of a machine that is gone", async () => {
    await ready(1);
    const { id, records } = await start();
    await own.driver.stop(id);
    await settle(1);
    const [, pid] = [...sandboxesOf(own.owner)][0]!;
    const first = listPids().find((each) => each > pid && markOf(each)?.startsWith(`${own.owner}/`))!;
    const { namespaceInode, mountLines } = await import("./process-table.ts");
    const { started } = records[0]!;
    const lines = mountLines(first)!;
    const reused = {
      ...started!,
      namespaces: { ...started!.namespaces, pid: namespaceInode(first, "pid")! },
      mounts: started!.mounts.map((mount) => ({
        ...mount,
        device: lines.findLast(({ target }) => target === mount.target)!.device,
      })),
    };
    // Without a uid of its own nothing but the numbers tells whose they are.
    const { steps } = await own.driver.recover(newMachineId(), {
      ...records[0]!,
      madeAs: newMachineId(),
      cgroups: [],
      uid: null,
      started: reused,
    });
    expect([steps.namespace.ok, steps.tmpfs.ok]).toEqual([true, true]);
    expect(own.driver.spares()).toBe(1);
  });

  test("after a kill of the host: the machine is ended by its record, and the others are reaped", async () => {
    own = ownDriver("spares");
    const ask = { options: { ...own.options, spares: 2 }, hold: 0 };
    const child = spawn(process.execPath, [HOST, JSON.stringify(ask)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let last: { machineId: string; record: SandboxRecord } | undefined;
    for await (const line of createInterface({ input: child.stdout! })) {
      const said = JSON.parse(line);
      if (said.record) last = said;
      else break;
    }
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
    const { machineId, record } = last!;
    expect(record.madeAs).toMatch(/^mach_/);
    const { steps } = await own.driver.recover(machineId, record);
    for (const [name, step] of Object.entries(steps)) expect(step.ok, name).toBe(true);
    for (const path of record.cgroups) expect(existsSync(path)).toBe(false);
    expect(await own.driver.reap(new Set())).toBeGreaterThan(0);
    expect(findCgroups(own.owner).machines().size).toBe(0);
    expect([...sandboxesOf(own.owner)]).toEqual([]);
  });
});
