// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { describeWith, type Requirement } from "../testing/requirements.ts";
import { type FrameOptions, readFrames, split } from "./frames.ts";

const ffmpeg: Requirement = {
  met: spawnSync("ffmpeg", ["-version"]).status === 0,
  reason: "needs ffmpeg",
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-frames-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const options = (more: Partial<FrameOptions>): FrameOptions => ({
  ...{ source: folder, framesPerSecond: 100, loop: false, signal: new AbortController().signal },
  ...more,
});
const jpeg = (background: string) =>
  sharp({ create: { width: 64, height: 48, channels: 3, background } })
    .jpeg()
    .toBuffer();

it("pictures of a folder come in the order of their names, and nothing else of it does", async () => {
  for (const name of ["b.png", "a.JPG", "notes.txt", "c.webp"]) writeFileSync(join(folder, name), name);
  mkdirSync(join(folder, "more"));
  const names: string[] = [];
  for await (const { name } of readFrames(options({}))) names.push(name);
  expect(names).toEqual(["a.JPG", "b.png", "c.webp"]);
});

it("who asks for more begins again, until told to stop", async () => {
  writeFileSync(join(folder, "a.png"), "a");
  const stopping = new AbortController();
  let seen = 0;
  for await (const _ of readFrames(options({ loop: true, signal: stopping.signal })))
    if (++seen === 5) stopping.abort();
  expect(seen).toBe(5);
});

describe("a stream of pictures", () => {
  it.each([1, 7, 1000, 1_000_000])("is taken apart where they end, in pieces of %i bytes", async (size) => {
    const pictures = await Promise.all(["#ff0000", "#00ff00", "#0000ff"].map(jpeg));
    const all = Buffer.concat(pictures);
    async function* pieces() {
      for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size);
    }
    const found: Buffer[] = [];
    for await (const picture of split(pieces())) found.push(Buffer.from(picture));
    expect(found.map((each, at) => each.equals(pictures[at]!))).toEqual([true, true, true]);
  });

  it("without an end is refused before it fills the memory", async () => {
    async function* endless() {
      yield Buffer.from([0xff, 0xd8, 0xff]);
      for (;;) yield Buffer.alloc(1024 * 1024);
    }
    const read = async () => {
      for await (const _ of split(endless())) throw new Error("found something");
    };
    await expect(read()).rejects.toThrow("too large");
  });
});

describeWith([ffmpeg], "a video", () => {
  it("is given as pictures of the rate that is asked for", async () => {
    const source = join(folder, "v.mp4");
    const made = ["-loglevel", "error", "-f", "lavfi", "-i", "color=c=red:s=64x48:d=2:r=10", source];
    expect(spawnSync("ffmpeg", made).status).toBe(0);
    const sizes: (number | undefined)[] = [];
    for await (const { picture } of readFrames(options({ source, framesPerSecond: 5 })))
      sizes.push((await sharp(picture).metadata()).width);
    expect(sizes.length).toBeGreaterThanOrEqual(9);
    expect(new Set(sizes)).toEqual(new Set([64]));
  });

  it("that is none is said to be, and a list that leads elsewhere is not followed", async () => {
    writeFileSync(join(folder, "v.mp4"), "nothing");
    const read = async (source: string) => {
      for await (const _ of readFrames(options({ source }))) throw new Error("found something");
    };
    await expect(read(join(folder, "v.mp4"))).rejects.toThrow("ffmpeg ended with");
    const list = join(folder, "v.m3u8");
    writeFileSync(
      list,
      "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n#EXT-X-ENDLIST\n",
    );
    await expect(read(list)).rejects.toThrow(/ffmpeg|video/);
  });
});
