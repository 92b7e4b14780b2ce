// SPDX-License-Identifier: Apache-2.0
/** A disk that is read as parts and written from them is the same disk; one that does not come whole is none. */
import { randomBytes } from "node:crypto";
import {
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { halfOf, readDiskFile, writeDiskFile } from "./disk-file.ts";
import type { DiskPart } from "./kept-driver.ts";

const MIB = 1024 * 1024;
const never = new AbortController().signal;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-disk-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);

/** With holes between the first and the last block, and a stretch that is not a whole read. */
function writeDisk(name: string, sizeBytes: number, at: readonly number[]): Buffer {
  const fd = openSync(path(name), "w");
  ftruncateSync(fd, sizeBytes);
  for (const offset of at)
    writeSync(fd, randomBytes(Math.min(5000, sizeBytes - offset)), 0, undefined, offset);
  return readFileSync(path(name));
}

it.each([
  ["nothing but zeros", 130 * MIB, []],
  ["something in the first and the last block", 3 * MIB, [0, 3 * MIB - 4096]],
  ["something here and there", 9 * MIB, [1, 4096, 252 * 1024 - 3, MIB + 7, 5 * MIB]],
  ["no bytes at all", 0, []],
])("%s comes out as it went in, without the holes", async (_, sizeBytes, at) => {
  const before = writeDisk("a", sizeBytes, at);
  const parts: DiskPart[] = [];
  for await (const { offset, bytes } of await readDiskFile(path("a"), never))
    parts.push({ offset, bytes: Uint8Array.from(bytes) });
  expect(parts.at(-1)).toEqual({ offset: sizeBytes, bytes: new Uint8Array() });
  expect(parts.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeLessThanOrEqual(at.length * 3 * 4096);
  let last = 0;
  for (const { offset, bytes } of parts) {
    expect([offset % 4096, bytes.length % 4096, offset >= last]).toEqual([0, 0, true]);
    last = offset + bytes.length;
  }
  writeFileSync(path("b"), "what was there before");
  await writeDiskFile(path("b"), list(parts), never);
  expect(readFileSync(path("b")).equals(before)).toBe(true);
  expect(statSync(path("b")).blocks * 512).toBeLessThan(MIB);
});

it("says how far it is through nothing but zeros", async () => {
  writeDisk("a", 200 * MIB, []);
  const offsets: number[] = [];
  for await (const { offset } of await readDiskFile(path("a"), never)) offsets.push(offset);
  expect(offsets.length).toBeGreaterThanOrEqual(3);
});

it("parts that throw, and a signal that comes before the end, leave what was there and nothing beside it", async () => {
  writeFileSync(path("b"), "what was there before");
  writeFileSync(halfOf(path("b")), "of a process that was killed");
  const fails = (async function* () {
    yield { offset: 0, bytes: Buffer.from("half") };
    throw new Error("the sender went away");
  })();
  await expect(writeDiskFile(path("b"), fails, never)).rejects.toThrow("the sender went away");
  const call = new AbortController();
  const calledOff = (async function* () {
    yield { offset: 0, bytes: Buffer.from("half") };
    call.abort(new Error("called off"));
  })();
  await expect(writeDiskFile(path("b"), calledOff, call.signal)).rejects.toThrow("called off");
  expect(readFileSync(path("b"), "utf8")).toBe("what was there before");
  expect(readdirSync(folder)).toEqual(["b"]);
});

it("a disk that is not there is not read, and a link in its place is not followed", async () => {
  await expect(readDiskFile(path("a"), never)).rejects.toMatchObject({ code: "host.not-ready" });
  writeFileSync(path("elsewhere"), "secret");
  symlinkSync(path("elsewhere"), path("a"));
  await expect(readDiskFile(path("a"), never)).rejects.toMatchObject({ code: "ELOOP" });
  symlinkSync(path("elsewhere"), halfOf(path("b")));
  await writeDiskFile(path("b"), list([{ offset: 0, bytes: Buffer.from("disk") }]), never);
  expect([readFileSync(path("elsewhere"), "utf8"), existsSync(path("b"))]).toEqual(["secret", true]);
});

async function* list(parts: readonly DiskPart[]): AsyncGenerator<DiskPart> {
  yield* parts;
}
