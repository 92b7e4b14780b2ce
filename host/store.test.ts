// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { EndFacts } from "#drivers/driver.ts";
import { newMachineId, spec } from "#testing/recording-control.ts";
import { type EndingEntry, type LiveEntry, MachineStore } from "./store.ts";

const undo: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), "casemate-store-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function open(folder: string): Promise<MachineStore> {
  const store = await MachineStore.open(folder);
  undo.push(() => store.close().catch(() => {}));
  return store;
}

const liveOf = (machineId: string): LiveEntry => ({
  machineId,
  generation: 1,
  isolation: "process",
  subject: spec().endProof!.subject,
  bootId: "boot",
  record: { saltHex: "ab".repeat(32) },
});

const endingOf = ({ record: _, ...live }: LiveEntry): EndingEntry => ({
  live,
  trigger: "api",
  facts: { saltHex: "ab".repeat(32), startedAt: new Date(0) } as unknown as EndFacts,
  events: { head: "h", count: 1 },
  recovered: null,
});

const endedOf = (machineId: string) => ({ machineId, generation: 2, state: "ended" as const });
const files = (folder: string) => readdirSync(join(folder, "machines")).sort();

test("what was put is found by the next process, phase by phase", async () => {
  const folder = scratch();
  const id = newMachineId();
  const live = liveOf(id);
  let store = await open(folder);
  await store.putLive(live);
  await store.close();
  store = await open(folder);
  expect(store.live.get(id)).toEqual(live);
  await store.putEnding(endingOf(live));
  await store.close();
  store = await open(folder);
  // B: both files are there, the later phase wins.
  expect(files(folder)).toEqual([`${id}.ending`, `${id}.live`]);
  expect(store.live.size).toBe(0);
  expect(store.ending.get(id)).toEqual(endingOf(live));
  await store.releaseKey(id);
  await store.putEnded(endedOf(id));
  await store.close();
  store = await open(folder);
  expect([store.live.size, store.ending.size]).toEqual([0, 0]);
  expect(store.ended.get(id)?.observation).toEqual(endedOf(id));
  await store.forget(id);
  expect(files(folder)).toEqual([]);
});

test("a released key is zeros, and the record it sealed cannot be read any more", async () => {
  const folder = scratch();
  const id = newMachineId();
  const store = await open(folder);
  await store.putLive(liveOf(id));
  await store.putEnding(endingOf(liveOf(id)));
  expect(await store.releaseKey(id)).toEqual({ wiped: true });
  expect(files(folder)).toEqual([`${id}.ending`]);
});

test("a key that died with another process is not said to have been seen as zeros", async () => {
  const folder = scratch();
  const id = newMachineId();
  const first = await open(folder);
  await first.putLive(liveOf(id));
  await first.close();
  const second = await open(folder);
  await second.putEnding(endingOf(liveOf(id)));
  expect(await second.releaseKey(id)).toEqual({ wiped: null });
});

test.each(["changed", "another machine's", "empty"])(
  "a record that is %s is set aside and hides no other",
  async (how) => {
    const folder = scratch();
    const [bad, other, good] = [newMachineId(), newMachineId(), newMachineId()];
    const first = await open(folder);
    for (const id of [bad, other, good]) await first.putLive(liveOf(id));
    await first.close();
    const path = join(folder, "machines", `${bad}.live`);
    if (how === "changed") {
      const bytes = readFileSync(path);
      bytes[bytes.length - 20]! ^= 1;
      writeFileSync(path, bytes);
    } else if (how === "empty") writeFileSync(path, "");
    else renameSync(join(folder, "machines", `${other}.live`), path);
    const second = await open(folder);
    expect(second.unreadable).toEqual([`${bad}.live`]);
    expect(second.live.has(bad)).toBe(false);
    expect(second.live.has(good)).toBe(true);
    expect(files(folder)).toContain(`${bad}.live`);
  },
);

test("a write cut short by a kill leaves the bytes before it", async () => {
  const folder = scratch();
  const id = newMachineId();
  const live = liveOf(id);
  const first = await open(folder);
  await first.putLive(live);
  await first.close();
  writeFileSync(join(folder, "machines", `${id}.live.new`), "half");
  const second = await open(folder);
  expect(second.live.get(id)).toEqual(live);
  expect(files(folder)).toEqual([`${id}.live`]);
});

test("one process holds the folder", async () => {
  const folder = scratch();
  const first = await open(folder);
  await expect(MachineStore.open(folder)).rejects.toThrow(/another host process/);
  await first.close();
  await open(folder);
});
