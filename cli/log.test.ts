// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeLog } from "#evidence/log/specimen.ts";
import { leafHash } from "#evidence/proofs/merkle.ts";
import { printedBy } from "#testing/printed.ts";
import { logVerifyCommand } from "./log.ts";

const log = makeLog();
const entries = Array.from({ length: 9 }, (_, index) => Buffer.from(`entry ${index}`));
let folder = "";
const path = (name: string) => join(folder, name);
const run = (...argv: string[]) => printedBy((printer) => logVerifyCommand(argv, printer));

async function publish(name: string, list: Buffer[]): Promise<string> {
  const tile = path(`${name}/tile/0/000.p/${list.length}`);
  await mkdir(dirname(tile), { recursive: true });
  await writeFile(tile, Buffer.concat(list.map(leafHash)));
  await writeFile(path(`${name}/checkpoint`), log.checkpoint(list));
  return path(name);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-log-verify-"));
  await writeFile(path("held"), log.checkpoint(entries.slice(0, 5)));
  await publish("grown", entries);
  await publish("forged", entries.with(2, Buffer.from("forged")));
  await publish("cut", entries.slice(0, 4));
});
afterAll(() => rm(folder, { recursive: true }));

test("a log that only grew holds, and its checkpoint is saved for the next time", async () => {
  const { code, out } = await run(
    "--from",
    path("held"),
    path("grown"),
    "--log-key",
    log.key,
    "--save",
    path("next"),
  );
  expect([code, out]).toEqual([
    ...[
      0,
      `example.org/specimen only grew: its 9 entries begin with the 5 of your checkpoint. A key that you pinned signed it.\n`,
    ],
  ]);
  const again = await run("--from", path("next"), path("grown"), "--json");
  expect(JSON.parse(again.out)).toEqual({
    ...{ valid: true, failure: null, origin: "example.org/specimen", from: 9, size: 9, signed: false },
  });
});

test.each([
  ["forged", "consistency_invalid"],
  ["cut", "log_behind"],
])("a log that was %s does not, and nothing is saved of it", async (name, code) => {
  const found = await run("--from", path("held"), path(name), "--save", path(`after-${name}`));
  expect(found.code).toBe(1);
  expect(found.out).toContain(`(${code})`);
  expect((await run("--from", path(`after-${name}`), path("grown"))).code).toBe(2);
});

test("a folder without the log, and a log without a tile, decide nothing", async () => {
  await mkdir(path("bare"));
  expect((await run("--from", path("held"), path("bare"))).code).toBe(3);
  await writeFile(path("bare/checkpoint"), log.checkpoint(entries));
  const { code, err } = await run("--from", path("held"), path("bare"));
  expect(code).toBe(3);
  expect(err).toContain("tile/0/000.p/9");
});

test("what never ends, as a pipe or a device in the folder or as the saved checkpoint, is not waited for", async () => {
  await mkdir(path("pipe"));
  execFileSync("mkfifo", [path("pipe/checkpoint")]);
  expect((await run("--from", path("held"), path("pipe"))).code).toBe(3);
  await mkdir(path("device"));
  await symlink("/dev/zero", path("device/checkpoint"));
  expect((await run("--from", path("held"), path("device"))).code).toBe(3);
  expect((await run("--from", "/dev/zero", path("grown"))).code).toBe(2);
});

test("a checkpoint that cannot be saved is told of, and what was there stays", async () => {
  await mkdir(path("kept/inside"), { recursive: true });
  const { code, err } = await run("--from", path("held"), path("grown"), "--save", path("kept"));
  expect([code, err]).toEqual([2, expect.stringContaining("which is as it was")]);
  expect(await readdir(path("kept"))).toEqual(["inside"]);
});

test.each([
  ["no place", ["--from", "x"]],
  ["no checkpoint", ["x"]],
  ["a checkpoint that is not there", ["--from", "/nonexistent", "x"]],
  ["a key that is none", ["--from", "x", "--log-key", "y", "z"]],
])("%s is wrong usage", async (_what, argv) => {
  expect((await run(...argv)).code).toBe(2);
});

test("a server that is gone, answers without end or sends elsewhere decides nothing", async () => {
  const server: Server = createServer((request, answer) => {
    if (request.url!.startsWith("/elsewhere")) answer.writeHead(302, { location: "/log/checkpoint" }).end();
    else if (request.url!.startsWith("/endless")) {
      const more = () => {
        while (answer.write(Buffer.alloc(65_536)));
        answer.once("drain", more);
      };
      more();
    } else answer.writeHead(503).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const place of ["/elsewhere", "/endless", "/broken"]) {
    const { code, err } = await run("--from", path("held"), url + place);
    expect([place, code, err]).toEqual([place, 3, expect.stringContaining("It cannot be told")]);
  }
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  expect((await run("--from", path("held"), `${url}/log`)).code).toBe(3);
});
