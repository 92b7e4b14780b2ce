// SPDX-License-Identifier: Apache-2.0
/** What every blob store keeps; `port.ts` says it in words. */
import { createHash, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BlobStore, Digest } from "./port.ts";

export interface StoreUnderTest extends AsyncDisposable {
  store: BlobStore;
  /** Another process's view of the same store: nothing of the first one's memory is known to it. */
  reopen(): Promise<BlobStore>;
  /** Everything that lies in it, blobs and uploads, as text: nothing of a failed attempt may be left. */
  contents(): Promise<string[]>;
}

const digestOf = (bytes: Uint8Array): Digest => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const anything = () => {};
async function* from(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
async function* thenBroken(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
  throw new Error("the line broke");
}
async function all<T>(given: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const each of given) list.push(each);
  return list;
}
async function bytesOf(chunks: AsyncIterable<Uint8Array> | null): Promise<Buffer> {
  return Buffer.concat(await all(chunks!));
}

export function blobStoreConformance(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`${name} as a blob store`, () => {
    let subject: StoreUnderTest;
    let store: BlobStore;
    beforeAll(async () => {
      subject = await open();
      store = subject.store;
    });
    afterAll(() => subject[Symbol.asyncDispose]());

    it("gives back under their digest the bytes that were put, whole and in part", async () => {
      const bytes = randomBytes(1_000_000);
      const digest = digestOf(bytes);
      const put = await store.put(from(bytes.subarray(0, 7), bytes.subarray(7)), {
        bytesMax: 1_000_000,
        digest,
      });
      expect(put).toEqual({ digest, sizeBytes: 1_000_000 });
      expect(await store.stat(digest)).toEqual(put);
      expect((await bytesOf(await store.get(digest))).equals(bytes)).toBe(true);
      for (const [first, last] of [
        [0, 0],
        [999_999, 999_999],
        [300_000, 700_000],
      ] as const) {
        const part = await bytesOf(await store.get(digest, { first, last }));
        expect(part.equals(bytes.subarray(first, last + 1))).toBe(true);
      }
    });

    it("keeps what a chunk held when it came, whatever its sender does with it afterwards", async () => {
      // More than a piece of any store, in chunks that end in the middle of one.
      const bytes = randomBytes(9_000_000);
      async function* lent() {
        const chunk = Buffer.alloc(70_000);
        for (let at = 0; at < bytes.length; at += chunk.length) {
          yield chunk.subarray(0, bytes.copy(chunk, 0, at));
          chunk.fill(0);
        }
      }
      const { digest } = await store.put(lent(), { bytesMax: 1e7 });
      expect(digest).toBe(digestOf(bytes));
      expect((await bytesOf(await store.get(digest))).equals(bytes)).toBe(true);
    });

    it("takes an empty blob", async () => {
      const { digest } = await store.put(from(), { bytesMax: 0 });
      expect(digest).toBe(digestOf(Buffer.alloc(0)));
      expect(await bytesOf(await store.get(digest))).toHaveLength(0);
    });

    it("knows nothing of what was never put", async () => {
      const digest = digestOf(randomBytes(8));
      expect([await store.stat(digest), await store.get(digest)]).toEqual([null, null]);
      await store.remove(digest);
    });

    it.each([
      ["of another digest", () => ({ digest: digestOf(randomBytes(4)), bytesMax: 100 }), "blob.digest"],
      ["larger than allowed", () => ({ bytesMax: 9 }), "blob.size"],
    ])("refuses bytes %s, and nothing of them is left", async (_what, expected, code) => {
      const before = await subject.contents();
      const bytes = randomBytes(10);
      await expect(store.put(from(bytes), expected())).rejects.toMatchObject({ code });
      expect(await store.stat(digestOf(bytes))).toBeNull();
      expect(await subject.contents()).toEqual(before);
    });

    it("leaves nothing of a put whose source broke off", async () => {
      const before = await subject.contents();
      await expect(store.put(thenBroken(randomBytes(100)), { bytesMax: 1e6 })).rejects.toThrow("broke");
      expect(await subject.contents()).toEqual(before);
    });

    it("resumes an upload that broke off, in this process and in another", async () => {
      const bytes = randomBytes(300_000);
      const upload = await store.begin();
      await expect(store.append(upload, 0, thenBroken(bytes.subarray(0, 100_000)), anything)).rejects.toThrow(
        "broke",
      );
      expect(await store.sizeOfUpload(upload)).toBe(100_000);
      expect(await store.append(upload, 100_000, from(bytes.subarray(100_000, 200_000)), anything)).toBe(
        200_000,
      );
      const other = await subject.reopen();
      expect(await other.sizeOfUpload(upload)).toBe(200_000);
      expect(await other.append(upload, 200_000, from(bytes.subarray(200_000)), anything)).toBe(300_000);
      // What the first one remembers of it is no longer the whole.
      for (const each of [store, other])
        expect(await each.hash(upload)).toEqual({ digest: digestOf(bytes), sizeBytes: 300_000 });
      await other.finish(upload, digestOf(bytes));
      expect((await bytesOf(await store.get(digestOf(bytes)))).equals(bytes)).toBe(true);
      expect(await store.sizeOfUpload(upload)).toBeNull();
    });

    it("appends only where an upload ends, and hears beforehand of every byte", async () => {
      const upload = await store.begin();
      await store.append(upload, 0, from(randomBytes(5)), anything);
      await expect(store.append(upload, 4, from(randomBytes(1)), anything)).rejects.toMatchObject({
        code: "blob.range",
      });
      const asked: number[] = [];
      const until = (size: number) => {
        asked.push(size);
        if (size > 10) throw new Error("enough");
      };
      await expect(store.append(upload, 5, from(randomBytes(5), randomBytes(1)), until)).rejects.toThrow(
        "enough",
      );
      expect([asked, await store.sizeOfUpload(upload)]).toEqual([[10, 11], 10]);
      await store.drop(upload);
      await expect(store.append(upload, 10, from(), anything)).rejects.toMatchObject({
        code: "blob.upload-unknown",
      });
    });

    it("lets one write to an upload at a time", async () => {
      const upload = await store.begin();
      const go = Promise.withResolvers<void>();
      async function* slow() {
        yield randomBytes(1);
        await go.promise;
      }
      const first = store.append(upload, 0, slow(), anything);
      await sleep(20);
      await expect(store.append(upload, 1, from(randomBytes(1)), anything)).rejects.toMatchObject({
        code: "blob.upload-busy",
      });
      go.resolve();
      expect(await first).toBe(1);
      await store.drop(upload);
    });

    it("takes the same blob from two at once, and has it once", async () => {
      const bytes = randomBytes(200_000);
      const digest = digestOf(bytes);
      await Promise.all([1, 2, 3].map(() => store.put(from(bytes), { digest, bytesMax: 1e6 })));
      expect((await bytesOf(await store.get(digest))).equals(bytes)).toBe(true);
      const listed = await all(store.list());
      expect(listed.filter((each) => each.digest === digest)).toEqual([{ digest, sizeBytes: 200_000 }]);
    });

    it("removes a blob under the hands of a reader, who reads on", async () => {
      const bytes = randomBytes(2_000_000);
      const { digest } = await store.put(from(bytes), { bytesMax: 1e7 });
      const reading = (await store.get(digest))!;
      await store.remove(digest);
      await store.remove(digest);
      expect(await store.stat(digest)).toBeNull();
      expect((await bytesOf(reading)).equals(bytes)).toBe(true);
    });

    it("drops uploads that nobody goes on with, and no others", async () => {
      const upload = await store.begin();
      await store.append(upload, 0, from(randomBytes(10)), anything);
      // Long enough for a machine that has much else to do between the two.
      await sleep(3_000);
      const fresh = await store.begin();
      expect(await store.sweep(3_600_000)).toBe(0);
      expect(await store.sweep(2_900)).toBeGreaterThanOrEqual(1);
      expect([await store.sizeOfUpload(upload), await store.sizeOfUpload(fresh)]).toEqual([null, 0]);
      await store.drop(fresh);
    });

    it.each(["../../etc/passwd", "", "x", `${"a".repeat(31)}/`, ".."])(
      "an upload called %j is none of its own",
      async (upload) => {
        expect(await store.sizeOfUpload(upload)).toBeNull();
        await expect(store.append(upload, 0, from(), anything)).rejects.toMatchObject({
          code: "blob.upload-unknown",
        });
        await store.drop(upload);
      },
    );
  });
}
