// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type S3Server, startS3Server } from "#testing/s3-server.ts";
import { blobStoreConformance } from "./conformance.ts";
import type { Digest } from "./port.ts";
import { openS3Store, type S3Options } from "./s3-store.ts";

blobStoreConformance("a bucket", async () => {
  const server = await startS3Server();
  const opened = [openS3Store(optionsOf(server))];
  return {
    store: opened[0]!,
    reopen: async () => {
      const store = openS3Store(optionsOf(server));
      opened.push(store);
      return store;
    },
    contents: async () => server.contents(),
    [Symbol.asyncDispose]: async () => {
      for (const store of opened) store.close();
      await server[Symbol.asyncDispose]();
    },
  };
});

/** `https://<id>:<secret>@host/bucket?region=…`, of a service that may be written to. */
const real = process.env.CASEMATE_TEST_S3;
if (real === undefined)
  describe.skip("a bucket of a real service [skipped: CASEMATE_TEST_S3 names none]", () => {
    it("keeps what the port says", () => {});
  });
else
  blobStoreConformance("a bucket of a real service", async () => {
    const url = new URL(real);
    const options: S3Options = {
      ...{ endpoint: url.origin, region: url.searchParams.get("region") ?? "us-east-1" },
      ...{ bucket: url.pathname.slice(1), prefix: `casemate-test-${randomBytes(6).toString("hex")}/` },
      accessKeyId: decodeURIComponent(url.username),
      secretAccessKey: decodeURIComponent(url.password),
    };
    const store = openS3Store(options);
    const blobs = async () => (await all(store.list())).map(({ digest }) => digest);
    return {
      ...{ store, reopen: async () => openS3Store(options), contents: blobs },
      [Symbol.asyncDispose]: async () => {
        for (const digest of await blobs()) await store.remove(digest);
        await store.sweep(0);
        store.close();
      },
    };
  });

const optionsOf = ({ endpoint, region, bucket, accessKeyId, secretAccessKey }: S3Server): S3Options => ({
  ...{ endpoint, region, bucket, accessKeyId, secretAccessKey },
  prefix: "casemate/",
});
const digestOf = (bytes: Uint8Array): Digest => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
async function all<T>(given: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const each of given) list.push(each);
  return list;
}
async function* once(...chunks: Uint8Array[]) {
  yield* chunks;
}

describe("a bucket", () => {
  let server: S3Server;
  let store: ReturnType<typeof openS3Store>;
  beforeAll(async () => {
    server = await startS3Server();
    store = openS3Store(optionsOf(server));
  });
  afterAll(async () => {
    store.close();
    await server[Symbol.asyncDispose]();
  });
  const read = async (digest: Digest) => Buffer.concat(await all((await store.get(digest))!));

  it("takes a blob of many pieces, put together by the service, and has nothing besides it", async () => {
    const bytes = randomBytes(20 * 1024 * 1024 + 1);
    const { digest } = await store.put(once(bytes.subarray(0, 1_000_000), bytes.subarray(1_000_000)), {
      bytesMax: bytes.length,
    });
    expect(digest).toBe(digestOf(bytes));
    expect((await read(digest)).equals(bytes)).toBe(true);
    expect(server.contents()).toEqual([`casemate/blobs/${digest.slice(7)}`]);
    await store.remove(digest);
    expect(server.refusals).toEqual([]);
  });

  it("takes a blob whose pieces are smaller than the service takes", async () => {
    const bytes = randomBytes(9 * 1024 * 1024);
    const upload = await store.begin();
    for (let at = 0; at < bytes.length; at += 3 * 1024 * 1024)
      await store.append(upload, at, once(bytes.subarray(at, at + 3 * 1024 * 1024)), () => {});
    const { digest } = await store.hash(upload);
    await store.finish(upload, digest);
    expect((await read(digest)).equals(bytes)).toBe(true);
    expect(server.contents()).toEqual([`casemate/blobs/${digest.slice(7)}`]);
    await store.remove(digest);
  });

  it("lists more than one page", async () => {
    const digests: Digest[] = [];
    for (let n = 0; n < 25; n++)
      digests.push((await store.put(once(Buffer.from(`${n}`)), { bytesMax: 9 })).digest);
    const listed = (await all(store.list())).map(({ digest }) => digest);
    expect(listed.sort()).toEqual(digests.sort());
    for (const digest of digests) await store.remove(digest);
  });

  it("makes nothing of pieces that two processes wrote at once", async () => {
    const other = openS3Store(optionsOf(server));
    const upload = await store.begin();
    await Promise.all([store, other].map((each) => each.append(upload, 0, once(randomBytes(10)), () => {})));
    await expect(store.hash(upload)).rejects.toMatchObject({ code: "blob.upload-unknown" });
    await store.drop(upload);
    other.close();
    expect(server.contents()).toEqual([]);
  });

  it("leaves nothing when the service fails while pieces are put together", async () => {
    const bytes = randomBytes(17 * 1024 * 1024);
    const upload = await store.begin();
    await store.append(upload, 0, once(bytes), () => {});
    const { digest } = await store.hash(upload);
    server.failNext(403, "AccessDenied", 1, /partNumber=2/);
    await expect(store.finish(upload, digest)).rejects.toMatchObject({ code: "blob.store-unavailable" });
    await store.drop(upload);
    expect(server.contents()).toEqual([]);
    expect(await store.stat(digest)).toBeNull();
  });

  it("of which the secret is wrong is not written to, and the secret is not told", async () => {
    const secretAccessKey = "s3cr3t-that-is-wrong";
    const wrong = openS3Store({ ...optionsOf(server), secretAccessKey });
    const failed: Error & { code?: string } = await wrong.put(once(randomBytes(1)), { bytesMax: 1 }).then(
      () => new Error("written"),
      (error) => error,
    );
    expect(failed.code).toBe("blob.store-unavailable");
    expect(JSON.stringify([failed.message, failed.cause])).not.toContain(secretAccessKey);
    expect(server.refusals).toContain("SignatureDoesNotMatch");
    expect(server.contents()).toEqual([]);
    wrong.close();
  });

  it("goes on after a fault of the service that passes", async () => {
    server.failNext(503, "SlowDown", 2);
    const { digest } = await store.put(once(Buffer.from("again")), { bytesMax: 9 });
    expect((await read(digest)).toString()).toBe("again");
    await store.remove(digest);
  });
});
