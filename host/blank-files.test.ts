// SPDX-License-Identifier: Apache-2.0
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { BlankFiles } from "./blank-files.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-blank-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(blanks: BlankFiles, path: string, text: string): void {
  const fd = blanks.open(path);
  writeSync(fd, text);
  closeSync(fd);
}

test("a removed file is gone from its name and comes back empty under the next, the same inode", () => {
  const blanks = new BlankFiles(join(folder, "blank"));
  const [first, second] = [join(folder, "first"), join(folder, "second")];
  write(blanks, first, "a secret that is longer");
  const { ino } = statSync(first);
  blanks.remove(first);
  expect(existsSync(first)).toBe(false);
  expect(
    readdirSync(join(folder, "blank")).map((name) => statSync(join(folder, "blank", name)).size),
  ).toEqual([0]);
  write(blanks, second, "short");
  expect(readFileSync(second, "utf8")).toBe("short");
  expect([statSync(second).ino, statSync(second).mode & 0o777]).toEqual([ino, 0o600]);
});

test("a file over another of its name begins empty", () => {
  const blanks = new BlankFiles(join(folder, "blank"));
  const path = join(folder, "file");
  for (const text of ["before, and long", "after"]) write(blanks, path, text);
  const other = join(folder, "other");
  write(blanks, other, "other");
  blanks.remove(other);
  write(blanks, path, "last");
  expect(readFileSync(path, "utf8")).toBe("last");
});

test("what an earlier process kept is gone before anything is used, emptied or not", () => {
  mkdirSync(join(folder, "blank"));
  writeFileSync(join(folder, "blank", "7"), "renamed, and then it was killed");
  new BlankFiles(join(folder, "blank"));
  expect(readdirSync(join(folder, "blank"))).toEqual([]);
});

test("no more than a few are kept, and one that somebody took is not missed", () => {
  const blanks = new BlankFiles(join(folder, "blank"));
  const paths = Array.from({ length: 40 }, (_, at) => join(folder, `file${at}`));
  for (const path of paths) write(blanks, path, "text");
  for (const path of paths) blanks.remove(path);
  expect(readdirSync(join(folder, "blank"))).toHaveLength(16);
  expect(readdirSync(folder)).toEqual(["blank"]);
  for (const name of readdirSync(join(folder, "blank"))) rmSync(join(folder, "blank", name));
  write(blanks, paths[0]!, "again");
  expect(readFileSync(paths[0]!, "utf8")).toBe("again");
  blanks.remove(join(folder, "never there"));
});
