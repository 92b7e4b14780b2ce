// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { startS3Server } from "#testing/s3-server.ts";
import { openBlobStore } from "./open.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-open-blobs-"));
const secret = join(folder, "secret");
writeFileSync(secret, "never told\n");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const NONE = {
  ...{ endpoint: null, region: "us-east-1", bucket: null, prefix: "", accessKeyId: null },
  secretAccessKeyFile: null,
};
const ALL = { ...NONE, bucket: "b", accessKeyId: "a", secretAccessKeyFile: secret };
const blobs = join(folder, "blobs");

async function* hello() {
  yield Buffer.from("hello");
}

it("the store is the folder where no bucket is named", async () => {
  const store = await openBlobStore({ folder: blobs, s3: NONE });
  await store.put(hello(), { bytesMax: 5 });
  expect(readdirSync(blobs).sort()).toEqual(["blobs", "uploads"]);
});

it("the store is the bucket that is named", async () => {
  await using server = await startS3Server();
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = server;
  writeFileSync(secret, `${secretAccessKey}\n`);
  const s3 = { endpoint, region, bucket, prefix: "p/", accessKeyId, secretAccessKeyFile: secret };
  const store = await openBlobStore({ folder: "/there/is/none", s3 });
  const { digest } = await store.put(hello(), { bytesMax: 5 });
  expect(server.contents()).toEqual([`p/blobs/${digest.slice(7)}`]);
});

it.each([
  ["a key without a bucket", { ...ALL, bucket: null }, "bucket"],
  ["a bucket without a key", { ...ALL, accessKeyId: null }, "accessKeyId"],
  ["a key without its secret", { ...ALL, secretAccessKeyFile: null }, "secretAccessKeyFile"],
  ["a service that others can listen in on", { ...ALL, endpoint: "http://s3.example.com" }, "https"],
  ["a service that is none", { ...ALL, endpoint: "s3" }, "https"],
])("%s is an error of the configuration", async (_what, s3, word) => {
  await expect(openBlobStore({ folder: blobs, s3 })).rejects.toThrow(new RegExp(`^config blobs.s3.*${word}`));
});
