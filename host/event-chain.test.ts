// SPDX-License-Identifier: Apache-2.0
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { GENESIS } from "#evidence/proofs/hash.ts";
import { EventChain } from "./event-chain.ts";

const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

function written(): { path: string; chain: EventChain } {
  const folder = mkdtempSync(join(tmpdir(), "casemate-events-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "events");
  const chain = EventChain.create(path);
  undo.push(() => chain.close());
  chain.add("created");
  chain.add("exec.started", { input: false });
  chain.add("exec.ended", { exitCode: 0 });
  return { path, chain };
}

function reopened(path: string): EventChain {
  const chain = EventChain.reopen(path);
  undo.push(() => chain.close());
  return chain;
}

test("an empty chain has the hash of nothing for its head", () => {
  const { path } = written();
  rmSync(path);
  expect(reopened(path)).toMatchObject({ head: GENESIS, count: 0, faulty: false });
});

test("the next process goes on where the last one was killed", () => {
  const { path, chain } = written();
  const again = reopened(path);
  expect(again).toMatchObject({ head: chain.head, count: 3 });
  again.add("recovered");
  expect(reopened(path)).toMatchObject({ head: again.head, count: 4 });
});

test("a line torn by a kill is not an event", () => {
  const { path, chain } = written();
  appendFileSync(path, '{"event":{"n":4,"at":"20');
  const again = reopened(path);
  expect(again).toMatchObject({ head: chain.head, count: 3 });
  again.add("ended");
  expect(reopened(path)).toMatchObject({ count: 4 });
});

test.each([
  ["changed", (lines: string[]) => [lines[0]!, lines[1]!.replace("false", "true"), lines[2]!], 1],
  ["left out", (lines: string[]) => [lines[0]!, lines[2]!], 1],
  ["moved", (lines: string[]) => [lines[1]!, lines[0]!, lines[2]!], 0],
])("an event that was %s ends the chain before it", (_how, change, kept) => {
  const { path } = written();
  writeFileSync(path, `${change(readFileSync(path, "utf8").trimEnd().split("\n")).join("\n")}\n`);
  expect(reopened(path).count).toBe(kept);
});

test("a log that cannot be written is chained in memory and says so", () => {
  const chain = EventChain.create("/nowhere/events");
  chain.add("created");
  expect(chain).toMatchObject({ count: 1, faulty: true });
});
