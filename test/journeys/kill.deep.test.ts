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

/** Sandboxes that are held ready for the next sessions (the host's `spareSandboxes`). */
const SPARES = 2;

/** Machines of which a task or a cgroup is there, and tasks with this installation's mark in no machine. */
function remains(state: string): string[] {
  const mark = `cm-${createHash("sha256")
    .update(realpathSync(join(state, "host")))
    .digest("hex")
    .slice(0, 12)}`;
  const machineOf = (path: string) => /mach_[0-9a-f]+/.exec(path)?.[0];
  const tasks = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const groups = readFileSync(`/proc/${pid}/cgroup`, "utf8");
        return groups.includes(mark) ? [machineOf(groups) ?? `task ${pid}`] : [];
      } catch {
        return [];
      }
    });
  const groups = globSync(`/sys/fs/cgroup/**/${mark}*/mach_*`).map((path) => machineOf(path)!);
  return [...new Set([...tasks, ...groups])];
}

/** Asked again while what was killed comes back: `/readyz` may still speak of the time before. */
async function answered<T extends { status: number }>(call: () => Promise<T>): Promise<T> {
  for (const until = Date.now() + 30_000; ; await sleep(100)) {
    const reply = await call().catch((error: unknown) => {
      if (Date.now() > until) throw error;
    });
    if (reply && (reply.status < 500 || Date.now() > until)) return reply;
  }
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
      const me = await answered(async () => Object.assign(await casemate.signUp(), { status: 200 }));
      const standing = (await answered(() => me("POST", "/v1/sessions", {}))).body.session_id as string;
      expect(remains(casemate.state), "a live session shows").not.toEqual([]);
      const work = begin(me, stage, standing);
      await sleep(stage === "executing" ? 150 : Math.random() * 15);
      const before = remains(casemate.state);
      kill(pidsOf(part, casemate));
      await keeps(() => work as Promise<{ status: number }>);
      if (part === "everything") await again();

      await healthy(casemate.url);
      const mine = callerOf(casemate.url, me.key);
      const listed = (await answered(() => mine("GET", "/v1/sessions"))).body.sessions as {
        session_id: string;
      }[];
      expect(listed.map(({ session_id }) => session_id)).toContain(standing);
      for (const { session_id: id } of listed) {
        const ended = await answered(() => mine("DELETE", `/v1/sessions/${id}`));
        // Its create was killed, nobody was told of it, and it turned out never to have run.
        if (ended.status === 404 && id !== standing && stage === "creating") continue;
        expect([ended.status, ended.text.slice(0, 200)]).toEqual([200, expect.any(String)]);
        const verdict = (await answered(() => mine("POST", "/v1/verify", ended.text))).body;
        expect(verdict).toMatchObject({ valid: true, level: 2 });
        // A proof that was written by a later process says so and claims no overwrite.
        const { context, evidence } = ended.body.cdp;
        if (context.trigger === "recovery") {
          expect(context.limits).toContain("overwrite_not_claimed");
          expect(evidence[7].measured.recovered).not.toBeNull();
        }
      }
      // One that never ran is in no list, and gives its place back when its host has said so.
      const used = async () => (await answered(() => mine("GET", "/v1/customers/me"))).body.sessions_used;
      await expect.poll(used).toBe(0);
      // A host that died takes its spare sandboxes with it; what another left behind would stay.
      const old = part === "host" || part === "everything" ? before : [];
      await expect.poll(() => remains(casemate.state).filter((id) => old.includes(id))).toEqual([]);
      await expect.poll(() => remains(casemate.state).length).toBeLessThanOrEqual(SPARES);
    },
  );

  it("and when it is stopped nothing of it is left at all", async () => {
    await casemate.end("SIGTERM");
    // The kernel may still be clearing up after the last of them.
    await expect.poll(() => remains(casemate.state)).toEqual([]);
  });

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
