// SPDX-License-Identifier: Apache-2.0
/**
 * Killed with -9 at every stage: whichever part dies, while a session is being made, is running a
 * command or is being destroyed, the installation comes back by itself, nothing of the session is
 * left on the machine, and the session ends with a proof that verifies and says what happened.
 */
import { createHash } from "node:crypto";
import { globSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Caller, callerOf } from "#testing/installation.ts";
import { findProcesses } from "#testing/process-status.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";

type Part = "control" | "host" | "postgres" | "everything";
type Stage = "creating" | "executing" | "destroying";

const pidsOf = (part: Part, casemate: RunningCasemate): number[] => {
  if (part === "control") return findProcesses("control/src/main.ts", casemate.state);
  if (part === "host") return findProcesses("host/main.ts", casemate.state);
  if (part === "postgres")
    return [
      Number(readFileSync(join(casemate.state, "postgres/data/postmaster.pid"), "utf8").split("\n")[0]),
    ];
  return [casemate.pid, ...findProcesses(casemate.state)];
};

const kill = (pids: number[]) => {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It died of another's death meanwhile.
    }
  }
};

/** Tasks and cgroups that bear this installation's mark. */
function remains(state: string): string[] {
  const mark = `cm-${createHash("sha256")
    .update(realpathSync(join(state, "host")))
    .digest("hex")
    .slice(0, 12)}`;
  const tasks = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(mark);
      } catch {
        return false;
      }
    });
  const groups = globSync(`/sys/fs/cgroup/**/${mark}*/mach_*`).slice(0, 5);
  return [...tasks.map((pid) => `task ${pid}`), ...groups];
}

const keeps = async (call: () => Promise<{ status: number }>): Promise<void> => {
  await call().catch(() => null);
};

describeWith([root, bubblewrap], "killed with -9", () => {
  let casemate: RunningCasemate;
  beforeAll(async () => {
    // The operator's own tier: these stories open more sessions a minute than a free account may.
    casemate = await startCasemate({ env: { CASEMATE_SESSIONS_TIERS_FREE_RPM: "100000" } });
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  const PARTS: Part[] = ["host", "control", "postgres", "everything"];
  const STAGES: Stage[] = ["creating", "executing", "destroying"];
  const cases = PARTS.flatMap((part) => STAGES.map((stage) => [part, stage] as const));

  it.each(cases)(
    "%s while %s: every session ends with a true proof and nothing is left",
    async (part, stage) => {
      const me = await casemate.signUp();
      const standing = (await me("POST", "/v1/sessions", {})).body.session_id as string;
      expect(remains(casemate.state), "a live session shows").not.toEqual([]);
      const work = begin(me, stage, standing);
      await sleep(stage === "executing" ? 150 : Math.random() * 15);
      kill(pidsOf(part, casemate));
      await keeps(() => work as Promise<{ status: number }>);
      if (part === "everything") await again();

      await healthy(casemate.url);
      const mine = callerOf(casemate.url, me.key);
      const listed = (await mine("GET", "/v1/sessions")).body.sessions as { session_id: string }[];
      expect(listed.map(({ session_id }) => session_id)).toContain(standing);
      for (const { session_id: id } of listed) {
        const ended = await mine("DELETE", `/v1/sessions/${id}`);
        expect([ended.status, ended.text.slice(0, 200)]).toEqual([200, expect.any(String)]);
        const verdict = (await mine("POST", "/v1/verify", ended.text)).body;
        expect(verdict).toMatchObject({ valid: true, level: 2 });
        // A proof that was written by a later process says so and claims no overwrite.
        const { context, evidence } = ended.body.cdp;
        if (context.trigger === "recovery") {
          expect(context.limits).toContain("overwrite_not_claimed");
          expect(evidence[7].measured.recovered).not.toBeNull();
        }
      }
      const used = (await mine("GET", "/v1/customers/me")).body.sessions_used;
      expect(used).toBe(0);
      // The host tries a sandbox of its own every few seconds; what is left behind would stay.
      await expect.poll(() => remains(casemate.state), { timeout: 10_000 }).toEqual([]);
    },
  );

  const again = async () => {
    await casemate.end("SIGTERM");
    casemate = await startCasemate({
      state: casemate.state,
      port: casemate.port,
      env: { CASEMATE_SESSIONS_TIERS_FREE_RPM: "100000" },
    });
  };
});

function begin(me: Caller, stage: Stage, standing: string): Promise<unknown> {
  const work =
    stage === "creating"
      ? me("POST", "/v1/sessions", {})
      : stage === "executing"
        ? me("POST", `/v1/sessions/${standing}/exec`, { command: "echo x > kept; sleep 5" })
        : me("DELETE", `/v1/sessions/${standing}`);
  return work.catch(() => null);
}

async function healthy(url: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const answered = await fetch(`${url}/readyz`).catch(() => null);
    if (answered?.ok) return;
    if (Date.now() > deadline) throw new Error("casemate did not come back");
    await sleep(100);
  }
}
