// SPDX-License-Identifier: Apache-2.0
/** The same driver without root: one uid for all, no cgroups to write, and a proof that says so. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { bubblewrap, describeWith, type Requirement, root } from "#testing/requirements.ts";
import type { Ran } from "../conformance/machine.ts";
import type { DriverProbe, EndFacts } from "../driver.ts";

const NOBODY = 65534;
const HOST = fileURLToPath(new URL("./unprivileged-host.ts", import.meta.url));
const as = { uid: NOBODY, gid: NOBODY, env: { PATH: "/usr/bin:/bin" }, cwd: "/" };

const namespaces: Requirement = {
  met: root.met && spawnSync("bwrap", ["--unshare-user", "--ro-bind", "/", "/", "true"], as).status === 0,
  reason: "this kernel gives user namespaces to root only",
};
const readable: Requirement = {
  met: root.met && spawnSync(process.execPath, ["--check", HOST], as).status === 0,
  reason: "the checkout is not readable by other users",
};

interface Said {
  probe: DriverProbe;
  confined: string;
  locked: Ran;
  late: Ran;
  left: string;
  bomb: Ran;
  put: string;
  facts: EndFacts;
}

describeWith([root, bubblewrap, namespaces, readable], "without root", () => {
  test("a machine is as confined, is ended as measured, and its proof names what it lacks", () => {
    const folder = mkdtempSync(join(tmpdir(), "casemate-nobody-"));
    chmodSync(folder, 0o777);
    // Lower than what a machine is given, and not ours to raise: what is less is as good.
    const lowered = ["-c", 'ulimit -c 0; ulimit -n 512; exec "$0" "$@"'];
    const host = [process.execPath, HOST, join(folder, "driver")];
    const ran = spawnSync("/bin/sh", [...lowered, ...host], { ...as, timeout: 50_000 });
    rmSync(folder, { recursive: true, force: true });
    expect(ran.stderr.toString()).toBe("");
    const said = JSON.parse(ran.stdout.toString()) as Said;

    expect(said.probe).toEqual({ ready: true, missing: null, limits: "rlimits", privileged: false });
    const none = "0".repeat(16);
    expect(said.confined).toContain(
      `1000\nCapEff:\t${none}\nCapBnd:\t${none}\nNoNewPrivs:\t1\nSeccomp:\t2\n`,
    );
    expect(said.locked).toMatchObject({ exitCode: 0, stderr: "x\n" });
    expect(said.late).toMatchObject({ exitCode: 124, timedOut: true });
    expect(said.late.durationMs).toBeLessThan(9_000);
    expect(said.left).toBe("0");
    expect(said.bomb.exitCode).not.toBe(0);
    expect(said.put).toBe("body");

    const { steps, limits } = said.facts;
    for (const [name, step] of Object.entries(steps)) expect(step.ok, name).toBe(true);
    expect(steps.overwrite.measured).toMatchObject({
      read_back_ok: true,
      bytes_skipped: 0,
      files_overwritten: 3,
      core_limit_bytes: 0,
    });
    expect(steps.identity.measured).toMatchObject({ uid: null, uid_released: null, cgroup_removed: null });
    expect(steps.namespace.measured.network_mode).toBe("none");
    expect(limits).toEqual(expect.arrayContaining(["shared_uid", "no_cgroup"]));
    expect(steps.namespace.skipped[0]?.name).toBe("processes");
  });
});
