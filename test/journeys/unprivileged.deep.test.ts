// SPDX-License-Identifier: Apache-2.0
/**
 * The same story for an ordinary user: no root, no name in /etc/passwd, and still sealed sessions
 * with proofs, which say what was not there to be measured.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { findProcesses, statusOf } from "#testing/process-status.ts";
import { bubblewrap, describeWith, type Requirement, root } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
/** Of this run alone, and without a name; an ordinary user runs the test as itself. */
const UID = root.met ? 1_500_000_000 + process.pid : process.getuid!();
const AS = root.met
  ? ["setpriv", "--reuid", String(UID), "--regid", String(UID), "--clear-groups", "--"]
  : [];
const runs = (...words: string[]) => {
  const [command, ...args] = [...AS, ...words];
  return spawnSync(command!, args, { cwd: "/", stdio: "ignore" }).status === 0;
};
const namespaces: Requirement = {
  met: runs("bwrap", "--unshare-user", "--ro-bind", "/", "/", "true"),
  reason: "this kernel gives user namespaces to root only",
};
const readable: Requirement = {
  met: runs(process.execPath, "--check", join(ROOT, "cli/main.ts")),
  reason: "the checkout is not readable by other users",
};

/** Everything that still runs for this installation, sandboxes included when the uid is the test's own. */
const alive = (state: string): number[] =>
  root.met
    ? readdirSync("/proc")
        .filter((name) => /^\d+$/.test(name))
        .map(Number)
        .filter(belongs)
    : findProcesses(state);

function belongs(pid: number): boolean {
  try {
    const { uids, state } = statusOf(pid);
    return uids.includes(UID) && state !== "Z";
  } catch {
    return false; // it ended meanwhile
  }
}

describeWith([bubblewrap, namespaces, readable], "casemate up without root", () => {
  let home: string;
  const started: RunningCasemate[] = [];
  const up = async () => {
    const casemate = await startCasemate({
      state: join(home, "state"),
      keepState: true,
      prefix: AS,
      env: { HOME: home },
    });
    started.push(casemate);
    return casemate;
  };
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), "casemate-home-"));
    if (root.met) chownSync(home, UID, UID);
    mkdirSync(join(home, "state"));
    if (root.met) chownSync(join(home, "state"), UID, UID);
    chmodSync(home, 0o700);
  });
  afterEach(async () => {
    for (const casemate of started.splice(0)) await casemate[Symbol.asyncDispose]();
    rmSync(home, { recursive: true, force: true });
  });

  it("says what only root can do, seals a session, proves it with its limits, and leaves nothing", async () => {
    const casemate = await up();
    const said = casemate.output();
    expect(said.match(/^casemate: not root: .*$/gm)).toEqual([
      expect.stringContaining(`uid ${UID}`),
      expect.stringContaining("limit shared_uid"),
      expect.stringContaining("limit no_cgroup"),
      expect.stringContaining("no workloads"),
    ]);
    expect(said).toContain("isolation process: ready (limits by rlimits)");

    const { missing } = (await (await fetch(`${casemate.url}/health`)).json()) as { missing: string[] };
    expect(missing).toEqual([expect.stringContaining("root")]);

    const me = await casemate.signUp();
    const { session_id: id } = (await me("POST", "/v1/sessions", { data_classification: "PHI" })).body;
    const ran = await me("POST", `/v1/sessions/${id}/exec`, {
      command: 'grep CapEff /proc/self/status; cat "$INPUT_DATA"; ls /home /root 2>&1 | grep -c casemate',
      input_data: "words",
    });
    expect(ran.body).toMatchObject({ output: `CapEff:\t${"0".repeat(16)}\nwords0\n`, timed_out: false });

    const ended = await me("DELETE", `/v1/sessions/${id}`);
    expect(ended.body.cdp.context.limits).toEqual(expect.arrayContaining(["shared_uid", "no_cgroup"]));
    expect(ended.body.cdp.evidence[4].measured).toMatchObject({ uid: null, cgroup_removed: null });
    expect((await me("POST", "/v1/verify", ended.text)).body).toMatchObject({
      ...{ valid: true, level: 2, outcome: "complete", warnings: [], failures: [] },
    });

    const standing = (await me("POST", "/v1/sessions", {})).body.session_id;
    expect(await casemate.end("SIGTERM")).toBe(0);
    expect(alive(casemate.state)).toEqual([]);
    expect(readdirSync(join(casemate.state, "sandboxes")).filter((name) => /mach_/.test(name))).toEqual([]);

    await up().then((again) => expect(again.output()).not.toContain("shown this once"));
    const later = started.at(-1)!;
    const proof = await fetch(`${later.url}/v1/proofs/${standing}`, {
      headers: { authorization: `Bearer ${me.key}` },
    });
    expect(proof.status).toBe(200);
  });

  it("takes every part and every session with it when it is killed, and recovers what they were", async () => {
    const casemate = await up();
    const me = await casemate.signUp();
    const { session_id: id } = (await me("POST", "/v1/sessions", {})).body;
    await me("POST", `/v1/sessions/${id}/exec`, { command: "(setsid sleep 600 >/dev/null 2>&1 &)" });
    await casemate.end("SIGKILL");
    for (let tries = 0; tries < 200 && alive(casemate.state).length > 0; tries++) await sleep(100);
    expect(alive(casemate.state)).toEqual([]);

    const again = await startCasemate({
      ...{ state: casemate.state, port: casemate.port, keepState: true, prefix: AS, env: { HOME: home } },
    });
    started.push(again);
    const ended = await me("DELETE", `/v1/sessions/${id}`);
    expect([ended.status, ended.body.cdp.context.trigger]).toEqual([200, expect.any(String)]);
    expect((await me("POST", "/v1/verify", ended.text)).body).toMatchObject({ valid: true, level: 2 });
  });
});
