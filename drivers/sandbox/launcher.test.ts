// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { newMachineId, run, SPEC } from "../conformance/machine.ts";
import type { DriverRecord } from "../driver.ts";
import { listPids, statusFields } from "./process-table.ts";
import type { SandboxRecord } from "./record.ts";
import { digestTree } from "./template.ts";
import { type OwnDriver, ownDriver } from "./testing.ts";

const ofUid = (uid: number | null) =>
  listPids().filter((pid) => {
    const fields = statusFields(pid);
    return fields?.get("Uid")?.startsWith(`${uid}\t`) && !fields.get("State")?.startsWith("Z");
  });

describeWith([bubblewrap, root], "the launcher", () => {
  let own: OwnDriver;
  let empty: string;
  beforeAll(async () => {
    empty = mkdtempSync(join(tmpdir(), "casemate-empty-"));
    const broken = { path: empty, digest: await digestTree(empty) };
    own = ownDriver("launcher", { templates: new Map([["broken", broken]]) });
  });
  afterAll(async () => {
    await own.close();
    rmdirSync(empty);
  });

  const start = async (image: string | null = null) => {
    const records: DriverRecord[] = [];
    const id = newMachineId();
    const done = own.driver.start(id, { ...SPEC, image }, async (record) => void records.push(record));
    await done.catch(() => {});
    return { id, done, record: records.at(-1) as SandboxRecord };
  };

  test("takes its machines with it when it dies, and another one starts the next", async () => {
    const { id, record } = await start();
    const died = new Promise<string>((resolve) => own.driver.onDeath((machineId) => resolve(machineId)));
    process.kill(own.driver.launcherPid!, "SIGKILL");
    expect(await died).toBe(id);
    const { steps } = await own.driver.stop(id);
    expect(Object.values(steps).every(({ ok }) => ok)).toBe(true);
    expect(ofUid(record.uid)).toEqual([]);
    const next = await start();
    expect((await run(own.driver, next.id, "echo again")).stdout).toBe("again\n");
    await own.driver.stop(next.id);
  });

  test("says why a sandbox did not start, and leaves no process and no folder of it", async () => {
    const { done, record } = await start("broken");
    await expect(done).rejects.toThrow(/casemate-empty-/);
    expect(ofUid(record.uid)).toEqual([]);
    for (const path of record.cgroups) expect(existsSync(path)).toBe(false);
  });

  test("gives a machine no descriptor of its own or of another machine", async () => {
    const first = await start();
    const second = await start();
    for (const { record } of [first, second])
      for (const pid of ofUid(record.uid)) {
        const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
        const strange = open.filter(
          (each) => !/^\/dev\/null$|^pipe:|^anon_inode:\[(eventfd|signalfd)\]$/.test(each),
        );
        expect(strange).toEqual([]);
        expect(open.length).toBeLessThan(8);
      }
    for (const { id } of [first, second]) await own.driver.stop(id);
  });
});
