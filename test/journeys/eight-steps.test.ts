// SPDX-License-Identifier: Apache-2.0
/**
 * Each of the eight steps of a proof is broken once in a whole installation, by a fault in the world and not in
 * the document: a process, a descriptor, a file that nobody can write, a mount. The proof that comes of
 * it says incomplete, names that step and no other, and verifies.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { lendPullKey } from "#control/src/core/identity/index.ts";
import { SandboxDriver } from "#drivers/sandbox/driver.ts";
import { listPids } from "#drivers/sandbox/process-table.ts";
import { markOf } from "#drivers/sandbox/recover.ts";
import { hold } from "#testing/held-process.ts";
import { type Caller, type Installation, startInstallation } from "#testing/installation.ts";
import { bubblewrap, describeWith, type Requirement, root } from "#testing/requirements.ts";

const OWNER = `cm-eight-${process.pid}`;

const run = (command: string, ...args: string[]) => {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
};
const immutable: Requirement = {
  met: tmpfsKnowsImmutable(),
  reason: "this kernel's tmpfs knows no immutable files",
};

function tmpfsKnowsImmutable(): boolean {
  if (!root.met || !existsSync("/dev/shm")) return false;
  const folder = mkdtempSync("/dev/shm/casemate-immutable-");
  const file = join(folder, "file");
  writeFileSync(file, "");
  const set = spawnSync("chattr", ["+i", file], { stdio: "ignore" }).status === 0;
  if (set) run("chattr", "-i", file);
  rmSync(folder, { recursive: true });
  return set;
}

interface Standing {
  account: string;
  machine: string;
  /** The session's files, as root sees them. */
  inside: string;
  pid: number;
}

/** Breaks something; what it answers mends it after the end. */
type Fault = (session: Standing) => Promise<() => unknown> | (() => unknown);

describeWith([bubblewrap, root, immutable], "a proof's eight steps", () => {
  let casemate: Installation;
  let me: Caller & { accountId: string };
  let folder: string;
  beforeAll(async () => {
    casemate = await startInstallation({
      config: { sessions: { tiers: { free: { rpm: null } } } },
      driver: (at) => {
        folder = at;
        chmodSync(at, 0o711);
        mkdirSync(join(at, "spool"));
        const traces = { folders: [join(at, "spool")], logs: [] };
        return new SandboxDriver({ folder: join(at, "sandboxes"), owner: OWNER, traces });
      },
    });
    me = await casemate.account();
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  const store = (name: string) => join(folder, "host", "machines", name);

  async function standing(id: string): Promise<Standing> {
    const { machine_id: machine } = await casemate.control.db.run
      .selectFrom("sessions")
      .select("machine_id")
      .where("id", "=", id)
      .executeTakeFirstOrThrow();
    const inside = (pid: number) => `/proc/${pid}/root/session/secret`;
    const pid = listPids().find((each) => markOf(each) === `${OWNER}/${machine}` && existsSync(inside(each)));
    if (pid === undefined) throw new Error("the session's first process is not there");
    return { account: me.accountId, machine, pid, inside: `/proc/${pid}/root` };
  }

  async function endedAfter(fault: Fault | null) {
    const { session_id: id } = (await me("POST", "/v1/sessions", { data_classification: "PHI" })).body;
    await me("POST", `/v1/sessions/${id}/exec`, { command: "echo secret > secret" });
    const mend = await fault?.(await standing(id));
    try {
      const reply = await me("DELETE", `/v1/sessions/${id}`);
      const verdict = (await me("POST", "/v1/verify", reply.text)).body;
      return { status: reply.body.status, steps: reply.body.cdp.evidence, verdict };
    } finally {
      await mend?.();
    }
  }

  it("all hold when nothing was broken", async () => {
    const { status, steps, verdict } = await endedAfter(null);
    expect(status).toBe("destroyed");
    expect(steps.map(({ ok }: { ok: boolean }) => ok)).toEqual(Array(8).fill(true));
    expect(verdict).toMatchObject({ valid: true, level: 2, outcome: "complete", warnings: [] });
  });

  const faults: [number, string, Fault][] = [
    [
      1,
      "a process in its network namespace",
      async ({ pid }) => {
        const task = await hold("nsenter", [
          "--net",
          "-t",
          String(pid),
          "sh",
          "-c",
          "echo in; exec sleep 60",
        ]);
        return task.end;
      },
    ],
    [
      2,
      "a descriptor on its files",
      ({ inside }) => {
        const fd = openSync(join(inside, "session/secret"), "r");
        return () => closeSync(fd);
      },
    ],
    [
      3,
      "a file that cannot be written",
      ({ inside }) => {
        run("chattr", "+i", join(inside, "session/secret"));
        return () => {};
      },
    ],
    [
      4,
      "its record, which cannot be taken away",
      ({ machine }) => {
        const record = store(`${machine}.live`);
        run("mount", "--bind", record, record);
        return () => run("umount", record);
      },
    ],
    [
      5,
      "a key in its name that opens something still",
      async ({ account, machine }) => {
        await lendPullKey(casemate.control.db.run, { account, machine, incarnation: 1 });
        return () => {};
      },
    ],
    [
      6,
      "its canary in a folder of the host",
      ({ inside }) => {
        const copy = join(folder, "spool", "copy");
        copyFileSync(join(inside, "run/casemate/input/.canary"), copy);
        return () => rmSync(copy);
      },
    ],
    [
      7,
      "an entry of its event log that was changed",
      ({ machine }) => {
        const log = join(folder, "host", "events", `${machine}.events`);
        writeFileSync(log, readFileSync(log, "utf8").replace('"exitCode":0', '"exitCode":1'));
        return () => {};
      },
    ],
    [
      8,
      "a copy of its record beside it",
      ({ machine }) => {
        const copy = store(`${machine}.live~`);
        copyFileSync(store(`${machine}.live`), copy);
        return () => rmSync(copy);
      },
    ],
  ];

  it.each(faults)("step %i alone fails for %s", async (step, _what, fault) => {
    const { status, steps, verdict } = await endedAfter(fault);
    expect(steps.filter(({ ok }: { ok: boolean }) => !ok).map((each: { step: number }) => each.step)).toEqual(
      [step],
    );
    expect(steps[7].measured).toMatchObject({ outcome: "incomplete", failed_steps: [step] });
    expect(status).toBe("expired_unclean");
    // Signed and whole, and it says so itself.
    expect(verdict).toMatchObject({ valid: true, level: 2, outcome: "incomplete", failures: [] });
  });
});
