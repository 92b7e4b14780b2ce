// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { newMachineId, run, SPEC } from "../conformance/machine.ts";
import { writeNames } from "./skeleton.ts";
import { digestTree } from "./template.ts";
import { ownDriver } from "./testing.ts";

/** The least a session can run in: a shell, two programs and their libraries, copied from this machine. */
function smallTree(): string {
  const tree = mkdtempSync(join(tmpdir(), "casemate-template-"));
  chmodSync(tree, 0o755);
  mkdirSync(join(tree, "etc"));
  writeNames(join(tree, "etc"));
  for (const part of ["bin", "lib", "lib64"]) {
    mkdirSync(join(tree, "usr", part), { recursive: true });
    symlinkSync(`usr/${part}`, join(tree, part));
  }
  for (const [at, program] of Object.entries({ sh: "/bin/dash", sleep: "/bin/sleep", cat: "/bin/cat" })) {
    cpSync(realpathSync(program), join(tree, "usr/bin", at));
    for (const [library] of execFileSync("ldd", [program], { encoding: "latin1" }).matchAll(/\/\S+/g)) {
      mkdirSync(join(tree, dirname(library)), { recursive: true });
      cpSync(realpathSync(library), join(tree, library));
    }
  }
  return tree;
}

test("the digest is another when a byte, a name, a link or a folder is", async () => {
  const tree = mkdtempSync(join(tmpdir(), "casemate-digest-"));
  const seen: string[] = [];
  const look = async () => void seen.push(await digestTree(tree));
  await look();
  mkdirSync(join(tree, "a"));
  await look();
  writeFileSync(join(tree, "a", "file"), "one");
  await look();
  writeFileSync(join(tree, "a", "file"), "two");
  await look();
  symlinkSync("file", join(tree, "a", "link"));
  await look();
  rmSync(join(tree, "a", "link"));
  symlinkSync("a\nf", join(tree, "a", "link"));
  await look();
  expect(new Set(seen).size).toBe(6);
  rmSync(join(tree, "a"), { recursive: true });
  expect(await digestTree(tree)).toBe(seen[0]);
  rmSync(tree, { recursive: true });
});

describeWith([bubblewrap, root], "a machine from a template", () => {
  let tree: string;
  beforeAll(() => {
    tree = smallTree();
  });
  afterAll(() => rmSync(tree, { recursive: true, force: true }));

  test("sees the template's files and no others of the host, and its proof names the digest", async () => {
    writeFileSync(join(tree, "usr", "own"), "of the template");
    const digest = await digestTree(tree);
    await using own = closing(
      ownDriver("template", { templates: new Map([["small", { path: tree, digest }]]) }),
    );
    const id = newMachineId();
    await own.driver.start(id, { ...SPEC, image: "small" }, async () => {});
    const ran = await run(
      own.driver,
      id,
      "cat /usr/own; echo /usr/*; echo x > /usr/own; echo x > /etc/passwd",
    );
    expect(ran.stdout).toBe("of the template/usr/bin /usr/lib /usr/lib64 /usr/own\n");
    expect(ran.stderr.match(/Read-only file system/g)).toHaveLength(2);
    const facts = await own.driver.stop(id);
    expect(Object.values(facts.steps).every(({ ok }) => ok)).toBe(true);
    expect(facts.rootDigest).toBe(digest);
    expect(facts.limits).not.toContain("host_root_shared");
  });

  test("does not start when the tree is another than its digest says, and starts when it is put right", async () => {
    const digest = await digestTree(tree);
    await using own = closing(
      ownDriver("changed", { templates: new Map([["small", { path: tree, digest }]]) }),
    );
    const start = (image: string) => own.driver.start(newMachineId(), { ...SPEC, image }, async () => {});
    writeFileSync(join(tree, "usr", "added"), "");
    await expect(start("small")).rejects.toMatchObject({ code: "machine.image-unknown" });
    await expect(start("other")).rejects.toMatchObject({ code: "machine.image-unknown" });
    expect(own.driver.live()).toEqual([]);
    rmSync(join(tree, "usr", "added"));
    await start("small");
    expect(own.driver.live()).toHaveLength(1);
  });
});

const closing = (own: ReturnType<typeof ownDriver>) => ({ ...own, [Symbol.asyncDispose]: own.close });
