// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type RawBuilder, sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DriverFault } from "#drivers/driver.ts";
import type { RunningHost } from "#host/assemble.ts";
import { joinControl } from "#host/join.ts";
import { newNkey } from "#link/nats/access.ts";
import { natsAccess } from "#link/nats/files.ts";
import { signJoining } from "#link/nats/joining.ts";
import { startHostAt } from "#testing/broker-host.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { type NatsProcess, natsServer, serverOf } from "#testing/nats-server.ts";
import { describeWith } from "#testing/requirements.ts";

const ASK = {
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
  dockerCompose: "services:\n  api:\n    image: caddy:2",
  ...{ memory: 512, cpus: 1, disk: 5 },
};

const FACTS = JSON.stringify({ version: "0.1.0", drivers: [] });

const folder = mkdtempSync(join(tmpdir(), "casemate-hosts-"));
let nats: NatsProcess;
let one: Installation;
let two: Installation;
let admin: Caller;
const hosts: RunningHost[] = [];

interface Joined {
  host: RunningHost;
  hostId: string;
  key: string;
  /** The same host once more, after it was stopped. */
  again(): Promise<RunningHost>;
  driver: FakeKeptDriver;
  folder: string;
}

const invite = async (lifetime_s = 600): Promise<string> =>
  (await admin("POST", "/platform/v1/hosts/invitations", { name: "rack", lifetime_s })).body.token;

async function joined(driver = new FakeKeptDriver()): Promise<Joined> {
  const own = mkdtempSync(join(folder, "h-"));
  const stateFolder = join(own, "host");
  mkdirSync(stateFolder, { mode: 0o700 });
  const broker = await joinControl({ url: one.url, token: await invite(), stateFolder });
  const ceiling = { cpuMillis: 8_000, memoryMiB: 8_192, diskMiB: 102_400 };
  const again = () => startHostAt(natsAccess(broker)!, { folder: own, driver }, ceiling);
  const host = await again();
  hosts.push(host);
  return {
    ...{ host, again, driver, folder: own, hostId: host.hostId },
    key: readFileSync(join(stateFolder, "api.key"), "utf8").trim(),
  };
}

const connected = async (url: string, n: number) =>
  expect
    .poll(async () => ((await (await fetch(`${url}/health`)).json()) as { hosts: number }).hosts, {
      timeout: 15_000,
    })
    .toBe(n);
const running = async (caller: Caller, n: number) =>
  expect
    .poll(
      async () =>
        (await caller("GET", "/api/v1/workloads/list")).body.filter(
          ({ status }: { status: string }) => status === "running",
        ).length,
      { timeout: 15_000 },
    )
    .toBe(n);
const stateOf = async (hostId: string) =>
  (await admin("GET", "/platform/v1/hosts")).body.hosts.find(({ id }: { id: string }) => id === hostId);

describeWith([natsServer], "hosts", () => {
  beforeAll(async () => {
    const seedFile = join(folder, "control.seed");
    writeFileSync(seedFile, newNkey().seed, { mode: 0o600 });
    const port = await freePort();
    const configPath = join(folder, "broker.conf");
    nats = serverOf(configPath, port, join(folder, "nats.log"));
    const link = (broker: boolean) => ({
      nats: { servers: [`nats://127.0.0.1:${port}`], seedFile },
      ...(broker && {
        broker: {
          ...{ configPath, pidPath: join(folder, "nats.pid"), host: "127.0.0.1", port },
          ...{ certPath: null, keyPath: null },
        },
      }),
    });
    const workloads = { requestsPerMinute: null };
    // Control writes the file, and waits for the server that is started with it.
    const starting = startInstallation({
      ...{ withHost: false, replica: "one" },
      config: { link: link(true), workloads } as never,
    });
    while (!existsSync(configPath)) await sleep(20);
    await nats.start();
    one = await starting;
    two = await startInstallation({
      ...{ withHost: false, replica: "two", database: one.connection },
      config: { link: link(false), workloads } as never,
    });
    // The newest replica's operator is the one that counts.
    admin = callerOf(one.url, two.adminKey);
  });
  // More of them come from here in a minute than an address may.
  beforeEach(async () => {
    await sql`delete from rate_windows`.execute(one.control.db.run);
  });
  afterAll(async () => {
    for (const host of hosts) await host.stop();
    await two?.[Symbol.asyncDispose]();
    await one?.[Symbol.asyncDispose]();
    await nats?.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  describe("an invitation", () => {
    const seeds = new Map<string, string>();
    const newKey = () => {
      const { seed, publicKey } = newNkey();
      seeds.set(publicKey, seed);
      return { publicKey };
    };
    const send = async (token: string, host_id: string, public_key: string, signature: string) =>
      callerOf(one.url, null)("POST", "/platform/v1/hosts/join", { token, host_id, public_key, signature });
    const ask = async (token: string, hostId: string, publicKey: string) => {
      const seed = seeds.get(publicKey);
      const signature = seed === undefined ? "A".repeat(86) : signJoining(seed, { token, hostId, publicKey });
      return send(token, hostId, publicKey, signature);
    };
    const newId = () => `host_${randomBytes(16).toString("hex")}`;

    it("lets one host in once, and that one again when its answer was lost", async () => {
      const [token, id, { publicKey }] = [await invite(), newId(), newKey()];
      const first = await ask(token, id, publicKey);
      expect(first.status).toBe(200);
      const again = await ask(token, id, publicKey);
      expect(again.status).toBe(200);
      const other = await ask(token, newId(), newKey().publicKey);
      expect(other.status).toBe(403);
      // The key of the lost answer is no key any more.
      const heartbeat = (key: string) =>
        callerOf(one.url, key)("POST", "/api/v1/metal-instances/heartbeat", {
          metalInstanceId: id.slice(5).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
          availableArtifactVersions: [],
        });
      expect((await heartbeat(first.body.key)).status).toBe(401);
      expect((await heartbeat(again.body.key)).status).toBe(200);
    });

    it("lets in no key whose holder does not sign for this word, this host and this key", async () => {
      const [token, id, { publicKey }, other] = [await invite(), newId(), newKey(), newKey()];
      const sign = (seedOf: string, change = {}) =>
        signJoining(seeds.get(seedOf)!, { token, hostId: id, publicKey, ...change });
      const refused = [
        sign(other.publicKey),
        sign(publicKey, { token: await invite() }),
        sign(publicKey, { hostId: newId() }),
        sign(publicKey, { publicKey: other.publicKey }),
        "A".repeat(86),
        sign(publicKey).slice(0, -2),
      ];
      for (const signature of refused) expect((await send(token, id, publicKey, signature)).status).toBe(400);
      // Neither the word nor the key was used up by it.
      expect((await send(token, id, publicKey, sign(publicKey))).status).toBe(200);
    });

    it("is of no use any more to who finds it when its host has come", async () => {
      const [token, id, { publicKey }] = [await invite(), newId(), newKey()];
      const first = await ask(token, id, publicKey);
      await sql`update hosts set facts = facts || '{"version": "0.1.0"}' where id = ${id}`.execute(
        one.control.db.run,
      );
      expect((await ask(token, id, publicKey)).status).toBe(403);
      const { rows } = await sql`select from api_keys where host_id = ${id} and revoked_at is null`.execute(
        one.control.db.run,
      );
      expect([first.status, rows.length]).toEqual([200, 1]);
      // The operator's next word still tells it where the broker is by now.
      expect((await ask(await invite(), id, publicKey)).status).toBe(200);
    });

    it("lets in no more than one of ten that come with it at once", async () => {
      const token = await invite();
      const all = await Promise.all(
        Array.from({ length: 10 }, () => ask(token, newId(), newKey().publicKey)),
      );
      expect(all.map(({ status }) => status).sort()).toEqual([200, ...Array(9).fill(403)]);
    });

    it("does not make anybody a host that is there already, nor last beyond its time", async () => {
      const [id, { publicKey }] = [newId(), newKey()];
      expect((await ask(await invite(), id, publicKey)).status).toBe(200);
      expect((await ask(await invite(), id, newKey().publicKey)).status).toBe(403);
      const late = await invite();
      await sql`update host_invitations set expires_at = now() - interval '1 second'`.execute(
        one.control.db.run,
      );
      expect((await ask(late, newId(), newKey().publicKey)).status).toBe(403);
      expect((await ask(`cm_join_${"x".repeat(32)}`, newId(), newKey().publicKey)).status).toBe(403);
    });

    it("lets in no key that the broker would refuse, and one that is in keeps nobody else out", async () => {
      // Of the right form, with a wrong checksum: the broker refuses a whole file for it.
      const none = `U${"A".repeat(55)}`;
      expect((await ask(await invite(), newId(), none)).status).toBe(400);
      await sql`insert into hosts (id, facts, public_key) values (${newId()}, ${FACTS}::jsonb, ${none})`.execute(
        one.control.db.run,
      );
      const { publicKey } = newKey();
      expect((await ask(await invite(), newId(), publicKey)).status).toBe(200);
      await expect.poll(() => readFileSync(join(folder, "broker.conf"), "utf8")).toContain(publicKey);
    });

    it("lets in nobody who would share the name in the zone of a host that is there", async () => {
      const [id, word, { publicKey }] = [newId(), await invite(), newKey()];
      expect((await ask(await invite(), id, newKey().publicKey)).status).toBe(200);
      const alike = id.slice(0, 13) + newId().slice(13);
      expect((await ask(word, alike, publicKey)).status).toBe(403);
      // The word was not used up by it.
      expect((await ask(word, newId(), publicKey)).status).toBe(200);
    });

    it("does not let in again who is put out in that moment, nor give an id to the second of two keys", async () => {
      const { db } = one.control;
      const [token, id, { publicKey }] = [await invite(), newId(), newKey()];
      expect((await ask(token, id, publicKey)).status).toBe(200);
      let late: ReturnType<typeof ask> | undefined;
      const meanwhile = async (again: () => ReturnType<typeof ask>, first: RawBuilder<unknown>) => {
        await db.write(async (tx) => {
          await first.execute(tx);
          late = again();
          await sleep(300);
        });
        return (await late)!.status;
      };
      const out = sql`
        with gone as (update hosts set revoked_at = now() where id = ${id})
        update api_keys set revoked_at = now() where host_id = ${id} and revoked_at is null`;
      expect(await meanwhile(() => ask(token, id, publicKey), out)).toBe(403);
      const { rows: keys } = await sql`
        select from api_keys where host_id = ${id} and revoked_at is null`.execute(db.run);
      expect(keys).toHaveLength(0);
      const [second, word] = [newId(), await invite()];
      const mine = newKey().publicKey;
      const taken = sql`insert into hosts (id, facts, public_key) values (${second}, ${FACTS}::jsonb, ${mine})`;
      expect(await meanwhile(() => ask(word, second, newKey().publicKey), taken)).toBe(403);
      const { rows } = await sql`select public_key from hosts where id = ${second}`.execute(db.run);
      expect(rows).toEqual([{ public_key: mine }]);
    });

    it("is made and used by nobody but the operator and who holds it", async () => {
      const { key } = await one.account();
      for (const caller of [callerOf(one.url, null), callerOf(one.url, key!)]) {
        const reply = await caller("POST", "/platform/v1/hosts/invitations", {});
        expect([401, 403]).toContain(reply.status);
      }
    });
  });

  it("a host that is put out counts no more on any replica, and its work goes on elsewhere", async () => {
    const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "moved", credits: 1e6 }))
      .body;
    const owner = callerOf(two.url, apiToken);
    const bad = await joined();
    for (const { url } of [one, two]) await connected(url, 1);
    for (let n = 0; n < 3; n++)
      expect((await owner("POST", "/api/v1/workloads/create", ASK)).status).toBe(201);
    await running(owner, 3);
    const stopped = (await owner("GET", "/api/v1/workloads/list")).body[0].workloadId;
    await owner("POST", "/api/v1/workloads/stop", { workloadId: stopped });
    await running(owner, 2);
    const session = await one.account();
    const sealed = (
      await callerOf(one.url, session.key!)("POST", "/v1/sessions", { data_classification: "PHI" })
    ).body;
    expect(sealed.session_id).toMatch(/^sess_/);

    const out = await admin("POST", `/platform/v1/hosts/${bad.hostId}/revoke`);
    expect([out.status, out.body.state]).toEqual([200, "put_out"]);
    for (const { url } of [one, two]) await connected(url, 0);
    // Nowhere to go yet: they wait, and say so.
    await expect
      .poll(async () =>
        (await owner("GET", "/api/v1/workloads/list")).body.map((w: { status: string }) => w.status).sort(),
      )
      .toEqual(["starting", "starting", "stopped"]);
    const good = await joined();
    await running(owner, 2);
    expect(good.driver.running.size).toBe(2);
    expect((await owner("POST", "/api/v1/workloads/start", { workloadId: stopped })).status).toBe(200);
    await running(owner, 3);

    // What it still runs it may keep running; nothing it says or asks is heard.
    await sleep(1_000);
    for (const { url } of [one, two]) await connected(url, 1);
    expect((await stateOf(bad.hostId)).machines).toBe(0);
    const gone = await callerOf(one.url, session.key!)("GET", `/v1/sessions/${sealed.session_id}`);
    expect(gone.body.status).toBe("expired_unclean");
    const reply = await callerOf(one.url, bad.key)("POST", "/api/v1/metal-instances/heartbeat", {
      metalInstanceId: bad.hostId.slice(5).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
      availableArtifactVersions: [],
    });
    expect(reply.status).toBe(401);
    const events = await owner("POST", "/api/v1/workload-events/list", { workloadId: stopped });
    expect(
      events.body.events.map(({ details }: { details: { kind: string } }) => details.kind),
    ).not.toContain("vmRestarted");

    // Emptied, a host keeps nothing and takes nothing, and is still a host.
    const next = await joined();
    for (const { url } of [one, two]) await connected(url, 2);
    await admin("POST", `/platform/v1/hosts/${good.hostId}/drain`, { move: true });
    await expect.poll(() => next.driver.running.size, { timeout: 15_000 }).toBe(3);
    await expect.poll(() => good.driver.running.size, { timeout: 15_000 }).toBe(0);
    await running(owner, 3);
    expect((await stateOf(good.hostId)).state).toBe("draining");
    expect((await owner("POST", "/api/v1/workloads/create", ASK)).status).toBe(201);
    await running(owner, 4);
    expect([good.driver.running.size, next.driver.running.size]).toEqual([0, 4]);
    await admin("POST", `/platform/v1/hosts/${good.hostId}/resume`);
    expect((await stateOf(good.hostId)).state).toBe("connected");

    // A replica that missed the word, or heard it before the host was all in, learns of it with the next.
    const { db } = one.control;
    await sql`update hosts set revoked_at = now() where id = ${good.hostId}`.execute(db.run);
    await sql`select pg_notify('casemate_hosts', '')`.execute(db.run);
    for (const { url } of [one, two]) await connected(url, 1);
  }, 60_000);

  it("a first start that fails on one host is tried on a second, and is an error only then", async () => {
    class Failing extends FakeKeptDriver {
      override start(): Promise<never> {
        throw new DriverFault("machine.start-failed", "no address is left");
      }
    }
    for (const { id } of (await admin("GET", "/platform/v1/hosts")).body.hosts)
      await admin("POST", `/platform/v1/hosts/${id}/revoke`);
    for (const { url } of [one, two]) await connected(url, 0);
    const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "second", credits: 1e6 }))
      .body;
    const owner = callerOf(one.url, apiToken);
    const bad = await joined(new Failing());
    for (const { url } of [one, two]) await connected(url, 1);
    const kinds = async (workloadId: string) =>
      (await owner("POST", "/api/v1/workload-events/list", { workloadId })).body.events.map(
        ({ details }: { details: { kind: string } }) => details.kind,
      );
    const status = (workloadId: string) => async () =>
      (await owner("GET", `/api/v1/workloads/${workloadId}`)).body.status;
    const alone = (await owner("POST", "/api/v1/workloads/create", ASK)).body.workloadId;
    await expect.poll(status(alone), { timeout: 15_000 }).toBe("error");
    // What had no host any more came here too, and has its room until it has failed.
    const wanted = one.control.db.run
      .selectFrom("machines")
      .select("id")
      .where("surface", "=", "workloads")
      .where("want", "=", "up");
    await expect.poll(() => wanted.execute(), { timeout: 15_000 }).toEqual([]);
    // The one that is left with least is chosen first, and that is the bad one.
    const good = await joined();
    for (const { url } of [one, two]) await connected(url, 2);
    await sql`update hosts set memory_mib = memory_used + 600 where id = ${bad.hostId}`.execute(
      one.control.db.run,
    );
    // Nor is it an error while the second one is only away for a moment.
    await good.host.stop();
    for (const { url } of [one, two]) await connected(url, 1);
    const moved = (await owner("POST", "/api/v1/workloads/create", ASK)).body.workloadId;
    await expect.poll(() => kinds(moved), { timeout: 15_000 }).toContain("warning");
    await sleep(1_000);
    expect(await status(moved)()).toBe("starting");
    hosts.push(await good.again());
    await expect.poll(status(moved), { timeout: 15_000 }).toBe("running");
    expect(good.driver.running.size).toBe(1);
    expect(await kinds(moved)).not.toContain("failedToStart");
    const { rows } = await sql<{
      used: number;
    }>`select memory_used as used from hosts where id = ${bad.hostId}`.execute(one.control.db.run);
    expect(rows[0]!.used).toBe(0);
  }, 60_000);
});
