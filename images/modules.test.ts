// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { dependsOf, orderModules } from "./modules.ts";
import { BUILD_TOOLS } from "./tools.ts";

/** An ELF file with nothing but the section that is read, and the one that names it. */
function module(depends: string): Buffer {
  const names = Buffer.from("\0.modinfo\0.names\0");
  const info = Buffer.from(`license=GPL\0depends=${depends}\0name=x\0`);
  const head = Buffer.alloc(64);
  head.write("\x7fELF", "latin1");
  head.set([2, 1], 4);
  head.writeBigUInt64LE(BigInt(64 + names.length + info.length), 40);
  head.writeUInt16LE(2, 60);
  head.writeUInt16LE(1, 62);
  const section = (name: number, at: number, bytes: number) => {
    const entry = Buffer.alloc(64);
    entry.writeUInt32LE(name, 0);
    entry.writeBigUInt64LE(BigInt(at), 24);
    entry.writeBigUInt64LE(BigInt(bytes), 32);
    return entry;
  };
  return Buffer.concat([
    ...[head, names, info, section(1, 64 + names.length, info.length), section(10, 64, names.length)],
  ]);
}

let folder = "";
afterEach(() => rmSync(folder, { recursive: true, force: true }));
function tree(modules: Record<string, string>): string {
  folder = mkdtempSync(join(tmpdir(), "casemate-modules-"));
  for (const [path, depends] of Object.entries(modules)) {
    mkdirSync(dirname(join(folder, "kernel", path)), { recursive: true });
    writeFileSync(join(folder, "kernel", path), module(depends));
  }
  writeFileSync(join(folder, "modules.builtin"), "kernel/lib/built-in.ko\n");
  return folder;
}
const names = (at: string, ...wanted: string[]) => orderModules(at, wanted).map(({ name }) => name);

test("what a module needs comes before it, once, and what is built in does not come at all", () => {
  const at = tree({
    "a/top.ko": "middle-one,built_in",
    "b/middle-one.ko": "low",
    "c/low.ko": "",
    "c/other.ko": "low",
  });
  expect(names(at, "top", "other")).toEqual(["low", "other", "middle_one", "top"]);
  expect(names(at, "other", "top", "built-in")).toEqual(["low", "other", "middle_one", "top"]);
});

const xz = {
  met: spawnSync("xz", ["--version"]).status === 0,
  reason: `needs xz (apt-get install ${BUILD_TOOLS.xz})`,
};
describeWith([xz], "modules that the package has packed", () => {
  test("are taken unpacked, with what they need", () => {
    const at = tree({ "a/top.ko": "low", "b/low.ko": "" });
    for (const each of ["a/top", "b/low"]) execFileSync("xz", [join(at, "kernel", `${each}.ko`)]);
    expect(orderModules(at, ["top"])).toEqual([
      { name: "low", bytes: module("") },
      { name: "top", bytes: module("low") },
    ]);
    writeFileSync(join(at, "kernel/b/low.ko.xz"), "this is not packed");
    expect(() => orderModules(at, ["top"])).toThrow(/xz/);
  });
});

test("a module that is not there is named, with what needs it", () => {
  const at = tree({ "a/top.ko": "lost" });
  expect(() => names(at, "top")).toThrow("no module lost, which top needs");
  expect(() => names(at, "absent")).toThrow("no module absent, which the image needs");
});

test("modules that need each other end", () => {
  expect(names(tree({ "a/one.ko": "two", "a/two.ko": "one" }), "one")).toEqual(["two", "one"]);
});

test.each([
  ["nothing", Buffer.alloc(0)],
  ["a script", Buffer.from("#!/bin/sh\n".repeat(20))],
  ["a module that is cut off", module("a").subarray(0, 100)],
  ["a file of 32 bits", Object.assign(module("a"), { 4: 1 })],
])("%s is no module", (_, file) => {
  expect(() => dependsOf(file)).toThrow(/no kernel module/);
});
