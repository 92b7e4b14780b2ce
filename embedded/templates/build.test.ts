// SPDX-License-Identifier: Apache-2.0
/** With a package archive of the test's own on disk: apt resolves, fetches and unpacks for real, and reaches nobody. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { digestTree } from "#drivers/sandbox/template.ts";
import { describeWith } from "#testing/requirements.ts";
import { BASE_PACKAGES, buildTemplate } from "./build.ts";

const debian = {
  met: ["apt-get", "dpkg-deb"].every((program) => existsSync(`/usr/bin/${program}`)),
  reason: "there is no apt here",
};

describeWith([debian], "a template is built", () => {
  let folder: string;
  let sources: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "casemate-build-"));
    chmodSync(folder, 0o755);
    const archive = join(folder, "archive");
    mkdirSync(archive);
    const index = BASE_PACKAGES.map((name) => pack(archive, name, "", { [`bin/${name}`]: name }));
    index.push(pack(archive, "tool", "library", { "usr/bin/python3": "tool" }));
    index.push(pack(archive, "library", "", { "usr/lib/library": "library", "var/spool/x": "" }));
    index.push(pack(archive, "stuck", "nothing-that-is-there", { "usr/x": "" }));
    writeFileSync(join(archive, "Packages"), index.join("\n"));
    sources = join(folder, "sources.list");
    writeFileSync(sources, `deb [trusted=yes] copy:${archive} ./\n`);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const build = (name: string, ...packages: string[]) =>
    buildTemplate({ name, packages, folder: join(folder, "made"), sources });

  test("of packages and what they depend on, unpacked and not installed", async () => {
    const { path, digest } = await build("mine", "tool");
    expect(digest).toBe(await digestTree(path));
    expect(readFileSync(join(path, "usr/lib/library"), "latin1")).toBe("library");
    // Packages that still ship /bin do not make a folder of the link.
    expect(lstatSync(join(path, "bin")).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(path, "usr/bin/dash"), "latin1")).toBe("dash");
    expect(readFileSync(join(path, "etc/passwd"), "latin1")).toContain("session:x:1000");
    expect(lstatSync(join(path, "usr/local/bin/python")).isSymbolicLink()).toBe(true);
    expect(existsSync(join(path, "var"))).toBe(false);
    expect(existsSync(join(folder, "script-ran"))).toBe(false);
  });

  test("the same twice has the same digest", async () => {
    const [one, two] = [await build("one", "tool"), await build("two", "tool")];
    expect(one.digest).toBe(two.digest);
  });

  test.each([
    [["../up", "tool"], /no name for a template/],
    [["unheard-of"], /say which packages/],
    [["option", "--download-only"], /no name of a package/],
    [["lacking", "no-such-package"], /Unable to locate package no-such-package/],
    [["held", "stuck"], /apt-get: /],
  ])("not from %j, and nothing is left of the attempt", async ([name = "", ...packages], complaint) => {
    await expect(build(name, ...packages)).rejects.toThrow(complaint);
    const made = join(folder, "made");
    expect(
      (existsSync(made) ? readdirSync(made) : []).filter((each) => !/^(mine|one|two)$/.test(each)),
    ).toEqual([]);
  });

  test("never of a part of its packages", async () => {
    const inPlace = join(folder, "in-place.list");
    writeFileSync(inPlace, readFileSync(sources, "latin1").replace("copy:", "file:"));
    const part = buildTemplate({
      name: "part",
      packages: ["tool"],
      folder: join(folder, "made"),
      sources: inPlace,
    });
    await expect(part).rejects.toThrow(/not fetched: base-files, dash/);
  });

  test("never over one that is there, or where sandboxes could not reach it", async () => {
    mkdirSync(join(folder, "made", "taken"), { recursive: true });
    await expect(build("taken", "tool")).rejects.toThrow(/is there already/);
    rmSync(join(folder, "made", "taken"), { recursive: true });
    const closed = join(folder, "closed");
    mkdirSync(closed, { mode: 0o700 });
    const there = buildTemplate({ name: "mine", packages: ["tool"], folder: join(closed, "in"), sources });
    await expect(there).rejects.toThrow(`${closed} cannot be entered by every user`);
  });

  /** Makes a package, answers its lines of the index. */
  function pack(archive: string, name: string, depends: string, files: Record<string, string>): string {
    const tree = mkdtempSync(join(folder, "tree-"));
    chmodSync(tree, 0o755);
    const control = `Package: ${name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: a test\n${depends && `Depends: ${depends}\n`}`;
    mkdirSync(join(tree, "DEBIAN"));
    writeFileSync(join(tree, "DEBIAN", "control"), control);
    writeFileSync(join(tree, "DEBIAN", "preinst"), `#!/bin/sh\ntouch ${join(folder, "script-ran")}\n`, {
      mode: 0o755,
    });
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(tree, path, ".."), { recursive: true });
      writeFileSync(join(tree, path), text);
    }
    execFileSync("/usr/bin/dpkg-deb", ["--build", "--root-owner-group", tree, join(archive, `${name}.deb`)], {
      stdio: "ignore",
    });
    rmSync(tree, { recursive: true });
    const bytes = readFileSync(join(archive, `${name}.deb`));
    const digest = createHash("sha256").update(bytes).digest("hex");
    return `${control}Filename: ./${name}.deb\nSize: ${bytes.length}\nSHA256: ${digest}\n`;
  }
});
