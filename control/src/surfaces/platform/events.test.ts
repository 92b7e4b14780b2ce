// SPDX-License-Identifier: Apache-2.0
/** Event objects: told to the account's own keys, of any surface, for 30 days, and to nobody else. */
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EVENT_TYPES } from "#contract/platform/vocabulary.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { readEvents } from "#testing/server-events.ts";
import { append } from "../../core/journal/index.ts";

let casemate: Installation;
let admin: Caller;
const driver = new FakeKeptDriver();
beforeAll(async () => {
  casemate = await startInstallation({
    kept: driver,
    config: { sessions: { tiers: { free: { rpm: null } } } },
  });
  admin = callerOf(casemate.url, casemate.adminKey);
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

const WORKLOAD = {
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
  dockerCompose: "services:\n  api:\n    image: caddy:2\n    environment:\n      TOKEN: hunter2",
  ...{ memory: 512, cpus: 1, disk: 5, envVars: { TOKEN: "hunter2" } },
};
const typesOf = async (me: Caller, query = "") =>
  (await me("GET", `/platform/v1/events${query}`)).body.events.map(({ type }: { type: string }) => type);

/** Writes an entry as some surface would. */
const journal = (account: string, type: string, payload: Record<string, unknown> = {}, subject = "x") =>
  casemate.control.db.write((tx) => append(tx, { account, type, subject, payload }));

describe("events", () => {
  it("tell a session's life, newest first, and one by one", async () => {
    const me = await casemate.account();
    const { session_id } = (await me("POST", "/v1/sessions", {})).body;
    await me("DELETE", `/v1/sessions/${session_id}`);
    const { events, next_cursor } = (await me("GET", "/platform/v1/events")).body;
    expect(events).toMatchObject([
      {
        object: "event",
        type: "session.destroyed",
        data: { session_id, trigger: "api", outcome: "complete" },
      },
      { object: "event", type: "session.created", data: { session_id, data_classification: "general" } },
    ]);
    expect(next_cursor).toBeNull();
    for (const event of events)
      expect((await me("GET", `/platform/v1/events/${event.id}`)).body).toEqual(event);
  });

  it("tell a workload's life to a key of that surface, in either header, without a word of its content", async () => {
    const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "acme", credits: 1e6 }))
      .body;
    const me = callerOf(casemate.url, apiToken);
    const { workloadId } = (await me("POST", "/api/v1/workloads/create", WORKLOAD)).body;
    await expect
      .poll(() => typesOf(me), { timeout: 10_000 })
      .toEqual(["workload.running", "workload.starting", "workload.created"]);
    const reply = await callerOf(casemate.url, null)("GET", "/platform/v1/events", undefined, {
      "x-api-key": apiToken,
    });
    expect(reply.body.events.at(-1).data).toEqual({ workload_id: workloadId, name: "w" });
    expect(reply.text).not.toContain("hunter2");
  });

  it("are pages that neither skip nor repeat, and can be narrowed to a type or a noun", async () => {
    const me = await casemate.account();
    for (let n = 0; n < 5; n++) await journal(me.accountId, "balance.low", { balance_micros: n });
    await journal(me.accountId, "session.extended", { ttl_seconds: 9 });
    const seen: unknown[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query: string = `?limit=2&type=account.*${cursor === "" ? "" : `&cursor=${cursor}`}`;
      const { body } = await me("GET", `/platform/v1/events${query}`);
      seen.push(...body.events.map(({ data }: { data: unknown }) => data));
      cursor = body.next_cursor;
    }
    expect(seen).toEqual([4, 3, 2, 1, 0].map((balance_micros) => ({ balance_micros })));
    expect(await typesOf(me, "?type=session.extended")).toEqual(["session.extended"]);
    expect((await me("GET", "/platform/v1/events?type=session.unheard_of")).status).toBe(400);
    expect((await me("GET", "/platform/v1/events?cursor=x")).status).toBe(400);
  });

  it("have a closed vocabulary, and publish no member that nobody named", async () => {
    const me = await casemate.account();
    await journal(me.accountId, "vault.opened", { key: "hunter2" });
    await journal(me.accountId, "balance.low", { balance_micros: 1, note: "hunter2" });
    const { body, text } = await me("GET", "/platform/v1/events");
    expect(body.events.map(({ type }: { type: string }) => type)).toEqual(["account.balance_low"]);
    expect(EVENT_TYPES).toContain(body.events[0].type);
    expect(text).not.toContain("hunter2");
  });

  it("are not another account's, not even by their id", async () => {
    const [me, stranger] = [await casemate.account(), await casemate.account()];
    await journal(me.accountId, "balance.low", { balance_micros: 1 });
    await journal(stranger.accountId, "balance.low", { balance_micros: 2 });
    const [event] = (await me("GET", "/platform/v1/events")).body.events;
    const theirs = await stranger("GET", `/platform/v1/events/${event.id}`);
    const never = await stranger("GET", `/platform/v1/events/evt_${"0".repeat(32)}`);
    expect([theirs.status, theirs.body]).toEqual([404, never.body]);
  });

  it("are gone after 30 days", async () => {
    const me = await casemate.account();
    await journal(me.accountId, "balance.low", { balance_micros: 1 });
    const [event] = (await me("GET", "/platform/v1/events")).body.events;
    await sql`update journal set at = at - interval '30 days' where account_id = ${me.accountId}`.execute(
      casemate.control.db.run,
    );
    expect(await typesOf(me)).toEqual([]);
    expect((await me("GET", `/platform/v1/events/${event.id}`)).status).toBe(404);
  });

  it("are not for a key that was narrowed within its surface, nor for the operator's", async () => {
    const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "narrow", credits: 0 }))
      .body;
    const me = callerOf(casemate.url, apiToken);
    const { apiKey } = (
      await me("POST", "/api/v1/api-keys/create", { name: "r", scopes: ["workloads:read"] })
    ).body;
    expect((await callerOf(casemate.url, apiKey)("GET", "/api/v1/accounts/me")).status).toBe(200);
    expect((await callerOf(casemate.url, apiKey)("GET", "/platform/v1/events")).status).toBe(401);
    expect((await admin("GET", "/platform/v1/events")).status).toBe(401);
  });
});

describe("the stream of events", () => {
  /** Reads until `count` events came, then goes away. */
  async function follow(me: Caller, count: number, headers: Record<string, string> = {}) {
    const gone = new AbortController();
    const response = await fetch(`${casemate.url}/platform/v1/events/stream`, {
      headers: { authorization: `Bearer ${me.key}`, ...headers },
      signal: gone.signal,
    });
    expect(response.headers.get("content-type")).toMatch(/^text\/event-stream/);
    const reading = (async () => {
      const seen: { id: number; type: string }[] = [];
      let text = "";
      for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
        text += chunk;
        const blocks = text.split("\n\n");
        text = blocks.pop()!;
        for (const block of blocks)
          seen.push({
            id: Number(/^id: (.*)$/m.exec(block)?.[1]),
            type: /^event: (.*)$/m.exec(block)![1]!,
          });
        if (seen.length >= count) break;
      }
      gone.abort();
      return seen;
    })();
    return reading;
  }

  it("begins with what happens next, wakes at once, and resumes without a gap", async () => {
    const me = await casemate.account();
    await journal(me.accountId, "balance.low", { balance_micros: 1 });
    const following = follow(me, 2);
    await sleep(300);
    const began = performance.now();
    await journal(me.accountId, "balance.exhausted", {});
    await journal(me.accountId, "nobody.knows", {});
    await journal(me.accountId, "session.extended", { ttl_seconds: 3 });
    expect(await following).toEqual([
      { id: 2, type: "account.balance_exhausted" },
      { id: 4, type: "session.extended" },
    ]);
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(await follow(me, 1, { "last-event-id": "2" })).toEqual([{ id: 4, type: "session.extended" }]);
  });

  it("answers 410 to whoever would miss what was pruned, and 400 to what is no id of ours", async () => {
    const me = await casemate.account();
    for (let n = 0; n < 3; n++) await journal(me.accountId, "balance.low", { balance_micros: n });
    await sql`update journal set at = at - interval '31 days' where account_id = ${me.accountId} and seq <= 2`.execute(
      casemate.control.db.run,
    );
    const resume = (id: string) =>
      me("GET", "/platform/v1/events/stream", undefined, { "last-event-id": id });
    expect(await resume("1")).toMatchObject({ status: 410, body: { error: "Gone" } });
    expect((await resume("x")).status).toBe(400);
    expect(await follow(me, 1, { "last-event-id": "2" })).toEqual([{ id: 3, type: "account.balance_low" }]);
    await expect(
      readEvents(`${casemate.url}/platform/v1/events/stream`, { headers: { "last-event-id": "1" } }),
    ).rejects.toThrow("401");
  });
});
