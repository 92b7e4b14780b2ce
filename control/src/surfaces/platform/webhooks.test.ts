// SPDX-License-Identifier: Apache-2.0
/** Webhooks over HTTP, to real receivers on loopback that verify with the specification's own package. */
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { type ReceiverOptions, startReceiver } from "#testing/webhook-receiver.ts";
import { append } from "../../core/journal/index.ts";

let casemate: Installation;
let admin: Caller;
const driver = new FakeKeptDriver();
const TIMEOUT_MS = 1_000;
const WEBHOOKS = {
  ...{ allowHttp: true, allowNetworks: ["127.0.0.1"], resolvers: [] },
  ...{ endpointsMax: 3, timeoutMs: TIMEOUT_MS, retryFirstMs: 1 },
};
beforeAll(async () => {
  casemate = await startInstallation({
    kept: driver,
    config: {
      webhooks: WEBHOOKS,
      sessions: { tiers: { free: { rpm: null } } },
      // Low from the first charge on.
      workloads: { meterEveryMs: 100, lowMs: 1e12 },
    },
  });
  admin = callerOf(casemate.url, casemate.adminKey);
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

const undo: (() => PromiseLike<void>)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0)) await step();
});
async function receiver(options: ReceiverOptions = {}) {
  const made = await startReceiver(options);
  undo.push(() => made[Symbol.asyncDispose]());
  return made;
}
const run = () => casemate.control.db.run;
const journal = (account: string, type: string, payload: Record<string, unknown> = {}, subject = account) =>
  casemate.control.db.write((tx) => append(tx, { account, type, subject, payload }));
const low = (account: string, n: number) => journal(account, "balance.low", { balance_micros: n });
const hook = async (me: Caller, url: string, more: object = {}) => {
  const { status, body } = await me("POST", "/platform/v1/webhooks", { url, ...more });
  expect([status, body]).toEqual([201, body]);
  return body as { id: string; secret: string };
};
const deliveriesOf = async (me: Caller, id: string, query = "") =>
  (await me("GET", `/platform/v1/webhooks/${id}/deliveries${query}`)).body.deliveries;
const WORKLOAD = {
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
  ...{ dockerCompose: "services:\n  api:\n    image: caddy:2", memory: 512, cpus: 1, disk: 5 },
};
const WAIT = { timeout: 15_000, interval: 50 };

describe("a webhook", () => {
  it("is sent what it is for, signed, with the event's id, as the event reads", async () => {
    const there = await receiver();
    const me = await casemate.account();
    await low(me.accountId, 0);
    const { secret } = await hook(me, there.url, { events: ["session.*"] });
    await low(me.accountId, 1);
    const { session_id } = (await me("POST", "/v1/sessions", {})).body;
    await me("DELETE", `/v1/sessions/${session_id}`);
    await expect.poll(() => there.received.length, WAIT).toBe(2);
    for (const each of there.received) {
      expect(there.verify(each, secret)).toEqual(each.event);
      expect(() => there.verify({ ...each, body: `${each.body} ` }, secret)).toThrow();
      expect(each.event).toMatchObject({ id: each.id, object: "event", data: { session_id } });
      expect((await me("GET", `/platform/v1/events/${each.id}`)).body).toEqual(each.event);
    }
    await sleep(300);
    expect(there.received.map(({ event }) => event.type).sort()).toEqual([
      "session.created",
      "session.destroyed",
    ]);
  });

  it("hears of a low balance and of the workload that made it so", async () => {
    const there = await receiver();
    const name = { name: "poor", credits: 1 };
    const { apiToken } = (await admin("POST", "/api/v1/accounts/create", name)).body;
    const me = callerOf(casemate.url, apiToken);
    const { secret } = await hook(me, there.url, { events: ["account.balance_low", "workload.running"] });
    await me("POST", "/api/v1/workloads/create", WORKLOAD);
    await expect
      .poll(() => there.received.map(({ event }) => event.type).sort(), WAIT)
      .toEqual(["account.balance_low", "workload.running"]);
    for (const each of there.received) there.verify(each, secret);
  });

  it("hears of an instance whose egress is blocked, with what it has sent", async () => {
    const there = await receiver();
    const me = await casemate.account();
    const { secret } = await hook(me, there.url, { events: ["instance.egress_blocked"] });
    const event = {
      ...{ account: me.accountId, type: "instance.egress_blocked" },
      ...{ subject: "4k9p2xq7", payload: { egress_bytes: 5368709120 } },
    };
    await casemate.control.db.write((tx) => append(tx, event));
    await expect.poll(() => there.received.length, WAIT).toBe(1);
    const [one] = there.received;
    expect(there.verify(one!, secret)).toMatchObject({
      type: "instance.egress_blocked",
      data: { instance: "4k9p2xq7", egress_bytes: 5368709120 },
    });
  });

  it("that is made later is sent nothing from before, also where the fan-out was behind", async () => {
    const [first, second] = [await receiver(), await receiver()];
    const me = await casemate.account();
    await hook(me, first.url);
    await low(me.accountId, 1);
    await expect.poll(() => first.received.length, WAIT).toBe(1);
    await hook(me, second.url);
    await sql`update webhook_cursors set seq = 0 where account_id = ${me.accountId}`.execute(run());
    await low(me.accountId, 2);
    await expect.poll(() => [first.received.length, second.received.length], WAIT).toEqual([2, 1]);
    expect(second.received[0]!.event.data.balance_micros).toBe(2);
  });

  it("is shown without its secret, changed, and counted", async () => {
    const there = await receiver();
    const me = await casemate.account();
    const { id, secret, ...rest } = await hook(me, there.url, { description: "d" });
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    const got = await me("GET", `/platform/v1/webhooks/${id}`);
    expect(got.body).toEqual({ id, ...rest });
    expect(got.text).not.toContain(secret.slice(6));
    const etag = got.headers.get("etag")!;
    const again = () => me("GET", `/platform/v1/webhooks/${id}`, undefined, { "if-none-match": etag });
    expect((await again()).status).toBe(304);
    const change = { events: ["account.*"], description: "e", disabled: true };
    expect((await me("PATCH", `/platform/v1/webhooks/${id}`, change)).body).toMatchObject({
      ...change,
      disabled_reason: "asked",
    });
    expect((await again()).status).toBe(200);
    await hook(me, there.url);
    await hook(me, there.url);
    expect((await me("POST", "/platform/v1/webhooks", { url: there.url })).status).toBe(409);
    expect((await me("DELETE", `/platform/v1/webhooks/${id}`)).status).toBe(204);
    expect((await me("GET", "/platform/v1/webhooks")).body.webhooks).toHaveLength(2);
    await hook(me, there.url);
  });

  it("keeps neither address nor secret in clear", async () => {
    const me = await casemate.account();
    const there = await receiver();
    const { id, secret } = await hook(me, there.url);
    await me("POST", `/platform/v1/webhooks/${id}/test`);
    await expect.poll(() => there.received.length, WAIT).toBe(1);
    for (const table of [
      "webhook_endpoints",
      "webhook_deliveries",
      "webhook_attempts",
      "casemate_jobs.job",
    ]) {
      const { rows } = await sql<{ text: string }>`
        select convert_from(convert_to(t::text, 'UTF8'), 'UTF8') as text from ${sql.table(table)} t`.execute(
        run(),
      );
      expect(rows.length).toBeGreaterThan(0);
      for (const { text } of rows) {
        const decoded = text.replace(/\\\\x([0-9a-f]+)/g, (_, hex) => Buffer.from(hex, "hex").toString());
        for (const clear of ["s3cret", String(there.port), secret.slice(6, 30)])
          expect(decoded).not.toContain(clear);
      }
    }
  });

  it.each([
    ["https://169.254.169.254/latest", "address"],
    ["https://[::1]/", "address"],
    ["https://[::ffff:10.0.0.1]/", "address"],
    ["https://0x7f000002/", "address"],
    ["ftp://example.com/", "http"],
    ["https://user:pass@example.com/", "user name"],
    ["https://example.com/#part", "fragment"],
    ["not a url", "URL"],
  ])("cannot have the address %s", async (url, reason) => {
    const me = await casemate.account();
    const reply = await me("POST", "/platform/v1/webhooks", { url });
    expect([reply.status, reply.body.message]).toEqual([400, expect.stringContaining(reason)]);
  });

  it("is nothing to a stranger, nor are its deliveries", async () => {
    const there = await receiver();
    const [me, stranger] = [await casemate.account(), await casemate.account()];
    const { id } = await hook(me, there.url);
    const own = await hook(stranger, there.url);
    await me("POST", `/platform/v1/webhooks/${id}/test`);
    await expect.poll(() => there.received.length, WAIT).toBe(1);
    const [delivery] = await deliveriesOf(me, id);
    const path = (hookId: string) => `/platform/v1/webhooks/${hookId}`;
    for (const [method, rest, body] of [
      ["GET", "", undefined],
      ["PATCH", "", { disabled: true }],
      ["DELETE", "", undefined],
      ["POST", "/rotate-secret", undefined],
      ["POST", "/test", undefined],
      ["GET", "/deliveries", undefined],
      ["POST", `/deliveries/${delivery.id}/replay`, undefined],
    ] as const) {
      const theirs = await stranger(method, path(id) + rest, body);
      const never = await stranger(method, path(`whk_${"0".repeat(32)}`) + rest, body);
      expect([rest, theirs.status, theirs.body]).toEqual([rest, 404, never.body]);
    }
    // Nor through an endpoint of their own, though they have an event of that number.
    await low(stranger.accountId, 9);
    await expect.poll(() => there.received.length, WAIT).toBe(2);
    expect((await stranger("POST", `${path(own.id)}/deliveries/${delivery.id}/replay`)).status).toBe(404);
    await low(me.accountId, 1);
    await expect.poll(() => there.received.length, WAIT).toBe(3);
    expect(
      there.received.every(
        ({ event }) => JSON.stringify(event).includes("balance") || event.data.webhook_id === id,
      ),
    ).toBe(true);
  });
});

describe("deliveries", () => {
  it("are tried again until they are taken, under one id, and each try is told", async () => {
    const there = await receiver({
      answer: (response, _received, count) => {
        if (count > 2) return undefined;
        response.writeHead(500).end("secret of theirs");
        return "handled";
      },
    });
    const me = await casemate.account();
    const { id, secret } = await hook(me, there.url);
    await low(me.accountId, 7);
    await expect.poll(async () => (await deliveriesOf(me, id))[0]?.state, WAIT).toBe("delivered");
    const [delivery] = await deliveriesOf(me, id);
    expect(delivery.attempts.map(({ status }: { status: number }) => status)).toEqual([500, 500, 204]);
    expect(delivery.attempts.map(({ number }: { number: number }) => number)).toEqual([1, 2, 3]);
    expect(delivery.next_attempt_at).toBeNull();
    expect(new Set(there.received.map((each) => each.id))).toEqual(new Set([delivery.event_id]));
    for (const each of there.received) there.verify(each, secret);
    expect((await me("GET", `/platform/v1/webhooks/${id}`)).body.failing_since).toBeNull();
    expect(JSON.stringify(await deliveriesOf(me, id))).not.toContain("secret of theirs");
  }, 20_000);

  it("can be tested and replayed, and a replay says of what", async () => {
    const there = await receiver();
    const me = await casemate.account();
    const { id, secret } = await hook(me, there.url, { events: ["session.failed"] });
    const tested = await me("POST", `/platform/v1/webhooks/${id}/test`);
    expect(tested.status).toBe(202);
    await expect.poll(() => there.received.length, WAIT).toBe(1);
    expect(there.received[0]!.event).toMatchObject({ type: "webhook.test", data: { webhook_id: id } });
    const again = await me(
      "POST",
      `/platform/v1/webhooks/${id}/deliveries/${tested.body.delivery_id}/replay`,
    );
    expect(again.status).toBe(202);
    await expect.poll(() => there.received.length, WAIT).toBe(2);
    expect(there.received[1]!.id).toBe(tested.body.event_id);
    expect(there.verify(there.received[1]!, secret)).toEqual(there.received[0]!.event);
    const [newest] = await deliveriesOf(me, id);
    expect(newest).toMatchObject({ id: again.body.delivery_id, replay_of: tested.body.delivery_id });
    const first = (await me("GET", `/platform/v1/webhooks/${id}/deliveries?limit=1`)).body;
    const second = (
      await me("GET", `/platform/v1/webhooks/${id}/deliveries?limit=1&cursor=${first.next_cursor}`)
    ).body;
    expect([second.deliveries[0].id, second.next_cursor]).toEqual([tested.body.delivery_id, null]);
  });

  it("end with 410, which disables the webhook and is told to the others", async () => {
    const there = await receiver({
      answer: (response) => {
        response.writeHead(410).end();
        return "handled";
      },
    });
    const other = await receiver();
    const me = await casemate.account();
    const { id } = await hook(me, there.url, { events: ["account.*"] });
    await hook(me, other.url, { events: ["webhook.*"] });
    await low(me.accountId, 1);
    await expect.poll(() => other.received.length, WAIT).toBe(1);
    expect(other.received[0]!.event).toMatchObject({
      type: "webhook.disabled",
      data: { webhook_id: id, reason: "gone" },
    });
    expect((await me("GET", `/platform/v1/webhooks/${id}`)).body).toMatchObject({
      disabled: true,
      disabled_reason: "gone",
    });
    await low(me.accountId, 2);
    expect((await me("POST", `/platform/v1/webhooks/${id}/test`)).status).toBe(409);
    await sleep(300);
    expect(there.received).toHaveLength(1);
    // Enabled again, it is sent what happens from then on.
    await me("PATCH", `/platform/v1/webhooks/${id}`, { disabled: false });
    await low(me.accountId, 3);
    await expect.poll(() => there.received.length, WAIT).toBe(2);
    expect(there.received[1]!.event.data.balance_micros).toBe(3);
  });

  it("that are given up after three days disable a webhook that nothing reached for five", async () => {
    const there = await receiver({
      answer: (response) => {
        response.writeHead(503).end();
        return "handled";
      },
    });
    const me = await casemate.account();
    const { id } = await hook(me, there.url, { events: ["account.*"] });
    const age = (days: number) =>
      sql`update webhook_deliveries set created_at = created_at - make_interval(days => ${days}) where endpoint_id = ${id}`.execute(
        run(),
      );
    await low(me.accountId, 1);
    await expect.poll(() => there.received.length, WAIT).toBeGreaterThan(0);
    await age(3);
    await expect.poll(async () => (await deliveriesOf(me, id))[0].state, WAIT).toBe("failed");
    expect((await me("GET", `/platform/v1/webhooks/${id}`)).body.disabled).toBe(false);
    await sql`update webhook_endpoints set failing_since = now() - interval '5 days 1 minute' where id = ${id}`.execute(
      run(),
    );
    await low(me.accountId, 2);
    await expect.poll(async () => (await deliveriesOf(me, id)).length, WAIT).toBe(2);
    await age(3);
    await expect
      .poll(async () => (await me("GET", `/platform/v1/webhooks/${id}`)).body.disabled_reason, WAIT)
      .toBe("failing");
  }, 30_000);

  it("are not followed to where a receiver points", async () => {
    const inside = await receiver();
    const there = await receiver({
      answer: (response) => {
        response.writeHead(307, { location: inside.url }).end();
        return "handled";
      },
    });
    const me = await casemate.account();
    const { id } = await hook(me, there.url);
    await low(me.accountId, 1);
    await expect.poll(async () => (await deliveriesOf(me, id))[0]?.attempts[0]?.status, WAIT).toBe(307);
    expect(inside.received).toHaveLength(0);
  });

  it("carry both signatures for a day after a rotation", async () => {
    const there = await receiver();
    const me = await casemate.account();
    const { id, secret: old } = await hook(me, there.url);
    const { body } = await me("POST", `/platform/v1/webhooks/${id}/rotate-secret`);
    expect(body.secret).not.toBe(old);
    const left = new Date(body.previous_valid_until).getTime() - Date.now();
    expect(left / 3_600_000).toBeCloseTo(24, 1);
    await low(me.accountId, 1);
    await expect.poll(() => there.received.length, WAIT).toBe(1);
    for (const secret of [old, body.secret]) there.verify(there.received[0]!, secret);
    await sql`update webhook_endpoints set previous_until = now() where id = ${id}`.execute(run());
    await low(me.accountId, 2);
    await expect.poll(() => there.received.length, WAIT).toBe(2);
    there.verify(there.received[1]!, body.secret);
    expect(() => there.verify(there.received[1]!, old)).toThrow();
  });
});

describe("a receiver", () => {
  const hanging: ReceiverOptions = { answer: () => "handled" };

  it("that hangs is left after its time and holds up nobody, its own account's others included", async () => {
    const hangs = await receiver(hanging);
    const well = await receiver();
    const [me, other] = [await casemate.account(), await casemate.account()];
    const { id } = await hook(me, hangs.url, { events: ["account.*"] });
    await hook(me, well.url, { events: ["account.*"] });
    const theirs = await receiver();
    await hook(other, theirs.url);
    for (let n = 0; n < 20; n++) await low(me.accountId, n);
    await expect.poll(() => hangs.open(), WAIT).toBe(2);
    const began = performance.now();
    await low(other.accountId, 1);
    await expect.poll(() => theirs.received.length, WAIT).toBe(1);
    await expect.poll(() => well.received.length, WAIT).toBe(20);
    expect(performance.now() - began).toBeLessThan(9_000);
    expect(hangs.open()).toBeLessThanOrEqual(2);
    const obstacles = async () =>
      (await deliveriesOf(me, id)).flatMap(
        (each: { attempts: { obstacle: string; duration_ms: number }[] }) =>
          each.attempts.map(({ obstacle }) => obstacle),
      );
    await expect.poll(async () => new Set(await obstacles()), WAIT).toEqual(new Set(["too-slow"]));
    const tries = (await deliveriesOf(me, id)).flatMap(
      (each: { attempts: { duration_ms: number }[] }) => each.attempts,
    );
    for (const { duration_ms } of tries) expect(duration_ms).toBeLessThan(5 * TIMEOUT_MS);
    await me("DELETE", `/platform/v1/webhooks/${id}`);
  }, 30_000);

  it("that drips its answer is left after the same time", async () => {
    const drips = await receiver({
      answer: (response) => {
        response.writeHead(200);
        const timer = setInterval(() => response.write("."), 50);
        response.once("close", () => clearInterval(timer));
        return "handled";
      },
    });
    const me = await casemate.account();
    const { id } = await hook(me, drips.url);
    await low(me.accountId, 1);
    await expect
      .poll(async () => (await deliveriesOf(me, id))[0]?.attempts[0], WAIT)
      .toMatchObject({
        obstacle: "too-slow",
        status: null,
      });
    await me("DELETE", `/platform/v1/webhooks/${id}`);
  });

  it("that answers with 10 GiB has taken it, and is cut after a little of them", async () => {
    let sent = 0;
    const pours = await receiver({
      answer: (response) => {
        response.writeHead(200, { "content-length": String(10 * 1024 ** 3) });
        const more = () => {
          while (!response.destroyed) {
            sent += 65_536;
            if (!response.write(Buffer.alloc(65_536))) return void response.once("drain", more);
          }
        };
        response.on("error", () => {});
        more();
        return "handled";
      },
    });
    const me = await casemate.account();
    const { id } = await hook(me, pours.url);
    await low(me.accountId, 1);
    await expect.poll(async () => (await deliveriesOf(me, id))[0]?.state, WAIT).toBe("delivered");
    await expect.poll(() => pours.open(), WAIT).toBe(0);
    expect(sent).toBeLessThan(32 * 1024 ** 2);
  });

  it("that is nowhere is told as an obstacle, without a word of where", async () => {
    const gone = await startReceiver();
    await gone[Symbol.asyncDispose]();
    const me = await casemate.account();
    const { id } = await hook(me, gone.url);
    await low(me.accountId, 1);
    await expect
      .poll(async () => (await deliveriesOf(me, id))[0]?.attempts[0], WAIT)
      .toMatchObject({ status: null, obstacle: "unreachable" });
    await me("DELETE", `/platform/v1/webhooks/${id}`);
  });
});
