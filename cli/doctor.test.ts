// SPDX-License-Identifier: Apache-2.0
/** `casemate doctor` as an operator runs it, on this very computer. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { bubblewrap, describeWith, type Requirement, root } from "#testing/requirements.ts";

const ROOT = new URL("..", import.meta.url).pathname;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-doctor-cli-"));
  chmodSync(folder, 0o777);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const doctor = (words: string[], args: string[] = []) => {
  const command = [...words, process.execPath, join(ROOT, "cli/main.ts")];
  const state = join(folder, "state");
  return spawnSync(command[0]!, [...command.slice(1), "doctor", "--state", state, ...args], {
    cwd: "/",
    encoding: "utf8",
    timeout: 220_000,
    env: { PATH: process.env.PATH, TMPDIR: folder },
  });
};

it("exits as its last line says, one line for each check, and leaves nothing", { timeout: 240_000 }, () => {
  const { status, stdout } = doctor([]);
  const lines = stdout.trimEnd().split("\n");
  const last = lines.at(-1)!;
  expect(last).toMatch(
    /^Here: sessions (yes|no \(.+\)); workloads (yes|no \(.+\)); confidential hardware .+\.$/,
  );
  expect(status).toBe(last.startsWith("Here: sessions yes") ? 0 : 1);
  const checks = lines.filter((line) => line.startsWith("  "));
  expect(checks.length).toBeGreaterThan(25);
  for (const line of checks) expect(line).toMatch(/^ {2}(ok|warning|missing) +\S/);
  expect(readdirSync(folder)).toEqual([]);
});

const UID = 1_500_000_000 + process.pid;
const readable: Requirement = {
  met:
    existsSync("/usr/bin/setpriv") &&
    spawnSync("setpriv", [
      "--reuid",
      String(UID),
      "--regid",
      String(UID),
      "--clear-groups",
      process.execPath,
      "--check",
      join(ROOT, "cli/main.ts"),
    ]).status === 0,
  reason: "the checkout is not readable by other users",
};

describeWith([root, bubblewrap, readable], "doctor without root", () => {
  it("runs, tries a sandbox as that user, and says what is weaker", { timeout: 240_000 }, () => {
    const as = ["setpriv", "--reuid", String(UID), "--regid", String(UID), "--clear-groups"];
    const { stdout } = doctor(as, ["--json"]);
    const found = JSON.parse(stdout) as {
      workloads: boolean;
      checks: { id: string; state: string; says: string }[];
    };
    const say = (id: string) => found.checks.find((each) => each.id === id)!;
    expect(found.workloads).toBe(false);
    expect(say("user")).toMatchObject({ state: "warning", says: expect.stringContaining("shared_uid") });
    expect(say("sandbox").says).toMatch(new RegExp(`as uid ${UID}|cannot be made`));
    expect(readdirSync(folder)).toEqual([]);
  });
});
