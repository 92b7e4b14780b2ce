// SPDX-License-Identifier: Apache-2.0
/** Instances over their API: machines here are real SSH servers that attest themselves, on a host that a test may make lie. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import ssh2 from "ssh2";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { openZoneRecords } from "#control/src/core/ingress/index.ts";
import { openCheckpoint } from "#evidence/log/checkpoint.ts";
import { imageEntry } from "#evidence/log/entry.ts";
import { checkHeld, checkIncluded, openInclusion } from "#evidence/log/inclusion.ts";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { ed25519Pair } from "#testing/ssh-keys.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-instances-"));
const driver = new AttestedDriver();
const mine = ed25519Pair();
const others = ed25519Pair();
const PUBLIC_KEY = `${mine.public.split(" ", 2).join(" ")} user@example`;
let casemate: Installation;
let admin: Caller;
let acme: Caller;
let key: string;
let image: Awaited<ReturnType<typeof writeSpecimenImage>>;

async function tenant(name: string): Promise<{ caller: Caller; key: string; accountId: string }> {
  const { status, body } = await admin("POST", "/platform/v1/tenants", { name });
  expect(status).toBe(201);
  expect(body.api_key).toMatch(/^ca_[0-9a-z]{8}_[0-9a-z]{18}$/);
  return { caller: callerOf(casemate.url, body.api_key), key: body.api_key, accountId: body.account_id };
}

beforeAll(async () => {
  image = await writeSpecimenImage(folder, "0.1.0", "base", "base");
  driver.images.set(image.sha256, image.metadata);
  casemate = await startInstallation({
    kept: driver,
    ssh: { addresses: "127.71.0.0/16", port: await freePort(), redirect: false },
    config: { imagesFolder: folder, instances: { requestsPerMinute: null } },
  });
  admin = callerOf(casemate.url, casemate.adminKey);
  ({ caller: acme, key } = await tenant("acme"));
});
afterEach(() => {
  driver.deviation = {};
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

const ask = (more: object = {}) => ({ public_key: PUBLIC_KEY, agent: "none", ...more });
const create = async (more: object = {}, headers: Record<string, string> = {}) => {
  const { status, body } = await acme("POST", "/v1/instances", ask(more), headers);
  expect([status, body.error]).toEqual([202, undefined]);
  return body.data;
};
const record = async (name: string) => (await acme("GET", `/v1/instances/${name}`)).body.data;
const becomes = (name: string, status: string) =>
  expect.poll(async () => (await record(name)).status, { timeout: 20_000 }).toBe(status);

const NINE = [
  ...["name", "status", "agent", "hostname", "public_key", "inference_mode", "inference_model"],
  ...["egress_limit_bytes", "created_at"],
];
const FOURTEEN = [
  ...NINE.slice(0, 8),
  ...["failure_code", "failure_message", "terminated_reason", "created_at", "ready_at", "terminated_at"],
];

/** The intervals that its owner is billed for. */
const countedOf = async (name: string) =>
  (
    await sql<{ fromReady: boolean; open: boolean; billedAfter: boolean | null }>`
      select p.from_at = i.ready_at as "fromReady", p.to_at is null as open, p.to_at > i.terminated_at as "billedAfter"
      from instance_periods p join instances i on i.id = p.instance_id where i.name = ${name} order by p.from_at`.execute(
      casemate.control.db.run,
    )
  ).rows;

/** What one is answered who logs in and runs a command. */
function run(
  { address, port, known_hosts }: { address: string; port: number; known_hosts: string[] },
  privateKey: string,
  command: string,
): Promise<string> {
  const client = new ssh2.Client();
  const pinned = known_hosts.map((line) => line.split(" ")[2]);
  return new Promise<string>((resolve, reject) => {
    client.on("error", reject);
    client.on("ready", () =>
      client.exec(command, (error, stream) => {
        if (error) return reject(error);
        let text = "";
        stream.on("data", (part: Buffer) => {
          text += part.toString();
        });
        stream.on("close", () => resolve(text));
      }),
    );
    client.connect({
      ...{ host: address, port, username: "azureuser", privateKey, readyTimeout: 10_000 },
      hostVerifier: (shown: Buffer) => pinned.includes(shown.toString("base64")),
    });
  }).finally(() => client.end());
}

describe("an instance", () => {
  it("is answered at once, becomes ready, lets in its owner's key and nobody else's, and is deleted", async () => {
    const made = await create();
    expect(Object.keys(made)).toEqual(NINE);
    expect(made).toMatchObject({
      ...{ status: "provisioning", agent: "none", public_key: PUBLIC_KEY, inference_mode: "default_gateway" },
      egress_limit_bytes: 5368709120,
      hostname: `${made.name}.acme.casemate.internal`,
    });
    expect(made.name).toMatch(/^[2-9a-hjkmnp-z]{8}$/);
    const ready = (await acme("GET", `/v1/instances/${made.name}?wait=ready&timeout=20`)).body.data;
    expect(Object.keys(ready).slice(0, 14)).toEqual(FOURTEEN);
    expect(ready).toMatchObject({
      status: "ready",
      isolation: "vm-vtpm",
      failure_code: null,
      terminated_at: null,
    });
    expect(ready.ready_at >= ready.created_at).toBe(true);
    expect(ready.ssh.address).toMatch(/^127\.71\./);
    expect(await run(ready.ssh, mine.private, "uname")).toBe(`${made.hostname}: uname\n`);
    await expect(run(ready.ssh, others.private, "uname")).rejects.toThrow(/authentication/);

    expect(await countedOf(made.name)).toEqual([{ fromReady: true, open: true, billedAfter: null }]);
    const { lookup, serial } = openZoneRecords({
      ...{ db: casemate.control.db.run, zone: "workloads.localhost", instancesZone: "casemate.internal" },
    });
    const before = await serial();
    const address = [{ type: "A", address: ready.ssh.address, ttlSeconds: 15 }];
    expect(await lookup(made.hostname, "A")).toEqual(address);
    expect(await lookup("acme.casemate.internal", "A")).toEqual([]);
    for (const nobody of ["aaaaaaaa.acme", `${made.name}.other`, "other", `x.${made.name}.acme`])
      expect(await lookup(`${nobody}.casemate.internal`, "A")).toBeNull();

    const shown = (await acme("GET", `/v1/instances/${made.name}/attestation`)).body.data;
    expect(shown).toMatchObject({ isolation: "vm-vtpm", hardware: false, image_sha256: image.sha256 });
    expect(shown.verdicts).toMatchObject([
      { purpose: "login", platform: "tpm", accepted: true },
      { purpose: "seal", platform: "tpm", accepted: true },
    ]);
    // What it was started from is in the log, where a stranger who holds a checkpoint finds it.
    const place = `/guest-images/${image.sha256}/transparency`;
    await expect
      .poll(async () => (await casemate.anyone("GET", place)).status, { timeout: 20_000 })
      .toBe(200);
    const held = openCheckpoint((await casemate.anyone("GET", "/log/checkpoint")).text)!;
    const inHeld = openInclusion((await casemate.anyone("GET", `${place}?size=${held.size}`)).body)!;
    expect(checkIncluded(imageEntry(image.sha256), inHeld)).toEqual([]);
    expect(checkHeld(inHeld, { held })).toEqual([]);
    expect(checkIncluded(imageEntry("0".repeat(64)), inHeld)).toEqual(["inclusion_invalid"]);
    const none = await casemate.anyone("GET", `/guest-images/${"0".repeat(64)}/transparency`);
    expect(none.status).toBe(404);
    const { memory } = (await acme("GET", `/v1/instances/${made.name}/metrics`)).body.data;
    expect(memory).toEqual({ total_bytes: 512 * 2 ** 20, used_bytes: 1024 });
    const { lines } = (await acme("GET", `/v1/instances/${made.name}/logs?tail=2`)).body.data;
    expect(lines).toEqual(["log of the machine", "last"]);

    const deleted = await acme("DELETE", `/v1/instances/${made.name}`);
    expect(deleted.status).toBe(202);
    expect(["terminating", "terminated"]).toContain(deleted.body.data.status);
    await becomes(made.name, "terminated");
    // Up to the wish, however long the host took.
    expect(await countedOf(made.name)).toEqual([{ fromReady: true, open: false, billedAfter: false }]);
    const after = await record(made.name);
    expect(after).toMatchObject({ terminated_reason: "deleted_via_api", ssh: null });
    // Its name leads nowhere when what was kept of the answer is.
    await expect.poll(() => lookup(made.hostname, "A"), { timeout: 20_000 }).toBeNull();
    expect(await serial()).toBeGreaterThan(before);
    await expect(run(ready.ssh, mine.private, "uname")).rejects.toThrow();
    const told = await (
      await fetch(`${casemate.url}/v1/instances/${made.name}/events`, {
        headers: { authorization: `Bearer ${key}` },
      })
    ).text();
    const types = [...told.matchAll(/^event: (.*)$/gm)].map(([, type]) => type);
    expect(types).toEqual([
      ...["instance.created", "instance.ready", "instance.terminating", "instance.terminated", "end"],
    ]);
    // Again without effect.
    const again = (await acme("DELETE", `/v1/instances/${made.name}`)).body.data;
    expect(again).toEqual(after);
    const { instances } = (await acme("GET", "/v1/instances")).body.data;
    expect(instances.map(({ name }: { name: string }) => name)).toContain(made.name);
  });

  it("whose host boots something else, or answers in the guest's place, fails and is told why", async () => {
    for (const deviation of [
      { appended: "init=/bin/sh" },
      { ownKey: true },
      { withoutTpm: true },
      { ownHostKey: true },
    ]) {
      driver.deviation = deviation;
      const { name } = await create();
      await becomes(name, "failed");
      const failed = await record(name);
      expect(failed).toMatchObject({ failure_code: "attestation_failed", ready_at: null, ssh: null });
      expect(failed.failure_message).toMatch(/evidence/);
      // Nothing of it stays at the host, and it is still a record that can be deleted.
      const { rows } = await sql<{ id: string }>`
        select machine_id as id from instances where name = ${name}`.execute(casemate.control.db.run);
      expect(driver.claims.has(rows[0]!.id)).toBe("ownHostKey" in deviation);
      await expect
        .poll(
          async () =>
            (
              await sql<{ state: string }>`select state from machines where id = ${rows[0]!.id}`.execute(
                casemate.control.db.run,
              )
            ).rows[0]!.state,
          { timeout: 20_000 },
        )
        .toBe("ended");
      expect((await record(name)).status).toBe("failed");
      await acme("DELETE", `/v1/instances/${name}`);
      await becomes(name, "terminated");
    }
  }, 60_000);

  it("is ready at its host's next process, under the address and by the keys that it had", async () => {
    const { name } = await create();
    await becomes(name, "ready");
    const before = await record(name);
    await casemate.restartHost();
    await expect
      .poll(() => run(before.ssh, mine.private, "id").catch(String), { timeout: 20_000 })
      .toMatch(/: id$/m);
    // Nobody stopped it: one interval goes on.
    expect(await countedOf(name)).toEqual([{ fromReady: true, open: true, billedAfter: null }]);
    expect((await record(name)).ssh).toEqual(before.ssh);
    await acme("DELETE", `/v1/instances/${name}`);
    await becomes(name, "terminated");
  });
});

describe("a create", () => {
  it("with an Idempotency-Key is made once, however often and at once it is asked for", async () => {
    const idempotency = { "idempotency-key": "one", "x-correlation-id": "first" };
    const replies = await Promise.all(
      Array.from({ length: 6 }, () => acme("POST", "/v1/instances", ask(), idempotency)),
    );
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([202]));
    expect(new Set(replies.map(({ body }) => body.data.name)).size).toBe(1);
    expect(new Set(replies.map(({ body }) => body.request_id)).size).toBe(6);
    const again = await acme("POST", "/v1/instances", ask(), { "idempotency-key": "one" });
    // What was answered, in an envelope of its own.
    expect(again.body.data).toEqual(replies[0]!.body.data);
    expect([again.body.correlation_id, replies[0]!.body.correlation_id]).toEqual([null, "first"]);
    expect(again.body.request_id).toBe(again.headers.get("x-request-id"));
    const other = await acme("POST", "/v1/instances", ask({ inference_model: "x" }), idempotency);
    expect([other.status, other.body.error.code]).toEqual([409, "conflict"]);
    await acme("DELETE", `/v1/instances/${again.body.data.name}`);
  });

  it("that is forced onto a name that is held takes another", async () => {
    const { name } = await create();
    await acme("DELETE", `/v1/instances/${name}`);
    await becomes(name, "terminated");
    const account = casemate.control.db.run;
    const held = await sql<{ days: number }>`
      select extract(day from held_until - now())::int as days from instance_names where name = ${name}`.execute(
      account,
    );
    expect(held.rows[0]!.days).toBe(29);
    // All that could be drawn but the ones held: the database refuses them, whoever asks.
    const taken = sql`insert into instance_names (account_id, name, instance_id)
      select account_id, name, 'x' from instance_names where name = ${name}`.execute(account);
    await expect(taken).rejects.toThrow(/duplicate key/);
  });

  it.each([
    ["ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== u", "an RSA key"],
    ["", "nothing"],
    [`command="rm" ${PUBLIC_KEY}`, "options before the key"],
    [`${PUBLIC_KEY}\n${PUBLIC_KEY}`, "two keys"],
    ["ssh-ed25519 AAAA u", "a key that is too short"],
    [`${PUBLIC_KEY.split(" ").slice(0, 2).join(" ")} ${"c".repeat(257)}`, "a comment that is too long"],
    [PUBLIC_KEY.replace("ssh-ed25519", "ecdsa-sha2-nistp256"), "a type that is not the key's"],
    [mine.private, "a private key"],
  ])("with a key that is none (%#) is refused, and told which member it is", async (public_key) => {
    const { status, body } = await acme("POST", "/v1/instances", ask({ public_key }));
    expect([status, body.error.code, body.error.param]).toEqual([400, "invalid_request", "public_key"]);
    expect(body.error.message).toBe("public_key must be an ed25519 or ecdsa OpenSSH public key");
  });

  it("takes the keys of the other curves, with white space at the end", async () => {
    for (const bits of [256, 384, 521] as const) {
      const pair = ssh2.utils.generateKeyPairSync("ecdsa", { bits });
      const line = pair.public.split(" ", 2).join(" ");
      const made = await create({ public_key: `${line}\n` });
      expect(made.public_key).toBe(line);
      await acme("DELETE", `/v1/instances/${made.name}`);
    }
  });

  it.each([
    [{ agent: "other" }, "agent"],
    [{ inference_mode: "own" }, "inference_mode"],
    [{ public_key: 7 }, "public_key"],
    [{ public_key: undefined }, "public_key"],
  ])("with %j is refused", async (more, param) => {
    const { status, body } = await acme("POST", "/v1/instances", ask(more));
    expect([status, body.error.code, body.error.param]).toEqual([400, "invalid_request", param]);
  });
});

describe("every answer", () => {
  const bare = async (path: string, init: RequestInit = {}) => {
    const reply = await fetch(`${casemate.url}${path}`, init);
    return { status: reply.status, headers: reply.headers, body: JSON.parse(await reply.text()) };
  };
  const bearer = { authorization: `Bearer ` };

  it("is in the envelope, also when nothing came of it", async () => {
    const own = { authorization: `Bearer ${key}`, "x-correlation-id": "job 7" };
    const json = { "content-type": "application/json" };
    for (const [path, init, status, code] of [
      ["/v1/instances", {}, 401, "unauthenticated"],
      ["/v1/instances/x", { headers: own }, 404, "not_found"],
      ["/v1/instances/aaaaaaaa", { headers: own }, 404, "not_found"],
      ["/v1/instances/none/at/all", { headers: own }, 404, "not_found"],
      ["/v1/instances", { method: "PUT", headers: own }, 405, "method_not_allowed"],
      ["/v1/instances", { method: "POST", headers: { ...own, ...json }, body: "{" }, 400, "invalid_request"],
      [
        "/v1/instances",
        { method: "POST", headers: { ...own, "content-type": "text/plain" }, body: "{}" },
        415,
        "unsupported_media_type",
      ],
      [
        "/v1/instances",
        { method: "POST", headers: { ...own, ...json }, body: "x".repeat(2 ** 21) },
        413,
        "payload_too_large",
      ],
    ] as const) {
      const reply = await bare(path, init as RequestInit);
      expect([path, reply.status, reply.body.error.code]).toEqual([path, status, code]);
      expect(reply.body.request_id).toMatch(/^[0-9a-f]{32}$/);
      expect(reply.headers.get("x-request-id")).toBe(reply.body.request_id);
    }
    expect((await bare("/v1/instances", { headers: bearer })).body.error.message).toBe(
      "missing or invalid Bearer token",
    );
  });

  it("carries back what the client calls it, byte for byte, and never its own request id", async () => {
    const utf8 = Buffer.from("job 7/ü").toString("latin1");
    const headers = { authorization: `Bearer ${key}`, "x-correlation-id": utf8, "x-request-id": "mine" };
    const reply = await bare("/v1/instances", { headers });
    expect(reply.body.correlation_id).toBe("job 7/ü");
    expect(reply.headers.get("x-correlation-id")).toBe(utf8);
    expect(reply.headers.get("x-request-id")).not.toBe("mine");
  });

  it("is for the tenant alone: a stranger's key finds nothing, another surface's is not for this", async () => {
    const { name } = await create();
    const stranger = await tenant("stranger");
    for (const method of ["GET", "DELETE"])
      expect((await stranger.caller(method, `/v1/instances/${name}`)).body.error.code).toBe("not_found");
    expect((await stranger.caller("GET", "/v1/instances")).body.data.instances).toEqual([]);
    const session = await casemate.account();
    for (const caller of [admin, session]) {
      const { status, body } = await caller("GET", "/v1/instances");
      expect([status, body.error.code]).toEqual([403, "forbidden"]);
    }
    const spelled = callerOf(casemate.url, key.replace(/^ca_/, "confai_live_"));
    expect((await spelled("GET", `/v1/instances/${name}`)).status).toBe(200);
    await acme("DELETE", `/v1/instances/${name}`);
  });

  it("of one is not sent again to who has it", async () => {
    const { name } = await create();
    await becomes(name, "ready");
    const first = await acme("GET", `/v1/instances/${name}`);
    const etag = first.headers.get("etag")!;
    const again = await acme("GET", `/v1/instances/${name}`, undefined, { "if-none-match": etag });
    expect(again.status).toBe(304);
    await acme("DELETE", `/v1/instances/${name}`);
    await becomes(name, "terminated");
    expect((await acme("GET", `/v1/instances/${name}`, undefined, { "if-none-match": etag })).status).toBe(
      200,
    );
  });
});

it("a list goes by pages, and by state and agent", async () => {
  const { caller } = await tenant("pages");
  const names: string[] = [];
  for (let n = 0; n < 3; n++) names.unshift((await caller("POST", "/v1/instances", ask())).body.data.name);
  const first = (await caller("GET", "/v1/instances?limit=2")).body.data;
  const second = (await caller("GET", `/v1/instances?limit=2&cursor=${first.next_cursor}`)).body.data;
  const shown = [...first.instances, ...second.instances].map(({ name }: { name: string }) => name);
  expect(shown).toEqual(names);
  expect(second.next_cursor).toBeNull();
  expect((await caller("GET", "/v1/instances?agent=openclaw")).body.data.instances).toEqual([]);
  expect((await caller("GET", "/v1/instances?status=terminated")).body.data.instances).toEqual([]);
  for (const name of names) await caller("DELETE", `/v1/instances/${name}`);
});

describe("another dialect", () => {
  it("takes RSA keys, answers a delete with one that is terminating, and lists without keys", async () => {
    const other = await startInstallation({
      kept: driver,
      ssh: { addresses: "127.75.0.0/16", port: await freePort(), redirect: false },
      config: {
        imagesFolder: folder,
        instances: { dialect: { sshRsa: "accept", deleteBody: "terminating", publicKeyInList: false } },
      },
    });
    try {
      const operator = callerOf(other.url, other.adminKey);
      const made = await operator("POST", "/platform/v1/tenants", { name: "Ünï Corp.", slug: undefined });
      expect(made.body.slug).toBe("uni-corp");
      const again = await operator("POST", "/platform/v1/tenants", { name: "uni corp" });
      expect([again.status, again.body.message]).toEqual([409, "Another tenant has the slug uni-corp."]);
      const own = callerOf(other.url, made.body.api_key);
      const rsa = (bits: number) => ssh2.utils.generateKeyPairSync("rsa", { bits }).public;
      expect((await own("POST", "/v1/instances", ask({ public_key: rsa(1024) }))).status).toBe(400);
      const { name, hostname } = (await own("POST", "/v1/instances", ask({ public_key: rsa(2048) }))).body
        .data;
      expect(hostname).toBe(`${name}.uni-corp.casemate.internal`);
      const [listed] = (await own("GET", "/v1/instances")).body.data.instances;
      expect([listed.name, "public_key" in listed]).toEqual([name, false]);
      const deleted = (await own("DELETE", `/v1/instances/${name}`)).body.data;
      expect(deleted).toMatchObject({ status: "terminating", terminated_at: null });
    } finally {
      await other[Symbol.asyncDispose]();
    }
  }, 60_000);
});
