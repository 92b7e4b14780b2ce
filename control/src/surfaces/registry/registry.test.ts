// SPDX-License-Identifier: Apache-2.0
/** The protocol against the real server, database and folder. */
import { randomBytes } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  DOCKER_LIST,
  DOCKER_MANIFEST,
  MANIFEST_MAX,
  OCI_INDEX,
  OCI_MANIFEST,
} from "#contract/registry/vocabulary.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import {
  basic,
  descriptor,
  digestOf,
  manifestOf,
  pushBlob,
  pushImage,
  type RegistryCall,
  registryCaller,
} from "./testing.ts";

interface Owner {
  id: string;
  key: string;
  call: RegistryCall;
}

let casemate: Installation;
let me: Owner;
let stranger: Owner;
const NO_BODY = { "content-length": "0" };
const OTHER = Buffer.from("another blob");
const OF_MANIFEST = { "content-type": OCI_MANIFEST };

async function owner(name: string): Promise<Owner> {
  const admin = callerOf(casemate.url, casemate.adminKey);
  const { body } = await admin("POST", "/api/v1/accounts/create", { name });
  return { id: body.accountId, key: body.apiToken, call: registryCaller(casemate.url, body.apiToken) };
}

beforeAll(async () => {
  casemate = await startInstallation({ withHost: false, config: { workloads: { requestsPerMinute: null } } });
  me = await owner("me");
  stranger = await owner("stranger");
});
afterAll(() => casemate[Symbol.asyncDispose]());

/** The running sum equals the rows. */
async function usageHolds(): Promise<void> {
  const { rows } = await sql<{ account: string; counted: number; kept: number }>`
    select u.account_id as account, u.bytes as kept,
      coalesce((select sum(greatest(b.size_bytes, 4096)) from registry_blobs b
        join registry_repositories r on r.id = b.repository_id where r.account_id = u.account_id), 0)
      + coalesce((select sum(greatest(m.size_bytes, 4096)) from registry_manifests m
        join registry_repositories r on r.id = m.repository_id where r.account_id = u.account_id), 0)
      + coalesce((select sum(p.reserved_bytes) from registry_uploads p
        join registry_repositories r on r.id = p.repository_id where r.account_id = u.account_id), 0) as counted
    from registry_usage u`.execute(casemate.control.db.run);
  for (const { account, counted, kept } of rows) expect([account, kept]).toEqual([account, Number(counted)]);
}

describe("the way in", () => {
  it("asks for a password as Docker understands it, and says which API this is", async () => {
    const reply = await registryCaller(casemate.url, null)("GET", "/v2/");
    expect([reply.status, reply.code, reply.headers.get("www-authenticate")]).toEqual([
      401,
      "UNAUTHORIZED",
      'Basic realm="casemate"',
    ]);
    const good = await me.call("GET", "/v2/");
    expect([good.status, good.json]).toEqual([200, {}]);
    for (const each of [reply, good])
      expect(each.headers.get("docker-distribution-api-version")).toBe("registry/2.0");
    expect((await me.call("GET", "/v2")).status).toBe(200);
  });

  it("a key that may only read can pull, and cannot push or remove", async () => {
    const name = `${me.id}/readers`;
    const { digest } = await pushImage(me.call, name, "v1", [randomBytes(10)]);
    const made = await callerOf(casemate.url, me.key)("POST", "/api/v1/api-keys/create", {
      ...{ name: "reader", scopes: ["workloads:read"] },
    });
    const reader = registryCaller(casemate.url, made.body.apiKey);
    expect((await reader("GET", `/v2/${name}/manifests/v1`)).status).toBe(200);
    for (const [method, path] of [
      ["POST", `/v2/${name}/blobs/uploads/`],
      ["PUT", `/v2/${name}/manifests/v2`],
      ["DELETE", `/v2/${name}/manifests/${digest}`],
    ] as const) {
      const reply = await reader(method, path);
      expect([method, reply.status, reply.code]).toEqual([method, 403, "DENIED"]);
    }
  });
});

describe("a blob", () => {
  it("pushed in one request is read whole, in part, and looked at", async () => {
    const name = `${me.id}/one`;
    const bytes = randomBytes(700_000);
    const digest = digestOf(bytes);
    const pushed = await me.call("POST", `/v2/${name}/blobs/uploads/?digest=${digest}`, bytes);
    expect([
      pushed.status,
      pushed.headers.get("location"),
      pushed.headers.get("docker-content-digest"),
    ]).toEqual([201, `/v2/${name}/blobs/${digest}`, digest]);
    const path = `/v2/${name}/blobs/${digest}`;
    const head = await me.call("HEAD", path);
    expect([head.status, head.headers.get("content-length"), head.bytes.length]).toEqual([200, "700000", 0]);
    const whole = await me.call("GET", path);
    expect([whole.status, whole.bytes.equals(bytes)]).toEqual([200, true]);
    expect(whole.headers.get("docker-content-digest")).toBe(digest);
    for (const [range, first, last] of [
      ["bytes=0-0", 0, 0],
      ["bytes=5-", 5, 699_999],
      ["bytes=-7", 699_993, 699_999],
      ["bytes=100-999999999", 100, 699_999],
    ] as const) {
      const part = await me.call("GET", path, null, { range });
      expect([range, part.status, part.headers.get("content-range")]).toEqual([
        range,
        206,
        `bytes ${first}-${last}/700000`,
      ]);
      expect(part.bytes.equals(bytes.subarray(first, last + 1))).toBe(true);
    }
    expect((await me.call("GET", path, null, { range: "bytes=700000-" })).status).toBe(416);
    for (const range of ["bytes=5-2", "bytes=a-b", "bytes=0-1,4-5", "lines=0-1"])
      expect([range, (await me.call("GET", path, null, { range })).status]).toEqual([range, 200]);
  });

  it("pushed in chunks goes on where it ends and nowhere else", async () => {
    const name = `${me.id}/chunks`;
    const bytes = randomBytes(1_000);
    const started = await me.call("POST", `/v2/${name}/blobs/uploads/`, null, NO_BODY);
    const at = started.headers.get("location")!;
    expect([started.status, started.headers.get("range")]).toEqual([202, "0-0"]);
    const chunk = (first: number, last: number, said = `${first}-${last}`) =>
      me.call("PATCH", at, bytes.subarray(first, last + 1), { "content-range": said });
    expect((await chunk(0, 399)).headers.get("range")).toBe("0-399");
    // Again, or with a gap.
    for (const [first, last] of [
      [0, 399],
      [401, 500],
    ] as const) {
      const reply = await chunk(first, last);
      expect([reply.status, reply.code]).toEqual([416, "BLOB_UPLOAD_INVALID"]);
    }
    for (const said of ["400-498", "400-500"]) {
      const reply = await chunk(400, 499, said);
      expect([said, reply.status, reply.code]).toEqual([said, 400, "SIZE_INVALID"]);
    }
    expect((await chunk(400, 499, "half")).code).toBe("BLOB_UPLOAD_INVALID");
    const status = await me.call("GET", at);
    expect([status.status, status.headers.get("range")]).toEqual([204, "0-399"]);
    expect((await chunk(400, 799)).status).toBe(202);
    const last = await me.call("PUT", `${at}?digest=${digestOf(bytes)}`, bytes.subarray(800), {
      "content-range": "800-999",
    });
    expect(last.status).toBe(201);
    expect((await me.call("GET", `/v2/${name}/blobs/${digestOf(bytes)}`)).bytes.equals(bytes)).toBe(true);
    expect((await me.call("GET", at)).code).toBe("BLOB_UPLOAD_UNKNOWN");
    await usageHolds();
  });

  it("of another digest is refused, and its upload is over", async () => {
    const name = `${me.id}/wrong`;
    const wrong = digestOf("something else");
    const single = await me.call("POST", `/v2/${name}/blobs/uploads/?digest=${wrong}`, randomBytes(10));
    expect([single.status, single.code]).toEqual([400, "DIGEST_INVALID"]);
    const at = (await me.call("POST", `/v2/${name}/blobs/uploads/`)).headers.get("location")!;
    const reply = await me.call("PUT", `${at}?digest=${wrong}`, randomBytes(10));
    expect([reply.status, reply.code]).toEqual([400, "DIGEST_INVALID"]);
    expect((await me.call("GET", at)).code).toBe("BLOB_UPLOAD_UNKNOWN");
    for (const digest of ["sha256:abc", "sha512:00", "", wrong.toUpperCase()])
      expect((await me.call("PUT", `${at}?digest=${digest}`)).code).toBe("DIGEST_INVALID");
    expect((await me.call("GET", `/v2/${name}/blobs/${wrong}`)).code).toBe("BLOB_UNKNOWN");
    await usageHolds();
  });

  it("that broke off in the middle goes on where it was", async () => {
    const name = `${me.id}/broken`;
    const bytes = randomBytes(400_000);
    const at = (await me.call("POST", `/v2/${name}/blobs/uploads/`)).headers.get("location")!;
    const socket = connect(Number(new URL(casemate.url).port), "127.0.0.1");
    socket.write(
      `PATCH ${at} HTTP/1.1\r\nhost: x\r\nauthorization: ${basic(me.key)}\r\ncontent-length: 400000\r\n\r\n`,
    );
    socket.write(bytes.subarray(0, 150_000));
    await expect.poll(async () => (await me.call("GET", at)).headers.get("range")).toBe("0-149999");
    socket.destroy();
    const rest = () => me.call("PATCH", at, bytes.subarray(150_000), { "content-range": "150000-399999" });
    await expect.poll(async () => (await rest()).status).toBe(202);
    expect((await me.call("PUT", `${at}?digest=${digestOf(bytes)}`)).status).toBe(201);
    await usageHolds();
  });

  it("is written by one request at a time", async () => {
    const name = `${me.id}/busy`;
    const at = (await me.call("POST", `/v2/${name}/blobs/uploads/`)).headers.get("location")!;
    const go = Promise.withResolvers<void>();
    const body = new ReadableStream({
      async pull(controller) {
        controller.enqueue(Buffer.from("first"));
        await go.promise;
        controller.close();
      },
    });
    const first = me.call("PATCH", at, body);
    await expect.poll(async () => (await me.call("GET", at)).headers.get("range")).toBe("0-4");
    const second = await me.call("PATCH", at, Buffer.from("second"));
    expect([second.status, second.code]).toEqual([409, "BLOB_UPLOAD_INVALID"]);
    go.resolve();
    expect((await first).status).toBe(202);
    expect((await me.call("DELETE", at)).status).toBe(204);
    expect((await me.call("DELETE", at)).code).toBe("BLOB_UPLOAD_UNKNOWN");
    await usageHolds();
  });

  it("pushed by two at once is there once, and both are told so", async () => {
    const bytes = randomBytes(300_000);
    const names = [`${me.id}/left`, `${me.id}/left`, `${me.id}/right`, `${stranger.id}/far`];
    await Promise.all(
      names.map((name) => pushBlob(name.startsWith(me.id) ? me.call : stranger.call, name, bytes)),
    );
    const { rows } = await sql<{ blobs: number; links: number }>`
      select (select count(*) from blobs where digest = decode(${digestOf(bytes).slice(7)}, 'hex')) as blobs,
        (select count(*) from registry_blobs where digest = decode(${digestOf(bytes).slice(7)}, 'hex')) as links`.execute(
      casemate.control.db.run,
    );
    expect(rows[0]).toEqual({ blobs: 1, links: 3 });
    await usageHolds();
  });

  it("is removed when no manifest needs it", async () => {
    const name = `${me.id}/removed`;
    const layer = randomBytes(100);
    const { digest } = await pushImage(me.call, name, "v1", [layer]);
    const path = `/v2/${name}/blobs/${digestOf(layer)}`;
    expect((await me.call("DELETE", path)).status).toBe(405);
    expect((await me.call("DELETE", `/v2/${name}/manifests/${digest}`)).status).toBe(202);
    expect((await me.call("DELETE", path)).status).toBe(202);
    expect((await me.call("DELETE", path)).code).toBe("BLOB_UNKNOWN");
    expect((await me.call("GET", `/v2/${name}/manifests/v1`)).code).toBe("MANIFEST_UNKNOWN");
    await usageHolds();
  });
});

describe("another account", () => {
  it("cannot read, mount or go on with anything, knowing names, digests and sessions", async () => {
    const name = `${me.id}/secret`;
    const layer = randomBytes(1_000);
    const digest = digestOf(layer);
    await pushImage(me.call, name, "v1", [layer]);
    const at = (await me.call("POST", `/v2/${name}/blobs/uploads/`)).headers.get("location")!;
    await pushBlob(stranger.call, `${stranger.id}/own`, randomBytes(5));
    const theirs = `${stranger.id}/own`;
    const mount = await stranger.call("POST", `/v2/${theirs}/blobs/uploads/?mount=${digest}&from=${name}`);
    expect(mount.status).toBe(202);
    const anywhere = await stranger.call("POST", `/v2/${theirs}/blobs/uploads/?mount=${digest}`);
    expect(anywhere.status).toBe(202);
    expect((await stranger.call("GET", `/v2/${theirs}/blobs/${digest}`)).code).toBe("BLOB_UNKNOWN");
    expect((await stranger.call("HEAD", `/v2/${theirs}/blobs/${digest}`)).status).toBe(404);
    // By a manifest that names it, or by a session's id under a name of its own.
    const manifest = manifestOf(layer, []);
    const put = await stranger.call("PUT", `/v2/${theirs}/manifests/v1`, manifest, OF_MANIFEST);
    expect([put.status, put.code]).toEqual([404, "MANIFEST_BLOB_UNKNOWN"]);
    const moved = at.replace(name, theirs);
    for (const method of ["GET", "PATCH", "DELETE"])
      expect((await stranger.call(method, moved, method === "PATCH" ? "x" : null)).code).toBe(
        "BLOB_UPLOAD_UNKNOWN",
      );
  });

  it("may push the same bytes, which then are its own", async () => {
    const layer = randomBytes(1_000);
    await pushBlob(me.call, `${me.id}/mine`, layer);
    await pushBlob(stranger.call, `${stranger.id}/theirs`, layer);
    const path = `/v2/${stranger.id}/theirs/blobs/${digestOf(layer)}`;
    expect((await stranger.call("GET", path)).bytes.equals(layer)).toBe(true);
    await me.call("DELETE", `/v2/${me.id}/mine/blobs/${digestOf(layer)}`);
    expect((await stranger.call("GET", path)).bytes.equals(layer)).toBe(true);
  });
});

it("a blob is mounted from another repository of the account, and counts there too", async () => {
  const layer = randomBytes(10_000);
  await pushBlob(me.call, `${me.id}/base`, layer);
  const digest = digestOf(layer);
  const to = `${me.id}/derived`;
  const mounted = await me.call("POST", `/v2/${to}/blobs/uploads/?mount=${digest}&from=${me.id}/base`);
  expect([mounted.status, mounted.headers.get("location")]).toEqual([201, `/v2/${to}/blobs/${digest}`]);
  expect((await me.call("GET", `/v2/${to}/blobs/${digest}`)).bytes.equals(layer)).toBe(true);
  const nowhere = await me.call(
    "POST",
    `/v2/${to}/blobs/uploads/?mount=${digestOf("none")}&from=${me.id}/base`,
  );
  expect(nowhere.status).toBe(202);
  await usageHolds();
});

describe("a manifest", () => {
  it("is answered byte for byte by tag and by digest, and a tag moves", async () => {
    const name = `${me.id}/tagged`;
    const one = await pushImage(me.call, name, "latest", [randomBytes(10)]);
    const two = await pushImage(me.call, name, "latest", [randomBytes(10)]);
    const byTag = await me.call("GET", `/v2/${name}/manifests/latest`);
    expect([byTag.bytes.toString(), byTag.headers.get("content-type")]).toEqual([two.manifest, OCI_MANIFEST]);
    const byDigest = await me.call("GET", `/v2/${name}/manifests/${one.digest}`);
    expect([byDigest.bytes.toString(), byDigest.headers.get("docker-content-digest")]).toEqual([
      one.manifest,
      one.digest,
    ]);
    const head = await me.call("HEAD", `/v2/${name}/manifests/latest`);
    expect([
      head.status,
      head.headers.get("content-length"),
      head.headers.get("docker-content-digest"),
    ]).toEqual([200, String(two.manifest.length), two.digest]);
    expect((await me.call("DELETE", `/v2/${name}/manifests/latest`)).status).toBe(202);
    expect((await me.call("GET", `/v2/${name}/manifests/latest`)).code).toBe("MANIFEST_UNKNOWN");
    expect((await me.call("GET", `/v2/${name}/manifests/${two.digest}`)).status).toBe(200);
    const { rows } = await sql<{ type: string; payload: object }>`
      select type, payload from journal where subject = ${name} order by seq`.execute(
      casemate.control.db.run,
    );
    expect(rows).toEqual([
      { type: "registry.pushed", payload: { digest: one.digest, tag: "latest" } },
      { type: "registry.pushed", payload: { digest: two.digest, tag: "latest" } },
      { type: "registry.untagged", payload: { tag: "latest" } },
    ]);
  });

  it("may be an index of others, also in Docker's own types", async () => {
    const name = `${me.id}/index`;
    const config = randomBytes(20);
    await pushBlob(me.call, name, config);
    const image = JSON.stringify({
      ...{ schemaVersion: 2, mediaType: DOCKER_MANIFEST },
      ...{ config: descriptor(config), layers: [] },
    });
    const index = (mediaType: string) =>
      JSON.stringify({
        schemaVersion: 2,
        mediaType,
        manifests: [descriptor(Buffer.from(image), DOCKER_MANIFEST)],
      });
    const put = (type: string, tag: string, text: string) =>
      me.call("PUT", `/v2/${name}/manifests/${tag}`, text, { "content-type": type });
    const early = await put(OCI_INDEX, "i", index(OCI_INDEX));
    expect([early.status, early.code]).toEqual([404, "MANIFEST_BLOB_UNKNOWN"]);
    expect((await put(DOCKER_MANIFEST, digestOf(image), image)).status).toBe(201);
    for (const type of [OCI_INDEX, DOCKER_LIST]) expect((await put(type, "i", index(type))).status).toBe(201);
  });

  it.each([
    ["that is not JSON", () => "{", 400, "MANIFEST_INVALID"],
    ["that is no object", () => "[]", 400, "MANIFEST_INVALID"],
    ["nested deeply", () => `{"a":${"[".repeat(5000)}${"]".repeat(5000)}}`, 400, "MANIFEST_INVALID"],
    ["of version 1", () => '{"schemaVersion":1}', 400, "MANIFEST_INVALID"],
    ["without a config", () => '{"schemaVersion":2,"layers":[]}', 400, "MANIFEST_INVALID"],
    [
      "of another type than its request",
      (c: Buffer) => manifestOf(c, [], { mediaType: OCI_INDEX }),
      400,
      "MANIFEST_INVALID",
    ],
    [
      "with a layer to be fetched from elsewhere",
      (c: Buffer) => manifestOf(c, [], { layers: [{ ...descriptor(c), urls: ["http://169.254.169.254/"] }] }),
      400,
      "MANIFEST_INVALID",
    ],
    [
      "with a wrong size",
      (c: Buffer) => manifestOf(c, [], { layers: [{ ...descriptor(OTHER), size: 1 }] }),
      400,
      "MANIFEST_INVALID",
    ],
    [
      "with a digest that is a path",
      (c: Buffer) => manifestOf(c, [], { layers: [{ ...descriptor(c), digest: "sha256:../../x" }] }),
      400,
      "MANIFEST_INVALID",
    ],
    [
      "that names a missing blob",
      (c: Buffer) => manifestOf(c, [Buffer.from("gone")]),
      404,
      "MANIFEST_BLOB_UNKNOWN",
    ],
  ])("%s is refused", async (_what, text, status, code) => {
    const name = `${me.id}/refused`;
    const config = Buffer.from("{}");
    for (const blob of [config, OTHER]) await pushBlob(me.call, name, blob);
    const reply = await me.call("PUT", `/v2/${name}/manifests/v1`, text(config), OF_MANIFEST);
    expect([reply.status, reply.code]).toEqual([status, code]);
    expect((await me.call("GET", `/v2/${name}/manifests/v1`)).status).toBe(404);
  });

  it("of another media type, under a wrong digest or a name that is no tag, is refused", async () => {
    const name = `${me.id}/refused`;
    const put = (reference: string, type: string) =>
      me.call("PUT", `/v2/${name}/manifests/${reference}`, "{}", { "content-type": type });
    expect((await put("v1", "application/json")).status).toBe(415);
    expect((await put(digestOf("x"), OCI_MANIFEST)).code).toBe("DIGEST_INVALID");
    for (const tag of [".hidden", "-x", "a".repeat(129), "%20", "v1%00"])
      expect([tag, (await put(tag, OCI_MANIFEST)).code]).toEqual([tag, "MANIFEST_INVALID"]);
  });

  it("larger than 4 MiB is refused before it is read, and in the middle when its length was not said", async () => {
    const name = `${me.id}/refused`;
    const large = Buffer.alloc(MANIFEST_MAX + 1, 0x20);
    const said = await me.call("PUT", `/v2/${name}/manifests/v1`, large, OF_MANIFEST).catch((e: Error) => e);
    if (!(said instanceof Error)) expect([said.status, said.code]).toEqual([413, "SIZE_INVALID"]);
    let sent = 0;
    const unsaid = new ReadableStream({
      pull(controller) {
        sent += 100_000;
        if (sent > 100 * MANIFEST_MAX) controller.close();
        else controller.enqueue(Buffer.alloc(100_000, 0x20));
      },
    });
    const cut = await me.call("PUT", `/v2/${name}/manifests/v1`, unsaid, OF_MANIFEST).catch((e: Error) => e);
    if (!(cut instanceof Error)) expect([cut.status, cut.code]).toEqual([413, "SIZE_INVALID"]);
    expect(sent).toBeLessThan(20 * MANIFEST_MAX);
    const just = await me.call("PUT", `/v2/${name}/manifests/v1`, large.subarray(1), OF_MANIFEST);
    expect([just.status, just.code]).toEqual([400, "MANIFEST_INVALID"]);
  });

  it("that speaks of another is found among its referrers, by type and page by page", async () => {
    const name = `${me.id}/referred`;
    const { digest, manifest } = await pushImage(me.call, name, "v1", []);
    const config = Buffer.from("{}");
    await pushBlob(me.call, name, config);
    const subject = descriptor(Buffer.from(manifest), OCI_MANIFEST);
    const push = (n: number, artifactType: string) =>
      me.call(
        "PUT",
        `/v2/${name}/manifests/sig-${n}`,
        manifestOf(config, [], { subject, artifactType, annotations: { n: String(n) } }),
        OF_MANIFEST,
      );
    const first = await push(0, "application/x-signature");
    expect([first.status, first.headers.get("oci-subject")]).toEqual([201, digest]);
    for (let n = 1; n < 60; n++) await push(n, "application/x-sbom");
    const path = `/v2/${name}/referrers/${digest}`;
    const filtered = await me.call("GET", `${path}?artifactType=application/x-signature`);
    expect(filtered.headers.get("oci-filters-applied")).toBe("artifactType");
    expect(filtered.headers.get("content-type")).toBe(OCI_INDEX);
    expect(filtered.json).toMatchObject({
      schemaVersion: 2,
      manifests: [
        {
          ...{ mediaType: OCI_MANIFEST, digest: first.headers.get("docker-content-digest") },
          ...{ artifactType: "application/x-signature", annotations: { n: "0" } },
        },
      ],
    });
    const found: string[] = [];
    for (let next: string | undefined = path; next !== undefined; ) {
      const page = await me.call("GET", next);
      found.push(...page.json.manifests.map((each: { digest: string }) => each.digest));
      next = /^<(.+)>; rel="next"$/.exec(page.headers.get("link") ?? "")?.[1];
    }
    expect([found.length, new Set(found).size]).toEqual([60, 60]);
    expect((await me.call("GET", `/v2/${name}/referrers/${digestOf("?")}`)).json.manifests).toEqual([]);
  });
});

it("tags and repositories are listed in order, in pages", async () => {
  const other = await owner("lister");
  const name = `${other.id}/many/tags`;
  const { manifest } = await pushImage(other.call, name, "b", []);
  for (const tag of ["a", "C", "a-1", "_x"])
    await other.call("PUT", `/v2/${name}/manifests/${tag}`, manifest, OF_MANIFEST);
  const all = await other.call("GET", `/v2/${name}/tags/list`);
  expect(all.json).toEqual({ name, tags: ["C", "_x", "a", "a-1", "b"] });
  expect(all.headers.get("link")).toBeNull();
  const page = await other.call("GET", `/v2/${name}/tags/list?n=2&last=C`);
  expect([page.json.tags, page.headers.get("link")]).toEqual([
    ["_x", "a"],
    `</v2/${name}/tags/list?n=2&last=a>; rel="next"`,
  ]);
  const none = await other.call("GET", `/v2/${name}/tags/list?n=0`);
  expect([none.json.tags, none.headers.get("link")]).toEqual([[], null]);
  expect((await other.call("GET", `/v2/${name}/tags/list?n=-1`)).status).toBe(400);
  expect((await other.call("GET", "/v2/_catalog")).json).toEqual({ repositories: [name] });
});

it.each([
  ["/v2/ACCT/x/tags/list", 400, "NAME_INVALID"],
  ["/v2/a//b/tags/list", 400, "NAME_INVALID"],
  ["/v2/a/%2e%2e/b/tags/list", 400, "NAME_INVALID"],
  ["/v2/..%2f..%2fetc%2fpasswd/tags/list", 400, "NAME_INVALID"],
  ["/v2/a%00b/tags/list", 400, "NAME_INVALID"],
  ["/v2/a%5cb/tags/list", 400, "NAME_INVALID"],
  [`/v2/${"a/".repeat(130)}b/tags/list`, 400, "NAME_INVALID"],
  ["/v2/a/blobs/..%2f..%2fuploads", 404, "UNSUPPORTED"],
  ["/v2/library/caddy/tags/list", 404, "NAME_UNKNOWN"],
  ["/v2/%zz/tags/list", 400, "UNSUPPORTED"],
  ["/v2/nothing", 404, "UNSUPPORTED"],
])("%s is %i %s", async (path, status, code) => {
  const reply = await new Promise<string>((resolve, reject) => {
    // By hand: a client of the language's own would tidy the path.
    const socket = connect(Number(new URL(casemate.url).port), "127.0.0.1");
    let text = "";
    socket
      .on("data", (chunk) => (text += chunk))
      .once("close", () => resolve(text))
      .once("error", reject);
    socket.write(
      `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${basic(me.key)}\r\nconnection: close\r\n\r\n`,
    );
  });
  expect(reply.split("\r\n")[0]).toContain(` ${status} `);
  expect(reply).toContain(`"code":"${code}"`);
});

it("a name of another account is nothing one can push to", async () => {
  for (const name of [`${stranger.id}/gift`, "library/caddy", me.id, `${me.id}x/y`]) {
    const reply = await me.call("POST", `/v2/${name}/blobs/uploads/`);
    expect([name, reply.status, reply.code]).toEqual([name, 404, "NAME_UNKNOWN"]);
  }
});

describe("what an account stores", () => {
  it("is bounded, also over many uploads at once, and what is refused takes nothing", async () => {
    await using small = await startInstallation({
      withHost: false,
      config: { registry: { bytesPerAccount: 1_000_000 }, workloads: { requestsPerMinute: null } },
    });
    const admin = callerOf(small.url, small.adminKey);
    const { body } = await admin("POST", "/api/v1/accounts/create", { name: "small" });
    const call = registryCaller(small.url, body.apiToken);
    const name = `${body.accountId}/x`;
    const layers = Array.from({ length: 8 }, () => randomBytes(300_000));
    const push = async (bytes: Buffer) => {
      const at = (await call("POST", `/v2/${name}/blobs/uploads/`)).headers.get("location")!;
      // As Docker sends them: without a length.
      const body = new ReadableStream({
        start(controller) {
          controller.enqueue(bytes);
          controller.close();
        },
      });
      const patched = await call("PATCH", at, body);
      if (patched.status !== 202) {
        expect([patched.status, patched.code]).toEqual([403, "DENIED"]);
        await call("DELETE", at);
        return false;
      }
      return (await call("PUT", `${at}?digest=${digestOf(bytes)}`)).status === 201;
    };
    const results = await Promise.all(layers.map(push));
    expect(results.filter(Boolean).length).toBeGreaterThan(0);
    expect(results.filter(Boolean).length).toBeLessThanOrEqual(3);
    const announced = await call(
      "POST",
      `/v2/${name}/blobs/uploads/?digest=${digestOf("x")}`,
      randomBytes(999_999),
    );
    expect([announced.status, announced.code]).toEqual([403, "DENIED"]);
    const { rows } = await sql<{ bytes: number }>`select bytes from registry_usage`.execute(
      small.control.db.run,
    );
    expect(rows).toEqual([{ bytes: 300_000 * results.filter(Boolean).length }]);
  });
});

it("blobs lie in control's folder under their digest, for its uid only", async () => {
  const bytes = randomBytes(50);
  await pushBlob(me.call, `${me.id}/file`, bytes);
  const hex = digestOf(bytes).slice(7);
  const path = join(casemate.connection.keyRing, "../blobs/blobs", hex.slice(0, 2), hex.slice(2, 4), hex);
  expect([existsSync(path), statSync(path).mode & 0o777]).toEqual([true, 0o600]);
});
