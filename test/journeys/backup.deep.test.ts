// SPDX-License-Identifier: Apache-2.0
/**
 * The drill every operator should do once: a backup taken while people work, the machine given up,
 * and the installation started from the file somewhere else. What was acknowledged before the backup
 * is there to the byte; what lived at that moment ends with a proof that says how.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type Caller, callerOf } from "#testing/installation.ts";
import { bubblewrap, describeWith } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const env = { CASEMATE_SESSIONS_TIERS_FREE_RPM: "100000" };

describeWith([bubblewrap], "backup and restore", () => {
  let folder: string;
  const undo: (() => unknown)[] = [];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "casemate-drill-"));
  });
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
    rmSync(folder, { recursive: true, force: true });
  });

  const up = async (name: string): Promise<RunningCasemate> => {
    const casemate = await startCasemate({ state: join(folder, name), keepState: true, env });
    undo.push(() => casemate[Symbol.asyncDispose]());
    return casemate;
  };
  const casemate = async (...args: string[]): Promise<{ code: number | null; text: string }> => {
    const child: ChildProcess = spawn(join(ROOT, "casemate"), args, {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let text = "";
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding("utf8").on("data", (part: string) => (text += part));
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    return { code, text };
  };

  it("brings back keys, proofs and salts to the byte, and ends what lived with a recovery proof", async () => {
    const first = await up("first");
    const me = await first.signUp();
    const ended = await endedSession(me);
    const stored = (await me("GET", `/v1/proofs/${ended.id}`)).text;
    // What follows is wrapped under another key; what came before must still open.
    expect(await casemate("keys", "rotate", "--state", first.state)).toMatchObject({ code: 0 });
    const live = (await me("POST", "/v1/sessions", {})).body.session_id as string;

    const work = keepWorking(me, live);
    undo.push(() => work.stop());
    const file = join(folder, "while-up.tar");
    // By names as an operator types them, from where the folder is.
    expect(await casemate("backup", "while-up.tar", "--state", "first")).toMatchObject({ code: 0 });
    const done = await work.stop();
    expect(done.failures).toEqual([]);
    expect(done.executed).toBeGreaterThan(0);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder).sort()).toEqual(["first", "while-up.tar"]);
    expect(await casemate("backup", file, "--state", first.state)).toMatchObject({ code: 1 });
    expect(await first.end("SIGTERM")).toBe(0);

    const occupied = join(folder, "occupied");
    mkdirSync(occupied);
    writeFileSync(join(occupied, "mine"), "kept");
    const refused = await casemate("restore", file, "--state", occupied);
    expect([refused.code, refused.text]).toEqual([1, expect.stringContaining("is not empty")]);
    expect(readdirSync(occupied)).toEqual(["mine"]);

    expect(await casemate("restore", file, "--state", join(folder, "second"))).toMatchObject({ code: 0 });
    const second = await up("second");
    expect(second.port).not.toBe(first.port);
    const again = callerOf(second.url, me.key);
    expect((await again("GET", `/v1/proofs/${ended.id}`)).text).toBe(stored);
    expect((await again("DELETE", `/v1/sessions/${ended.id}`)).text).toBe(ended.text);

    await again("GET", `/v1/sessions/${live}?wait=ended&timeout=30`);
    const recovered = await again("DELETE", `/v1/sessions/${live}`);
    expect(recovered.status).toBe(200);
    const { context, evidence } = recovered.body.cdp;
    expect([context.trigger, context.session_id]).toEqual(["recovery", live]);
    expect(context.limits).toContain("overwrite_not_claimed");
    expect(evidence[7].measured.recovered).not.toBeNull();
    expect((await again("POST", "/v1/verify", recovered.text)).body).toMatchObject({ valid: true, level: 2 });
    // The worker's own may have lived at that moment too, and ends likewise in its turn. One whose create was
    // under way is created here, as after any restart: it is listed, nobody's work is in it, and it ends when told.
    await expect
      .poll(
        async () => {
          const { sessions } = (await again("GET", "/v1/sessions?limit=100")).body;
          for (const { session_id: id, status } of sessions)
            if (status === "active") expect((await again("DELETE", `/v1/sessions/${id}`)).status).toBe(200);
          return (await again("GET", "/v1/customers/me")).body.sessions_used;
        },
        { timeout: 60_000 },
      )
      .toBe(0);
    // The restored installation is a whole one: it makes and proves sessions of its own.
    await endedSession(again);
  });

  it("works on a folder whose casemate is stopped, and keeps what its end proved", async () => {
    const first = await up("first");
    const me = await first.signUp();
    const ended = await endedSession(me);
    const live = (await me("POST", "/v1/sessions", {})).body.session_id as string;
    expect(await first.end("SIGTERM")).toBe(0);
    const file = join(folder, "stopped.tar");
    expect(await casemate("backup", file, "--state", first.state)).toMatchObject({ code: 0 });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await casemate("restore", file, "--state", join(folder, "second"))).toMatchObject({ code: 0 });

    const again = callerOf((await up("second")).url, me.key);
    expect((await again("DELETE", `/v1/sessions/${ended.id}`)).text).toBe(ended.text);
    await again("GET", `/v1/sessions/${live}?wait=ended&timeout=30`);
    const proof = await again("GET", `/v1/proofs/${live}`);
    expect(JSON.parse(proof.text).context.trigger).toBe("shutdown");
    expect(existsSync(join(folder, "first", "running.json"))).toBe(false);
  });
});

async function endedSession(me: Caller): Promise<{ id: string; text: string }> {
  const { session_id: id } = (await me("POST", "/v1/sessions", { data_classification: "PHI" })).body;
  await me("POST", `/v1/sessions/${id}/exec`, { command: "echo secret > kept" });
  const { status, text } = await me("DELETE", `/v1/sessions/${id}`);
  expect(status).toBe(200);
  expect(JSON.parse(text).salt).toBeDefined();
  return { id, text };
}

/** Commands in one session and other sessions made and destroyed, until told to stop. */
function keepWorking(me: Caller, live: string) {
  let stopped = false;
  const failures: string[] = [];
  let executed = 0;
  const expectStatus = (what: string, reply: { status: number; text: string }) => {
    if (reply.status >= 300) failures.push(`${what}: ${reply.status} ${reply.text.slice(0, 200)}`);
  };
  const executing = (async () => {
    while (!stopped) {
      expectStatus("exec", await me("POST", `/v1/sessions/${live}/exec`, { command: "echo x >> grown" }));
      executed++;
    }
  })();
  const making = (async () => {
    while (!stopped) {
      const made = await me("POST", "/v1/sessions", {});
      expectStatus("create", made);
      if (made.status < 300) expectStatus("end", await me("DELETE", `/v1/sessions/${made.body.session_id}`));
    }
  })();
  return {
    stop: async () => {
      stopped = true;
      await Promise.all([executing, making]);
      return { failures, executed };
    },
  };
}
