// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, it } from "vitest";
import { describeWith, type Requirement } from "#testing/requirements.ts";
import { type AloneOptions, type Ended, runAlone } from "./alone.ts";
import { findProgram } from "./spawn.ts";

const trial = ["--unshare-user", "--unshare-net", "--ro-bind", "/", "/", "--", "true"];
const userNamespaces: Requirement = {
  met: findProgram("prlimit") !== null && spawnSync("bwrap", trial).status === 0,
  reason: "needs bubblewrap with user namespaces, and prlimit",
};
const MIB = 1024 * 1024;

describeWith([userNamespaces], "a program alone", () => {
  const folder = mkdtempSync(join(tmpdir(), "casemate-alone-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const [program, given, out] = ["program.mjs", "given", "out"].map((name) => join(folder, name)) as [
    ...[string, string, string],
  ];

  /** Runs this text; answers how it ended and the lines it said. */
  async function alone(text: string, more: Partial<AloneOptions> = {}) {
    writeFileSync(program, text);
    writeFileSync(given, "what it may read");
    writeFileSync(out, "");
    const lines: string[] = [];
    const ended: Ended = await runAlone({
      ...{ command: process.execPath, args: ["/program.mjs"], env: {}, cwd: "/" },
      readable: [process.execPath],
      shown: { [program]: "/program.mjs", [given]: "/given" },
      writable: { [out]: "/out" },
      ...{ fileBytesMax: MIB, memoryMiB: 256, cpuSeconds: 60, timeoutMs: 30_000, input: "hello" },
      onLine: (line) => lines.push(line),
      ...{ lineBytesMax: 100_000, linesMax: 100, signal: new AbortController().signal },
      ...more,
    });
    return { ended, lines };
  }
  const attempts = (list: Record<string, string>) => `
    import fs from "node:fs"; import net from "node:net"; import os from "node:os"; import cp from "node:child_process";
    const tried = async (name, work) => {
      try { console.log(JSON.stringify([name, await work()])); } catch (error) { console.log(JSON.stringify([name, "refused"])); }
    };
    ${Object.entries(list)
      .map(([name, code]) => `await tried(${JSON.stringify(name)}, async () => { ${code} });`)
      .join("\n")}`;
  const told = ({ lines }: { lines: string[] }) => Object.fromEntries(lines.map((line) => JSON.parse(line)));

  it("reads what it was given, writes where it may, and is heard", async () => {
    const { ended, lines } = await alone(`
      import fs from "node:fs";
      fs.writeFileSync("/out", fs.readFileSync("/given"));
      console.log(fs.readFileSync(0, "utf8"));`);
    expect([ended, lines, readFileSync(out, "utf8")]).toEqual([
      { how: "ended" },
      ["hello"],
      "what it may read",
    ]);
  });

  it("gives way to whoever else wants the processor", async () => {
    const { lines } = await alone(`import os from "node:os"; console.log(os.getPriority());`);
    expect(lines).toEqual(["10"]);
  });

  it("reaches no file, process, network or name of its host", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const done = await alone(
      attempts({
        users: `return fs.readFileSync("/etc/passwd", "utf8").length`,
        processes: `return fs.readdirSync("/proc").length`,
        host: `return fs.readdirSync("${folder}").length`,
        parent: `process.kill(${process.pid}, 0); return "there"`,
        loopback: `return new Promise((yes, no) => net.connect(${port}, "127.0.0.1").once("connect", () => yes("connected")).once("error", no))`,
        name: `return os.hostname()`,
        interfaces: `return Object.keys(os.networkInterfaces()).length`,
      }),
    );
    server.close();
    expect(told(done)).toEqual({
      ...{ users: "refused", processes: "refused", host: "refused", parent: "refused", loopback: "refused" },
      ...{ name: "alone", interfaces: "refused" },
    });
  });

  it("makes no file and no process, changes nothing it reads, and fills only what it was given", async () => {
    const done = await alone(
      attempts({
        file: `fs.writeFileSync("/new", "x")`,
        shared: `fs.writeFileSync("/dev/shm/new", "x")`,
        temporary: `fs.writeFileSync("/tmp/new", "x")`,
        given: `fs.writeFileSync("/given", "x")`,
        own: `fs.writeFileSync("/program.mjs", "x")`,
        process: `return cp.spawnSync("${process.execPath}", ["-e", "0"]).status === 0 ? "ran" : "refused"`,
        most: `process.on("SIGXFSZ", () => {}); fs.writeFileSync("/out", Buffer.alloc(${2 * MIB})); return "written"`,
      }),
    );
    const all = ["file", "shared", "temporary", "given", "own", "process", "most"];
    expect(told(done)).toEqual(Object.fromEntries(all.map((name) => [name, "refused"])));
    expect(readFileSync(out).length).toBeLessThanOrEqual(MIB);
    expect(readFileSync(given, "utf8")).toBe("what it may read");
  });

  it.each([
    ["in its heap", `const all = []; for (;;) all.push(Array.from({ length: 1e5 }, (_, n) => n + 0.5));`],
    ["beside its heap", `const all = []; for (;;) all.push(Buffer.alloc(50e6, 1));`],
    [
      "that is shared",
      `const all = []; for (;;) all.push(new Uint8Array(new SharedArrayBuffer(50e6)).fill(1));`,
    ],
  ])("that takes more memory than it may %s is ended", async (_where, text) => {
    const { ended } = await alone(text);
    expect(["memory", "died"]).toContain(ended.how);
    if (ended.how === "died") expect(ended.words).toMatch(/memory|allocat/i);
  });

  it("that does not end is ended, by the clock or by the time that processors gave it", async () => {
    const { ended } = await alone("for (;;);", { timeoutMs: 1_500 });
    expect(ended).toEqual({ how: "time" });
    const { ended: busy } = await alone("for (;;);", { timeoutMs: 60_000, cpuSeconds: 1 });
    expect(busy).toEqual({ how: "time" });
  });

  it("that talks too much is ended", async () => {
    expect((await alone(`for (;;) console.log("x");`)).ended).toEqual({ how: "talk" });
    expect((await alone(`process.stdout.write("x".repeat(1e6));setInterval(() => {}, 1e3)`)).ended).toEqual({
      how: "talk",
    });
  });

  it("is ended when nobody wants it any more", async () => {
    const given = new AbortController();
    const running = alone("setInterval(() => {}, 1000)", { signal: given.signal });
    await sleep(300);
    given.abort();
    expect((await running).ended).toEqual({ how: "cancelled" });
  });

  it("is gone, with the last of its processes, at whatever moment of its start it is ended", async () => {
    const left = () => spawnSync("ps", ["-eo", "args"], { encoding: "utf8" }).stdout.split(folder).length - 1;
    for (let n = 0; n < 60; n++) {
      const given = new AbortController();
      const running = alone("setInterval(() => {}, 1000)", { signal: given.signal });
      await sleep(n % 12);
      given.abort();
      expect((await running).ended).toEqual({ how: "cancelled" });
    }
    await expect.poll(left).toBe(0);
  });

  it("that fails says how, as far as is kept", async () => {
    const { ended } = await alone(`console.error("words"); process.exit(3)`);
    expect(ended).toEqual({ how: "died", code: 3, words: "words\n" });
  });

  it("is not run where its walls cannot be made", async () => {
    const { ended } = await alone("0", { readable: [process.execPath, "/there/is/none"] });
    expect(ended.how).toBe("unconfined");
  });
});
