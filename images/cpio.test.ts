// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { cpioArchive } from "./cpio.ts";

const entries = [
  { path: "init", bytes: Buffer.from("#!"), mode: 0o755 },
  { path: "modules/001-b.ko", bytes: Buffer.from("two"), mode: 0o644 },
  { path: "modules/000-a.ko", bytes: Buffer.from("one"), mode: 0o644 },
];

/** Name, mode, size and bytes of each record, read as the kernel reads them. */
function read(archive: Buffer) {
  const found: { name: string; mode: string; links: number; owner: number; time: number; text: string }[] =
    [];
  for (let at = 0; ; ) {
    expect(archive.toString("latin1", at, at + 6)).toBe("070701");
    const field = (index: number) =>
      Number.parseInt(archive.toString("latin1", at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const [mode, size, nameBytes] = [field(1), field(6), field(11)];
    const name = archive.toString("latin1", at + 110, at + 110 + nameBytes - 1);
    const start = Math.ceil((at + 110 + nameBytes) / 4) * 4;
    if (name === "TRAILER!!!") return found;
    const text = archive.toString("latin1", start, start + size);
    found.push({
      name,
      mode: mode.toString(8),
      links: field(4),
      owner: field(2) + field(3),
      time: field(5),
      text,
    });
    at = Math.ceil((start + size) / 4) * 4;
  }
}

test("the archive holds every file with its folders before it, owned by root, without a time", () => {
  const plain = { owner: 0, time: 0 };
  expect(read(cpioArchive(entries))).toEqual([
    { name: "init", mode: "100755", links: 1, text: "#!", ...plain },
    { name: "modules", mode: "40755", links: 2, text: "", ...plain },
    { name: "modules/000-a.ko", mode: "100644", links: 1, text: "one", ...plain },
    { name: "modules/001-b.ko", mode: "100644", links: 1, text: "two", ...plain },
  ]);
});

test("the archive's bytes do not depend on the order of what it is given", () => {
  expect(cpioArchive([...entries].reverse())).toEqual(cpioArchive(entries));
  expect(cpioArchive(entries).length % 512).toBe(0);
});

test.each(["/init", "../init", "a/../b", "a//b", "", "a b"])("%j is no path in an archive", (path) => {
  expect(() => cpioArchive([{ path, bytes: Buffer.alloc(0), mode: 0o644 }])).toThrow(/no path/);
});

test("one path is not in an archive twice", () => {
  expect(() => cpioArchive([entries[0]!, entries[0]!])).toThrow(/twice/);
});
