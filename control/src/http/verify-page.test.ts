// SPDX-License-Identifier: Apache-2.0
import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import Fastify from "fastify";
import { afterAll, beforeAll, expect, test } from "vitest";
import { addVerifyPage } from "./verify-page.ts";

const app = Fastify();
let reply: { statusCode: number; body: string; headers: Record<string, unknown> };
beforeAll(async () => {
  addVerifyPage(app);
  reply = await app.inject("/verify");
});
afterAll(() => app.close());

const inside = (tag: string) => new RegExp(`<${tag}>(.*?)</${tag}>`, "s").exec(reply.body)![1]!;
const hashOf = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

test("the page may run its own script and style, and ask nobody for anything", () => {
  expect(reply.statusCode).toBe(200);
  expect(reply.headers["content-type"]).toBe("text/html; charset=utf-8");
  const policy = String(reply.headers["content-security-policy"]).split("; ");
  expect(policy.toSorted()).toEqual(
    [
      ...["default-src 'none'", "connect-src 'none'", "base-uri 'none'", "form-action 'none'"],
      ...[`script-src ${hashOf(inside("script"))}`, `style-src ${hashOf(inside("style"))}`],
      "frame-ancestors 'none'",
    ].toSorted(),
  );
});

test("a saved copy has the same policy in it, but for what only an answer can say", () => {
  const kept = /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(reply.body)![1]!;
  expect(`${kept}; frame-ancestors 'none'`).toBe(reply.headers["content-security-policy"]);
});

test("nothing in it is loaded from elsewhere, or could be", () => {
  const markup = reply.body.replace(inside("script"), "").replace(inside("style"), "");
  expect(markup).not.toMatch(/\b(src|href|action|srcset)\s*=/i);
  expect(inside("style")).not.toMatch(/url\(|@import/i);
  expect(inside("script")).not.toMatch(/\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|EventSource|import\(/);
});

test("the licences of what is in it are in it", () => {
  for (const name of ["@noble/curves", "@noble/hashes", "canonicalize", "typebox"])
    expect(reply.body).toMatch(new RegExp(`^(<details>.*<pre>)?${name} \\d`, "m"));
  expect(reply.body).toContain("Copyright");
});

test("it is sent packed to who takes that, and not again to who has it", async () => {
  const headers = { "accept-encoding": "br, gzip" };
  const packed = await app.inject({ url: "/verify", headers });
  expect(packed.headers["content-encoding"]).toBe("gzip");
  expect(gunzipSync(packed.rawPayload).toString()).toBe(reply.body);
  expect(packed.rawPayload.length).toBeLessThan(reply.body.length / 3);
  const again = await app.inject({
    url: "/verify",
    headers: { "if-none-match": String(reply.headers.etag) },
  });
  expect([again.statusCode, again.body.length]).toEqual([304, 0]);
  const refused = await app.inject({ url: "/verify", headers: { "accept-encoding": "gzip;q=0" } });
  expect(refused.headers["content-encoding"]).toBeUndefined();
});
