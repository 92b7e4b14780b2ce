// SPDX-License-Identifier: Apache-2.0
/** The other end is written out by the test, byte by byte: what matters is a guest that does not keep to the protocol. */
import { duplexPair } from "node:stream";
import { expect, test } from "vitest";
import { GuestGone, GuestRefused, greetGuest } from "./client.ts";
import { FRAME_BYTES_MAX } from "./protocol.ts";

const LONG = { timeoutMs: 20_000 };
const BOOT = { agent: "1", bootId: "ab", claimed: false };

function open(options: { timeoutMs: number; signal?: AbortSignal } = LONG) {
  const [host, port] = duplexPair();
  const heard: string[] = [];
  let rest = "";
  port.on("data", (chunk) => {
    const lines = `${rest}${chunk}`.split("\n");
    rest = lines.pop()!;
    heard.push(...lines);
  });
  port.on("error", () => {});
  const guest = greetGuest(host, options);
  guest.catch(() => {});
  const session = () =>
    expect
      .poll(() => heard.length)
      .toBeGreaterThan(1)
      .then(() => JSON.parse(heard[1]!).hello.session);
  const welcome = async (given: object = {}) =>
    port.write(
      `\n${JSON.stringify({ welcome: { session: await session(), protocol: 1, ...BOOT, ...given } })}\n`,
    );
  return { guest, port, heard, welcome, say: (value: object) => port.write(`${JSON.stringify(value)}\n`) };
}

const asked = async (heard: string[], count = 1) => {
  await expect.poll(() => heard.length).toBe(2 + count);
  return JSON.parse(heard.at(-1)!) as { id: number; op: string };
};

test("what a guest said to an earlier host is not heard by this one", async () => {
  const { guest, port, heard, welcome } = open();
  port.write('alf an answer"}}\n{"id":1,"ok":{"old":true}}\n');
  port.write(
    `${JSON.stringify({ welcome: { session: "of another", protocol: 1, ...BOOT, bootId: "old" } })}\nhalf a`,
  );
  await welcome();
  expect((await guest).welcome.bootId).toBe("ab");
  // The line of ours that ends half a line of the host before.
  expect(heard[0]).toBe("");
  (await guest).close();
});

test("answers find their question, also out of several, and a refusal says its code", async () => {
  const { guest, heard, welcome, say } = open();
  await welcome();
  const { ask, close } = await guest;
  const [one, two] = [ask("health", {}, LONG), ask("shutdown", {}, LONG)];
  two.catch(() => {});
  await asked(heard, 2);
  const [first, second] = heard.slice(2).map((line) => JSON.parse(line).id);
  say({ id: second, error: { code: "failed", message: "cannot" } });
  say({ id: first, ok: { claimed: true } });
  await expect(one).resolves.toEqual({ claimed: true });
  await expect(two).rejects.toMatchObject(new GuestRefused("failed", "cannot"));
  close();
});

test.each([
  ["an answer to nothing", '{"id":99,"ok":{}}\n'],
  ["an answer without an id", '{"id":null,"error":{"code":"malformed","message":"x"}}\n'],
  ["no JSON", "ready\n"],
  ["no UTF-8", Buffer.from([0x22, 0xff, 0x22, 10])],
  ["an answer that is both", '{"id":1,"ok":{},"error":{"code":"failed","message":"x"}}\n'],
  ["a line without end", Buffer.alloc(FRAME_BYTES_MAX + 1, 97)],
  ["a second welcome", `${JSON.stringify({ welcome: { session: "x", protocol: 1, ...BOOT } })}\n`],
])("a guest that says %s is not spoken to again, and what waits is told", async (_, bytes) => {
  const { guest, port, heard, welcome } = open();
  await welcome();
  const { ask, closed } = await guest;
  const waiting = ask("health", {}, LONG);
  await asked(heard);
  port.write(bytes);
  await expect(waiting).rejects.toThrow(GuestGone);
  expect(await closed).toBeInstanceOf(GuestGone);
  await expect(ask("health", {}, LONG)).rejects.toThrow(GuestGone);
});

test("a guest that speaks none of our protocols is left", async () => {
  const { guest, welcome } = open();
  await welcome({ protocol: null });
  await expect(guest).rejects.toThrow(/does not speak our protocol/);
});

test("a guest that is silent is waited for as long as was said, and no longer than is wanted", async () => {
  await expect(open({ timeoutMs: 20 }).guest).rejects.toThrow(/no answer within 20 ms/);
  const wanted = new AbortController();
  const { guest } = open({ ...LONG, signal: wanted.signal });
  wanted.abort();
  await expect(guest).rejects.toThrow(/no longer wanted/);
});

test("a question without an answer in time ends the conversation", async () => {
  const { guest, welcome } = open();
  await welcome();
  const { ask, closed } = await guest;
  await expect(ask("health", {}, { timeoutMs: 20 })).rejects.toThrow(/health: no answer within 20 ms/);
  expect(await closed).toBeInstanceOf(GuestGone);
});

test("a port that closes rejects what waits", async () => {
  const { guest, port, heard, welcome } = open();
  await welcome();
  const { ask } = await guest;
  const waiting = ask("health", {}, LONG);
  await asked(heard);
  port.end();
  await expect(waiting).rejects.toThrow(/port was closed/);
});

test("a question over the limit of a line is refused before a byte of it is sent", async () => {
  const { guest, heard, welcome } = open();
  await welcome();
  const { ask, close } = await guest;
  const manifest = "a".repeat(FRAME_BYTES_MAX);
  const claim = { claimId: "c", entropy: "", timeMs: 0, manifest, authorizedKeys: [] };
  await expect(ask("claim", claim, LONG)).rejects.toThrow(/over the limit/);
  expect(heard).toHaveLength(2);
  close();
});
