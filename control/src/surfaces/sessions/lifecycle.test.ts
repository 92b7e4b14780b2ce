// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pruneJournal, type Sealer } from "#control/src/core/journal/index.ts";
import { type Caller, type Installation, type Reply, startInstallation } from "#testing/installation.ts";
import { readEvents } from "#testing/server-events.ts";

let casemate: Installation;
beforeAll(async () => {
  casemate = await startInstallation();
});
afterAll(() => casemate[Symbol.asyncDispose]());

const open = async (me: Caller, body: object = {}) =>
  (await me("POST", "/v1/sessions", body)).body.session_id as string;

describe("time to live", () => {
  it("ends a session by itself with a proof that says ttl, and DELETE returns that proof", async () => {
    const me = await casemate.account();
    const id = await open(me, { ttl_seconds: 3 });
    const ended = await me("GET", `/v1/sessions/${id}?wait=ended&timeout=20`);
    expect(ended.body).toMatchObject({ status: "expired", end_reason: "ttl", ttl_seconds: 3 });
    const proof = await me("GET", `/v1/proofs/${id}`);
    expect(proof.body.context).toMatchObject({ trigger: "ttl", ttl_seconds: 3 });
    const deleted = await me("DELETE", `/v1/sessions/${id}`);
    expect([deleted.status, deleted.body.status]).toEqual([200, "expired"]);
    expect(deleted.text).toContain(proof.text);
  });

  it("ends a command with the session and answers timed_out", async () => {
    const me = await casemate.account();
    const id = await open(me, { ttl_seconds: 3 });
    const reply = await me("POST", `/v1/sessions/${id}/exec`, { command: "echo begun; sleep 60" });
    expect(reply.status).toBe(200);
    expect(reply.body).toMatchObject({ output: "begun\n", exit_code: 124, timed_out: true });
  });

  it("can be extended within the tier and never shortened", async () => {
    const me = await casemate.account();
    const id = await open(me, { ttl_seconds: 5 });
    const extended = await me("PATCH", `/v1/sessions/${id}`, { ttl_seconds: 60 });
    expect(extended.body.ttl_seconds).toBe(60);
    expect((await me("PATCH", `/v1/sessions/${id}`, { ttl_seconds: 10 })).status).toBe(400);
    expect((await me("PATCH", `/v1/sessions/${id}`, { ttl_seconds: 301 })).status).toBe(400);
    await sleep(5500);
    expect((await me("GET", `/v1/sessions/${id}`)).body.status).toBe("active");
    await me("DELETE", `/v1/sessions/${id}`);
    expect((await me("PATCH", `/v1/sessions/${id}`, { ttl_seconds: 100 })).status).toBe(409);
  });

  it("refuses more than the tier's maximum and values that are no positive integer", async () => {
    const me = await casemate.account();
    for (const ttl_seconds of [301, 0, -1, 1.5, "60"]) {
      expect([ttl_seconds, (await me("POST", "/v1/sessions", { ttl_seconds })).status]).toEqual([
        ttl_seconds,
        400,
      ]);
    }
  });
});

describe("commands", () => {
  it("run one at a time; a second one meanwhile is a conflict", async () => {
    const me = await casemate.account();
    const id = await open(me);
    const command = "until [ -e over ]; do sleep 0.05; done; echo done";
    const first = me("POST", `/v1/sessions/${id}/exec`, { command });
    await me("GET", `/v1/sessions/${id}?wait=executing&timeout=20`);
    const second = await me("POST", `/v1/sessions/${id}/exec`, { command: "echo no" });
    expect([second.status, second.body.error]).toEqual([409, "Conflict"]);
    expect((await me("PUT", `/v1/sessions/${id}/files/over`, Buffer.from(""))).status).toBeLessThan(300);
    expect((await first).body.output).toBe("done\n");
    expect((await me("GET", `/v1/sessions/${id}`)).body.status).toBe("active");
  });

  it("refuse timeouts that are no positive integer", async () => {
    const me = await casemate.account();
    const id = await open(me);
    for (const timeout of [0, -5, 1.5, "3"]) {
      expect((await me("POST", `/v1/sessions/${id}/exec`, { command: "true", timeout })).status).toBe(400);
    }
  });

  it("are refused on an ended session with its status in the message", async () => {
    const me = await casemate.account();
    const id = await open(me);
    await me("DELETE", `/v1/sessions/${id}`);
    const reply = await me("POST", `/v1/sessions/${id}/exec`, { command: "true" });
    expect([reply.status, reply.body.message]).toEqual([409, "The session is destroyed."]);
  });

  it("stream stdout, stderr and the exit as events, bytes untouched", async () => {
    const me = await casemate.account();
    const id = await open(me);
    const events = await readEvents(`${casemate.url}/v1/sessions/${id}/exec?stream=1`, {
      method: "POST",
      headers: { authorization: `Bearer ${me.key}`, "content-type": "application/json" },
      body: JSON.stringify({ command: "printf '\\377\\000x'; printf e >&2; exit 7" }),
    });
    const bytes = (name: string) =>
      Buffer.concat(
        events.filter(({ event }) => event === name).map(({ data }) => Buffer.from(data.base64, "base64")),
      );
    expect(bytes("stdout")).toEqual(Buffer.from([0xff, 0, 0x78]));
    expect(bytes("stderr").toString()).toBe("e");
    expect(events.at(-1)).toMatchObject({ event: "exit", data: { exit_code: 7, timed_out: false } });
    expect((await me("GET", `/v1/sessions/${id}`)).body.status).toBe("active");
  });

  it("are ended when the client goes away, and the session is free again", async () => {
    const me = await casemate.account();
    const id = await open(me);
    const gone = new AbortController();
    const request = fetch(`${casemate.url}/v1/sessions/${id}/exec`, {
      method: "POST",
      headers: { authorization: `Bearer ${me.key}`, "content-type": "application/json" },
      body: JSON.stringify({ command: "sleep 60" }),
      signal: gone.signal,
    }).catch(() => null);
    await me("GET", `/v1/sessions/${id}?wait=executing&timeout=20`);
    gone.abort();
    await request;
    expect((await me("GET", `/v1/sessions/${id}?wait=active&timeout=10`)).body.status).toBe("active");
  });
});

describe("destroying", () => {
  it("gives ten callers at once the same proof", async () => {
    const me = await casemate.account();
    const id = await open(me);
    const replies = await Promise.all(Array.from({ length: 10 }, () => me("DELETE", `/v1/sessions/${id}`)));
    expect(new Set(replies.map(({ text }) => text)).size).toBe(1);
    expect(replies[0]!.status).toBe(200);
  });

  it("ends a running command and the session stays readable", async () => {
    const me = await casemate.account();
    const id = await open(me);
    const running = me("POST", `/v1/sessions/${id}/exec`, { command: "sleep 60" });
    await me("GET", `/v1/sessions/${id}?wait=executing&timeout=20`);
    expect((await me("DELETE", `/v1/sessions/${id}`)).body.status).toBe("destroyed");
    expect((await running).status).toBe(409);
    expect((await me("GET", `/v1/sessions/${id}`)).body).toMatchObject({
      status: "destroyed",
      end_reason: "api",
    });
  });

  it("has no proof before the end", async () => {
    const me = await casemate.account();
    const id = await open(me);
    expect((await me("GET", `/v1/proofs/${id}`)).status).toBe(404);
  });
});

describe("events", () => {
  it("tell a session's life in order, resume without a gap, and end", async () => {
    const me = await casemate.account();
    const id = await open(me);
    await me("POST", `/v1/sessions/${id}/exec`, { command: "true" });
    const headers = { authorization: `Bearer ${me.key}` };
    const following = readEvents(`${casemate.url}/v1/sessions/${id}/events`, { headers });
    await me("DELETE", `/v1/sessions/${id}`);
    const events = await following;
    expect(events.map(({ event }) => event)).toEqual([
      "session.created",
      "session.exec_ended",
      "session.destroyed",
      "end",
    ]);
    const resumed = await readEvents(`${casemate.url}/v1/sessions/${id}/events`, {
      headers: { ...headers, "last-event-id": events[0]!.id! },
    });
    expect(resumed.map(({ id: seq }) => seq)).toEqual(events.slice(1).map(({ id: seq }) => seq));
  });
});

describe("pruned events", () => {
  it("answer 410 to a reader who would miss some, and a fresh reader gets what is left and the end", async () => {
    const me = await casemate.account();
    const id = await open(me);
    await me("POST", `/v1/sessions/${id}/exec`, { command: "true" });
    await me("DELETE", `/v1/sessions/${id}`);
    const { db } = casemate.control;
    await sql`update journal set at = now() - interval '900 days' where account_id = ${me.accountId} and seq <= 2`.execute(
      db.run,
    );
    const plain: Sealer = {
      seal: async (_name, value) => Buffer.from(value),
      open: async (_name, sealed) => Buffer.from(sealed),
    };
    await pruneJournal(db, plain, 800);
    const late = await me("GET", `/v1/sessions/${id}/events`, undefined, { "last-event-id": "1" });
    expect([late.status, late.body.error]).toEqual([410, "Gone"]);
    const headers = { authorization: `Bearer ${me.key}` };
    const left = await readEvents(`${casemate.url}/v1/sessions/${id}/events`, { headers });
    expect(left.map(({ event }) => event)).toEqual(["session.destroyed", "end"]);
    const again = await readEvents(`${casemate.url}/v1/sessions/${id}/events`, {
      headers: { ...headers, "last-event-id": left.at(-1)!.id! },
    });
    expect(again.map(({ event }) => event)).toEqual(["end"]);
  });
});

describe("reading", () => {
  it("pages through sessions, newest first, each exactly once", async () => {
    const me = await casemate.account();
    const made: string[] = [];
    for (let n = 0; n < 7; n++) {
      const id = await open(me);
      made.push(id);
      await me("DELETE", `/v1/sessions/${id}`);
    }
    const seen: string[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const page: Reply = await me("GET", `/v1/sessions?limit=3${cursor === "" ? "" : `&cursor=${cursor}`}`);
      seen.push(...page.body.sessions.map((session: { session_id: string }) => session.session_id));
      cursor = page.body.next_cursor;
    }
    expect([...seen].sort()).toEqual([...made].sort());
    expect((await me("GET", "/v1/sessions?cursor=nonsense")).status).toBe(400);
    expect((await me("GET", "/v1/sessions?limit=0")).status).toBe(400);
  });

  it("answers 304 while nothing changed", async () => {
    const me = await casemate.account();
    const id = await open(me);
    const first = await me("GET", `/v1/sessions/${id}`);
    const etag = first.headers.get("etag")!;
    expect((await me("GET", `/v1/sessions/${id}`, undefined, { "if-none-match": etag })).status).toBe(304);
    await me("POST", `/v1/sessions/${id}/exec`, { command: "true" });
    expect((await me("GET", `/v1/sessions/${id}`, undefined, { "if-none-match": etag })).status).toBe(200);
  });
});

describe("an Idempotency-Key", () => {
  it("makes one session of many parallel and later repeats", async () => {
    const me = await casemate.account();
    const headers = { "idempotency-key": "once-only" };
    const replies = await Promise.all(
      Array.from({ length: 5 }, () => me("POST", "/v1/sessions", {}, headers)),
    );
    replies.push(await me("POST", "/v1/sessions", {}, headers));
    expect(new Set(replies.map(({ body }) => body.session_id)).size).toBe(1);
    expect((await me("GET", "/v1/customers/me")).body.sessions_used).toBe(1);
    const other = await me("POST", "/v1/sessions", { data_classification: "PII" }, headers);
    expect([other.status, other.body.error]).toEqual([409, "Conflict"]);
  });

  it("of one account is nothing to another", async () => {
    const [a, b] = [await casemate.account(), await casemate.account()];
    const headers = { "idempotency-key": "the-same" };
    const [first, second] = [
      await a("POST", "/v1/sessions", {}, headers),
      await b("POST", "/v1/sessions", {}, headers),
    ];
    expect(first.body.session_id).not.toBe(second.body.session_id);
  });
});

describe("files", () => {
  it("are written, read and removed byte for byte", async () => {
    const me = await casemate.account();
    const id = await open(me);
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, n) => n % 256));
    const put = await me("PUT", `/v1/sessions/${id}/files/a/b.bin`, bytes, {
      "content-type": "application/octet-stream",
    });
    expect(put.body).toEqual({ path: "a/b.bin", size_bytes: bytes.length });
    const got = await fetch(`${casemate.url}/v1/sessions/${id}/files/a/b.bin`, {
      headers: { authorization: `Bearer ${me.key}` },
    });
    expect(Buffer.from(await got.arrayBuffer()).equals(bytes)).toBe(true);
    expect((await me("DELETE", `/v1/sessions/${id}/files/a/b.bin`)).status).toBe(204);
    expect((await me("GET", `/v1/sessions/${id}/files/a/b.bin`)).status).toBe(404);
  });

  it("cannot be named outside the session", async () => {
    const me = await casemate.account();
    const id = await open(me);
    for (const path of ["..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "a%00b", "a%2f%2fb", "."]) {
      const reply = await me("GET", `/v1/sessions/${id}/files/${path}`);
      expect([path, reply.status]).toEqual([path, path === "." ? reply.status : 400]);
      expect(reply.status).toBeGreaterThanOrEqual(400);
    }
  });
});

describe("a lost host", () => {
  it("ends its sessions with proofs of their own accord, and control learns it when it is back", async () => {
    const me = await casemate.account();
    const id = await open(me);
    await casemate.restartHost();
    const ended = await me("GET", `/v1/sessions/${id}?wait=ended&timeout=20`);
    expect(ended.body).toMatchObject({ status: "destroyed", end_reason: "shutdown" });
    expect((await me("GET", `/v1/proofs/${id}`)).body.context.trigger).toBe("shutdown");
  });
});
