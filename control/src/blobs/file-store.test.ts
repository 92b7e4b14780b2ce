// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { describeWith, root } from "#testing/requirements.ts";
import { blobStoreConformance } from "./conformance.ts";
import { openFileStore } from "./file-store.ts";

const filesIn = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

blobStoreConformance("a folder", async () => {
  const folder = mkdtempSync(join(tmpdir(), "casemate-blobs-"));
  return {
    store: await openFileStore(folder),
    reopen: () => openFileStore(folder),
    contents: async () => filesIn(folder),
    [Symbol.asyncDispose]: async () => rmSync(folder, { recursive: true, force: true }),
  };
});

async function* endless(chunk: number): AsyncGenerator<Uint8Array> {
  for (let n = 0; n < 1000; n++) yield randomBytes(chunk);
}

it("is for its own uid only: folders 0700, files 0600", async () => {
  const folder = mkdtempSync(join(tmpdir(), "casemate-blobs-"));
  try {
    const store = await openFileStore(folder);
    async function* one() {
      yield Buffer.from("x");
    }
    const { digest } = await store.put(one(), { bytesMax: 1 });
    await store.begin();
    const hex = digest.slice(7);
    expect(filesIn(join(folder, "blobs"))).toEqual([
      join(folder, "blobs", hex.slice(0, 2), hex.slice(2, 4), hex),
    ]);
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      const mode = statSync(join(entry.parentPath, entry.name)).mode & 0o777;
      expect([entry.name, mode]).toEqual([entry.name, entry.isFile() ? 0o600 : 0o700]);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

describeWith([root], "a folder on a disk of 8 MiB", () => {
  it("that is full says so, leaves nothing, and takes what fits afterwards", async () => {
    const folder = mkdtempSync(join(tmpdir(), "casemate-full-"));
    try {
      expect(spawnSync("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]).status).toBe(0);
      const store = await openFileStore(folder);
      await expect(store.put(endless(100_000), { bytesMax: 1e9 })).rejects.toMatchObject({
        code: "platform.no-space",
      });
      expect(filesIn(folder)).toEqual([]);
      // An upload keeps what it had before the attempt that met the end of the disk.
      const upload = await store.begin();
      const begun = randomBytes(1_000_000);
      async function* some() {
        yield begun;
      }
      await store.append(upload, 0, some(), () => {});
      await expect(store.append(upload, 1_000_000, endless(100_000), () => {})).rejects.toMatchObject({
        code: "platform.no-space",
      });
      expect(await store.sizeOfUpload(upload)).toBe(1_000_000);
      const { digest } = await store.hash(upload);
      expect(digest).toBe(`sha256:${createHash("sha256").update(begun).digest("hex")}`);
      await store.finish(upload, digest);
      expect(await store.stat(digest)).toEqual({ digest, sizeBytes: 1_000_000 });
    } finally {
      spawnSync("umount", [folder]);
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
