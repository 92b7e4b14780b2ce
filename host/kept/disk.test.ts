// SPDX-License-Identifier: Apache-2.0
/** What a host lends of a disk, and what it takes for one: only when the wish says so, only whole, and nothing runs meanwhile. */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { StreamRequest } from "#contract/link/machine.ts";
import type { StreamEnd } from "#link/port.ts";
import { FlowStream } from "#link/stream.ts";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { serveKept } from "./streams.ts";
import { KeptBench, newId, wish } from "./testing.ts";

let folder: string;
let driver: AttestedDriver;
let bench: KeptBench;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-lent-"));
  driver = new AttestedDriver("vm", folder);
  bench = new KeptBench({}, driver);
});
afterEach(async () => {
  await bench.close();
  rmSync(folder, { recursive: true, force: true });
});

const VM = { ...wish(newId()).spec, isolation: "vm" as const };
const want = (id: string, change: object = {}) => ({ ...wish(id), spec: VM, ...change });

/** Both ends of a stream, as a connection joins them. */
function joined(): { here: FlowStream; there: FlowStream } {
  const wireTo = (other: () => FlowStream) => ({
    data: (channel: number, bytes: Uint8Array) => other().received(channel, bytes),
    credit: (bytes: number) => other().granted(bytes),
    finish: () => other().peerFinished(),
    cancel: () => other().peerCancelled(),
    end: (end: StreamEnd) => other().peerEnded(end),
    retired: () => {},
  });
  const here: FlowStream = new FlowStream(
    "opener",
    wireTo(() => there),
  );
  const there: FlowStream = new FlowStream(
    "server",
    wireTo(() => here),
  );
  return { here, there };
}

function open(request: StreamRequest): FlowStream {
  const { here, there } = joined();
  serveKept(bench.host, (event) => void bench.logged.push(event), request as never, there);
  return here;
}

const get = async (machineId: string): Promise<{ bytes: Buffer; end: StreamEnd }> => {
  const stream = open({ kind: "disk-get", machineId });
  stream.finish();
  const parts: Uint8Array[] = [];
  for await (const { bytes } of stream.chunks()) parts.push(bytes);
  return { bytes: Buffer.concat(parts), end: await stream.ended };
};

const part = (offset: number, bytes: Uint8Array): Buffer => {
  const head = Buffer.alloc(12);
  head.writeBigUInt64BE(BigInt(offset));
  head.writeUInt32BE(bytes.length, 8);
  return Buffer.concat([head, bytes]);
};
const wholeOf = (bytes: Uint8Array, sizeBytes: number) => ({
  sizeBytes,
  sha256: createHash("sha256").update(bytes).digest("hex"),
});

async function put(machineId: string, carry: number, bytes: Uint8Array, whole: unknown): Promise<StreamEnd> {
  const stream = open({ kind: "disk-put", machineId, carry });
  // Cut where no part begins.
  for (let at = 0; at < bytes.length; at += 1000)
    await stream.write(bytes.subarray(at, at + 1000)).catch(() => {});
  if (whole !== null) await stream.write(Buffer.from(JSON.stringify(whole)), 1).catch(() => {});
  stream.finish();
  return stream.ended;
}

const BLOCK = Buffer.alloc(4096, 7);
const DISK = Buffer.concat([part(4096, BLOCK), part(MIB(1), Buffer.alloc(0))]);
const NOT_HALTED = "the machine is not halted with its disk";
const NOTHING = Buffer.alloc(2_400_000);
function MIB(n: number): number {
  return n * 1024 * 1024;
}

/** Waits for its disk. */
async function coming(change: object = {}): Promise<string> {
  const id = newId();
  bench.host.accept([want(id, { disk: { carry: 3 }, ...change })], false);
  await expect
    .poll(() => bench.said.findLast((one) => one.machineId === id))
    .toMatchObject({ wantsDisk: true });
  return id;
}

it("a disk that came whole is lent as it came, by the machine that is halted", async () => {
  const id = await coming();
  expect(bench.said.at(-1)).toMatchObject({ state: "starting", wantsDisk: true, idle: true });
  expect(await get(id)).toMatchObject({ end: { kind: "failed", detail: NOT_HALTED } });
  const whole = wholeOf(DISK, MIB(1));
  expect(await put(id, 3, DISK, whole)).toEqual({ kind: "done", trailer: whole });
  bench.host.accept([want(id, { generation: 2, want: "halted" })], false);
  await bench.sees(id, "halted");
  const { bytes, end } = await get(id);
  expect([bytes.equals(DISK), end]).toEqual([true, { kind: "done", trailer: whole }]);
});

it("a machine that is wanted up lends nothing, and one that is halted waits for its disk as well", async () => {
  const id = newId();
  bench.host.accept([want(id)], false);
  await bench.sees(id, "starting");
  expect(bench.said.at(-1)).toMatchObject({ wantsPayload: true });
  expect((await get(id)).end).toMatchObject({ kind: "failed", detail: NOT_HALTED });
  const other = await coming({ want: "halted" });
  expect(bench.said.findLast((one) => one.machineId === other)).toMatchObject({ state: "halted" });
  // What it will have is not there yet: an older disk of its own would be taken for it.
  expect((await get(other)).end).toMatchObject({ kind: "failed", detail: NOT_HALTED });
  expect(await put(other, 3, DISK, wholeOf(DISK, MIB(1)))).toMatchObject({ kind: "done" });
});

it("nothing is started while a disk is to come, whatever payload is there", async () => {
  const id = await coming();
  bench.host.give(id, 1, { kind: "launch", manifest: "", image: "0".repeat(64), registries: [] });
  await put(id, 3, DISK, wholeOf(DISK, MIB(1)));
  await bench.turn();
  expect(bench.said.findLast((one) => one.machineId === id)).toMatchObject({
    state: "starting",
    wantsDisk: true,
  });
  bench.host.accept([want(id, { generation: 2 })], false);
  await expect.poll(() => bench.said.findLast((one) => one.machineId === id)?.wantsDisk).toBeUndefined();
});

it("no disk is taken that nobody wished for, or that was for an earlier giving of the machine", async () => {
  const id = newId();
  bench.host.accept([want(id)], false);
  await bench.sees(id, "starting");
  const whole = wholeOf(DISK, MIB(1));
  expect(await put(id, 3, DISK, whole)).toMatchObject({ kind: "failed", code: "host.not-ready" });
  expect(await put(newId(), 3, DISK, whole)).toMatchObject({ kind: "failed", code: "machine.not-running" });
  const other = await coming();
  expect(await put(other, 2, DISK, whole)).toMatchObject({ kind: "failed", code: "host.not-ready" });
  expect(driver.linesOn(other)).toBeNull();
});

it("a disk that is on its way is called off by another wish, which is then acted on", async () => {
  const id = await coming();
  const stream = open({ kind: "disk-put", machineId: id, carry: 3 });
  await stream.write(DISK);
  expect(await put(id, 3, DISK, wholeOf(DISK, MIB(1)))).toMatchObject({ detail: /on its way already/ });
  // A new start is no other disk.
  bench.host.accept([want(id, { generation: 2, incarnation: 2, disk: { carry: 3 } })], false);
  await bench.turn();
  bench.host.accept([want(id, { generation: 3, want: "down" })], false);
  expect(await stream.ended).toMatchObject({
    kind: "failed",
    detail: expect.stringMatching(/something else/),
  });
  await bench.sees(id, "ended");
  expect(driver.linesOn(id)).toBeNull();
});

it.each<[string, Uint8Array, unknown]>([
  ["no last word", DISK, null],
  ["a last word that is none", DISK, { sizeBytes: 1 }],
  ["a last word about other bytes", DISK, wholeOf(BLOCK, MIB(1))],
  ["a last word about another size", DISK, wholeOf(DISK, MIB(2))],
  ["half a part at the end", DISK.subarray(0, 100), wholeOf(DISK.subarray(0, 100), 4096)],
  ["a part behind the end of the disk", part(MIB(1024), BLOCK), null],
  [
    "a part at a place that no number of ours reaches",
    Buffer.concat([Buffer.alloc(8, 0xff), Buffer.alloc(4)]),
    null,
  ],
  ["a part before the last one", Buffer.concat([part(8192, BLOCK), part(4096, BLOCK)]), null],
  ["a part that is not of blocks", part(0, BLOCK.subarray(1)), null],
  ["a part larger than any", part(0, Buffer.alloc(64 * 4096, 1)), null],
  ["more parts of nothing than a disk has blocks", NOTHING, wholeOf(NOTHING, 0)],
  ["a last word that does not end", DISK, "x".repeat(2000)],
])("%s is no disk", async (_, bytes, whole) => {
  const id = await coming({ spec: { ...VM, kept: { ...VM.kept!, diskMiB: 2 } } });
  if (whole === null && bytes === DISK)
    expect(await put(id, 3, bytes, null)).toMatchObject({ kind: "failed" });
  else expect(await put(id, 3, bytes, whole)).toMatchObject({ kind: "failed", code: "platform.unexpected" });
  expect(driver.linesOn(id)).toBeNull();
  // And the next one is taken.
  expect(await put(id, 3, DISK, wholeOf(DISK, MIB(1)))).toMatchObject({ kind: "done" });
});

it("a driver whose disks are in clear lends none", async () => {
  const plain = new KeptBench();
  try {
    const id = await plain.up();
    plain.host.accept([wish(id, { generation: 2, want: "halted" })], false);
    await plain.sees(id, "halted");
    const { here, there } = joined();
    serveKept(plain.host, () => {}, { kind: "disk-get", machineId: id }, there);
    expect(await here.ended).toMatchObject({ kind: "failed", code: "host.not-ready" });
  } finally {
    await plain.close();
  }
});
