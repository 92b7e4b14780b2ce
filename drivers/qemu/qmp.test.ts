// SPDX-License-Identifier: Apache-2.0
/** The client against a real QEMU, and against whoever else may be at the socket. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { Qmp } from "./qmp.ts";
import { type BareQemu, openQemu, qemu } from "./testing.ts";

const opened = async (socket: Socket, timeoutMs = 20_000) => {
  const connected = await Qmp.greet(socket, { timeoutMs });
  if (!connected.ok) throw new Error(connected.fault.message);
  return connected.value;
};

describeWith([qemu], "with a real QEMU", () => {
  let bare: BareQemu;
  let qmp: Qmp;
  beforeEach(async () => {
    bare = openQemu(["-machine", "q35", "-name", "mach_1"]);
    qmp = await opened(await bare.connect());
  });
  // First, since there is no conversation when it could not be begun.
  afterEach(async () => {
    await bare.close();
    qmp.close();
  });

  it("asks several things at once and gives each its own answer", async () => {
    const [name, status, version, kvm] = await Promise.all([
      qmp.execute("query-name"),
      qmp.execute("query-status"),
      qmp.execute("query-version"),
      qmp.execute("query-kvm"),
    ]);
    expect(name).toEqual({ ok: true, value: { name: "mach_1" } });
    expect(status).toMatchObject({ ok: true, value: { status: "prelaunch", running: false } });
    expect(version).toMatchObject({ ok: true, value: { qemu: { major: expect.any(Number) } } });
    expect(kvm).toMatchObject({ ok: true, value: { enabled: false } });
  });

  it("gives a refusal as a value, with QEMU's own class", async () => {
    expect(await qmp.execute("stop", { fast: true })).toEqual({
      ok: false,
      fault: { kind: "refused", errorClass: "GenericError", message: expect.stringContaining("fast") },
    });
    expect(await qmp.execute("query-sev-capabilities")).toMatchObject({
      ok: false,
      fault: { kind: "refused" },
    });
    expect((await qmp.execute("query-status")).ok).toBe(true);
  });

  it("tells events to each reader from its own beginning on, until it has heard enough", async () => {
    const enough = new AbortController();
    const all = qmp.events();
    await qmp.execute("cont");
    const later = qmp.events(enough.signal);
    await qmp.execute("stop");
    const seen = async (events: AsyncIterable<{ name: string; atMs: number }>, count: number) => {
      const names: string[] = [];
      for await (const { name, atMs } of events) {
        expect(Math.abs(atMs - Date.now())).toBeLessThan(120_000);
        if (names.push(name) === count) break;
      }
      return names;
    };
    expect(await seen(all, 2)).toEqual(["RESUME", "STOP"]);
    expect(await seen(later, 1)).toEqual(["STOP"]);
    enough.abort();
    expect(await seen(qmp.events(enough.signal), 1)).toEqual([]);
  });

  it("says `gone` to everything that waits when QEMU is killed, and to everything after", async () => {
    bare.child.kill("SIGSTOP");
    const waiting = qmp.execute("query-status");
    bare.child.kill("SIGKILL");
    expect(await waiting).toMatchObject({ ok: false, fault: { kind: "gone" } });
    expect(await qmp.execute("query-status")).toMatchObject({ ok: false, fault: { kind: "gone" } });
    for await (const event of qmp.events()) expect(event).toBeUndefined();
    expect(await qmp.ended).toMatch(/closed|ECONNRESET/);
  });

  it("does not mix up a late answer with the answer to a later command", async () => {
    bare.child.kill("SIGSTOP");
    expect(await qmp.execute("query-name", {}, { timeoutMs: 20 })).toMatchObject({
      ok: false,
      fault: { kind: "late" },
    });
    const after = qmp.execute("query-status", {}, { timeoutMs: 20_000 });
    bare.child.kill("SIGCONT");
    expect(await after).toMatchObject({ ok: true, value: { running: false } });
  });

  it("is let in again after it left", async () => {
    qmp.close();
    qmp = await opened(await bare.connect());
    expect((await qmp.execute("query-name")).ok).toBe(true);
  });
});

describe("with somebody else at the socket", () => {
  const GREETING = {
    QMP: { version: { qemu: { major: 9, minor: 0, micro: 0 }, package: "" }, capabilities: [] },
  };
  let folder: string;
  const closers: (() => Promise<unknown>)[] = [];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "casemate-no-qmp-"));
  });
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Answers the greeting and the capabilities as QEMU does; `say` gets what comes after that. */
  const peer = async (say: (socket: Socket, line: { id: number }) => void, greeting: unknown = GREETING) => {
    const path = join(folder, "qmp");
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      const ready = typeof greeting === "string" || Buffer.isBuffer(greeting);
      socket.write(ready ? greeting : `${JSON.stringify(greeting)}\r\n`);
      let rest = "";
      socket.setEncoding("utf8").on("data", (text: string) => {
        const lines = `${rest}${text}`.split("\n");
        rest = lines.pop()!;
        for (const line of lines) {
          const asked = JSON.parse(line);
          if (asked.execute === "qmp_capabilities")
            socket.write(`${JSON.stringify({ return: {}, id: asked.id })}\r\n`);
          else say(socket, asked);
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    closers.push(
      () =>
        new Promise((resolve) => {
          for (const socket of sockets) socket.destroy();
          server.close(resolve);
        }),
    );
    return connect(path);
  };

  it("says that nobody is there", async () => {
    expect(await Qmp.greet(connect(join(folder, "none")))).toEqual({
      ok: false,
      fault: { kind: "gone", message: "the socket failed: ENOENT" },
    });
  });

  it.each([
    ["nothing", ""],
    ["half a greeting", '{"QMP":'],
  ])("does not wait for ever for one that greets with %s", async (_, words) => {
    const socket = await peer(() => {}, words);
    expect(await Qmp.greet(socket, { timeoutMs: 50 })).toMatchObject({ ok: false, fault: { kind: "late" } });
  });

  it.each([
    ["no JSON", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["another object", '{"hello":1}\n'],
    ["no UTF-8", Buffer.from([0x22, 0xff, 0x22, 10])],
    ["a number", "1\n"],
  ])("refuses one that greets with %s", async (_, words) => {
    const socket = await peer(() => {}, words);
    expect(await Qmp.greet(socket)).toMatchObject({
      ok: false,
      fault: { kind: "gone", message: expect.stringContaining("does not greet") },
    });
  });

  it.each<[string, (socket: Socket, asked: { id: number }) => void, RegExp]>([
    ["what is no JSON", (socket) => socket.write("{nonsense}\n"), /no answer/],
    ["an answer without an id", (socket) => socket.write('{"return":{}}\n'), /no answer/],
    ["an answer to nothing", (socket, { id }) => socket.write(`{"return":{},"id":${id + 1}}\n`), /not asked/],
    [
      "an answer of another kind",
      (socket, { id }) => socket.write(`{"return":{"status":7,"running":"yes"},"id":${id}}\n`),
      /another kind/,
    ],
    ["a line without an end", (socket) => socket.write(Buffer.alloc(1024 * 1024, 0x20)), /does not end/],
    ["deep nesting", (socket) => socket.write(`${"[".repeat(100_000)}\n`), /no answer/],
    ["nothing more", (socket) => socket.end(), /closed/],
  ])("ends the conversation with one that answers %s", async (_, say, why) => {
    const qmp = await opened(await peer(say));
    const answer = await qmp.execute("query-status", {}, { timeoutMs: 20_000 });
    expect(answer).toMatchObject({ ok: false, fault: { kind: "gone", message: expect.stringMatching(why) } });
    expect(await qmp.ended).toMatch(why);
  });

  it("takes an answer that comes byte by byte, with an event in the middle of the line before", async () => {
    const words = '{"event":"STOP","timestamp":{"seconds":1,"microseconds":2000}}\r\n';
    const socket = await peer((socket, { id }) => {
      const bytes = `${words}{"return":{"status":"paused","running":false},"id":${id}}\r\n`;
      for (const byte of bytes) socket.write(byte);
    });
    const qmp = await opened(socket);
    const events = qmp.events();
    expect(await qmp.execute("query-status")).toMatchObject({ ok: true, value: { status: "paused" } });
    for await (const event of events) {
      expect(event).toEqual({ name: "STOP", data: {}, atMs: 1002 });
      break;
    }
    qmp.close();
  });

  it("does not keep the events of one that tells without end", async () => {
    const event = '{"event":"STOP","timestamp":{"seconds":1,"microseconds":2}}\n';
    const socket = await peer((socket) => {
      for (let sent = 0; sent < 1_000; sent++) socket.write(event);
    });
    const qmp = await opened(socket);
    const unread = qmp.events();
    await qmp.execute("stop", {}, { timeoutMs: 20_000 });
    expect(await qmp.ended).toMatch(/more events than were read/);
    let kept = 0;
    for await (const _ of unread) kept++;
    expect(kept).toBeLessThan(100);
  });
});
