// SPDX-License-Identifier: Apache-2.0
/** What nothing needs goes; what anybody was told is there stays, whatever happens at the same moment. */
import { randomBytes } from "node:crypto";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { OCI_MANIFEST } from "#contract/registry/vocabulary.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { collectBlobs, collectStrays } from "../../blobs/collect.ts";
import { openFileStore } from "../../blobs/file-store.ts";
import type { BlobStore } from "../../blobs/port.ts";
import { collect } from "./collect.ts";
import { digestOf, manifestOf, pushBlob, pushImage, type RegistryCall, registryCaller } from "./testing.ts";

let casemate: Installation;
let store: BlobStore;
let folder: string;
let account: string;
let call: RegistryCall;
const OF_MANIFEST = { "content-type": OCI_MANIFEST };

beforeAll(async () => {
  casemate = await startInstallation({ withHost: false, config: { workloads: { requestsPerMinute: null } } });
  folder = join(casemate.connection.keyRing, "../blobs");
  store = await openFileStore(folder);
  const { body } = await callerOf(casemate.url, casemate.adminKey)("POST", "/api/v1/accounts/create", {
    name: "me",
  });
  account = body.accountId;
  call = registryCaller(casemate.url, body.apiToken);
});
afterAll(() => casemate[Symbol.asyncDispose]());

const db = () => casemate.control.db;
const turn = (collectAfterMs = 3_600_000) =>
  collect({ db: db(), store, registry: { bytesPerAccount: null, collectAfterMs, uploadMs: 3_600_000 } });
/** Two hours go by for everything that is there. */
async function age(): Promise<void> {
  for (const table of ["blobs", "registry_blobs", "registry_repositories"] as const)
    await sql`update ${sql.table(table)} set touched_at = touched_at - interval '2 hours'`.execute(db().run);
  await sql`update registry_uploads set expires_at = expires_at - interval '2 hours'`.execute(db().run);
}
const files = () =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
    .sort();
const usage = async () =>
  (
    await sql<{ bytes: number }>`select bytes from registry_usage where account_id = ${account}`.execute(
      db().run,
    )
  ).rows[0]!.bytes;

it("what no manifest names goes after its time, with its bytes and what it counted", async () => {
  const layer = randomBytes(5_000);
  const loose = randomBytes(6_000);
  const { manifest, digest } = await pushImage(call, `${account}/kept`, "v1", [layer]);
  const before = { usage: await usage(), files: files() };
  await pushBlob(call, `${account}/loose`, loose);
  const upload = (await call("POST", `/v2/${account}/loose/blobs/uploads/`)).headers.get("location")!;
  await call("PATCH", upload, randomBytes(7_000));
  await turn();
  expect((await call("HEAD", `/v2/${account}/loose/blobs/${digestOf(loose)}`)).status).toBe(200);
  await age();
  // Asked for: whoever was told that it is there is going to name it.
  expect((await call("HEAD", `/v2/${account}/loose/blobs/${digestOf(loose)}`)).status).toBe(200);
  await turn();
  expect((await call("GET", upload)).code).toBe("BLOB_UPLOAD_UNKNOWN");
  expect((await call("HEAD", `/v2/${account}/loose/blobs/${digestOf(loose)}`)).status).toBe(200);
  await age();
  await turn();
  await age();
  await turn();
  expect({ usage: await usage(), files: files() }).toEqual(before);
  expect((await call("GET", "/v2/_catalog")).json.repositories).toEqual([`${account}/kept`]);
  // What is named by a manifest stays, however old, and also when no tag is left.
  await call("DELETE", `/v2/${account}/kept/manifests/v1`);
  await turn();
  expect((await call("GET", `/v2/${account}/kept/manifests/${digest}`)).bytes.toString()).toBe(manifest);
  expect((await call("GET", `/v2/${account}/kept/blobs/${digestOf(layer)}`)).bytes.equals(layer)).toBe(true);
  await call("DELETE", `/v2/${account}/kept/manifests/${digest}`);
  for (let n = 0; n < 3; n++) {
    await age();
    await turn();
  }
  expect([await usage(), files(), (await call("GET", "/v2/_catalog")).json.repositories]).toEqual([
    0,
    [],
    [],
  ]);
});

it("a file that no row knows is removed, and one that a row knows is not", async () => {
  const layer = randomBytes(100);
  await pushBlob(call, `${account}/rows`, layer);
  async function* stray() {
    yield Buffer.from("left by a restore");
  }
  const { digest } = await store.put(stray(), { bytesMax: 100 });
  expect(await collectStrays({ db: db(), store })).toBe(1);
  expect(await store.stat(digest)).toBeNull();
  expect((await call("GET", `/v2/${account}/rows/blobs/${digestOf(layer)}`)).bytes.equals(layer)).toBe(true);
});

it("a blob whose file was lost is not said to be there, and the next push heals it", async () => {
  const layer = randomBytes(100);
  const name = `${account}/lost`;
  await pushImage(call, name, "v1", [layer]);
  const path = `/v2/${name}/blobs/${digestOf(layer)}`;
  await store.remove(digestOf(layer));
  expect([(await call("HEAD", path)).status, (await call("GET", path)).code]).toEqual([404, "BLOB_UNKNOWN"]);
  await pushBlob(call, name, layer);
  expect((await call("GET", path)).bytes.equals(layer)).toBe(true);
});

it("who points at a blob at the moment of its condemning is seen, however long that takes to commit", async () => {
  const bytes = randomBytes(64);
  const name = `${account}/pointed`;
  const digest = await pushBlob(call, name, bytes);
  await call("DELETE", `/v2/${name}/blobs/${digest}`);
  const hex = digest.slice(7);
  const go = Promise.withResolvers<void>();
  const pointing = db().write(async (tx) => {
    await sql`update blobs set touched_at = now() where digest = decode(${hex}, 'hex')`.execute(tx);
    await sql`insert into registry_blobs (repository_id, digest, size_bytes)
      select id, decode(${hex}, 'hex'), 64 from registry_repositories where name = ${name}`.execute(tx);
    await go.promise;
  });
  await sleep(50);
  // Its time is later than that of the other, so to it nothing is young.
  const collecting = collectBlobs({ db: db(), store }, ["registry_blobs", "registry_manifests"], 0);
  await sleep(150);
  go.resolve();
  await Promise.all([pointing, collecting]);
  expect((await call("GET", `/v2/${name}/blobs/${digest}`)).bytes.equals(bytes)).toBe(true);
  await sql`delete from registry_blobs where digest = decode(${hex}, 'hex')`.execute(db().run);
});

it("a push beside a collector that has no patience is either whole or told that it is not", async () => {
  const name = `${account}/racing`;
  const ended = new AbortController();
  const collecting = (async () => {
    while (!ended.signal.aborted) await turn(0);
  })();
  // The same few layers again and again, so that what is pushed is what is being removed.
  const layers = Array.from({ length: 3 }, (_, n) => Buffer.alloc(2_000, n));
  const outcomes = { whole: 0, told: 0 };
  const pusher = async (n: number) => {
    for (let round = 0; round < 8; round++) {
      const config = Buffer.from(JSON.stringify({ n, round }));
      const manifest = manifestOf(config, layers);
      try {
        for (const blob of [config, ...layers]) await pushBlob(call, name, blob);
      } catch (error) {
        // The repository was empty and went, or the upload's blob was gone, before the next step.
        expect(String(error)).toMatch(/NAME_UNKNOWN|BLOB_UPLOAD_UNKNOWN|UNAVAILABLE/);
        outcomes.told++;
        continue;
      }
      const put = await call("PUT", `/v2/${name}/manifests/m${n}`, manifest, OF_MANIFEST);
      if (put.status !== 201) {
        expect(["MANIFEST_BLOB_UNKNOWN", "UNAVAILABLE", "NAME_UNKNOWN"]).toContain(put.code);
        outcomes.told++;
        continue;
      }
      outcomes.whole++;
      expect((await call("GET", `/v2/${name}/manifests/${digestOf(manifest)}`)).bytes.toString()).toBe(
        manifest,
      );
      for (const blob of [config, ...layers]) {
        const got = await call("GET", `/v2/${name}/blobs/${digestOf(blob)}`);
        expect([got.status, got.bytes.equals(blob)]).toEqual([200, true]);
      }
      await call("DELETE", `/v2/${name}/manifests/${digestOf(manifest)}`);
    }
  };
  await Promise.all([0, 1, 2].map(pusher));
  ended.abort();
  await collecting;
  expect(outcomes.whole + outcomes.told).toBe(24);
  // With patience, as it is run, everything is whole.
  const patient = new AbortController();
  const collecting2 = (async () => {
    while (!patient.signal.aborted) await turn(60_000);
  })();
  outcomes.told = 0;
  await Promise.all([3, 4, 5].map(pusher));
  patient.abort();
  await collecting2;
  expect(outcomes.told).toBe(0);
}, 60_000);

it("what a dead collector had condemned is taken over, and can be pushed again", async () => {
  const bytes = randomBytes(64);
  const digest = digestOf(bytes);
  const hex = digest.slice(7);
  async function* it() {
    yield bytes;
  }
  await store.put(it(), { bytesMax: 64 });
  await sql`insert into blobs (digest, size_bytes, removing, touched_at)
    values (decode(${hex}, 'hex'), 64, 'a dead one', now() - interval '11 minutes')`.execute(db().run);
  // Until then nobody may count on it.
  const started = await call("POST", `/v2/${account}/dead/blobs/uploads/`);
  const pushing = call("PUT", `${started.headers.get("location")}?digest=${digest}`, bytes);
  await turn();
  expect((await pushing).status).toBe(201);
  expect((await call("GET", `/v2/${account}/dead/blobs/${digest}`)).bytes.equals(bytes)).toBe(true);
});

it("files of others in its folder are left alone", async () => {
  writeFileSync(join(folder, "uploads", "README"), "not an upload");
  await turn(0);
  expect(files()).toContain("README");
});
