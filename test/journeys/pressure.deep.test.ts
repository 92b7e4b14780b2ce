// SPDX-License-Identifier: Apache-2.0
/**
 * What an installation lives through: a disk filled to the last byte, no file descriptors, sessions
 * that take all they can get, floods of bodies, clients that never finish a sentence. Control stays
 * up, says so where it cannot work, loses nothing it acknowledged, and works again by itself.
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, it, vi } from "vitest";
import type { Caller, Reply } from "#testing/installation.ts";
import { findProcesses, statusOf } from "#testing/process-status.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";

const env = {
  CASEMATE_SESSIONS_TIERS_FREE_RPM: "100000",
  CASEMATE_SESSIONS_TIERS_FREE_CDPS_PER_CYCLE: "1000",
  CASEMATE_SESSIONS_TIERS_FREE_CONCURRENT_SESSIONS: "100",
};

/** Asks until the answer is as wished; a pressed installation may take its time, not give up. */
async function until(ask: () => Promise<Reply>, wished: (reply: Reply) => boolean): Promise<Reply> {
  const deadline = Date.now() + 45_000;
  let last = "nothing";
  while (Date.now() < deadline) {
    const reply = await ask().catch((error: Error) => error);
    if (!(reply instanceof Error)) {
      if (wished(reply)) return reply;
      last = `${reply.status} ${reply.text.slice(0, 200)}`;
    } else last = String(reply.cause ?? reply);
    await sleep(100);
  }
  throw new Error(`not as wished in time, last: ${last}`);
}
const ok = ({ status }: Reply) => status === 200 || status === 201;

describeWith([root, bubblewrap], "under pressure", () => {
  const undo: (() => unknown)[] = [];
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
  });
  const up = async (state?: string): Promise<RunningCasemate> => {
    const casemate = await startCasemate({ env, ...(state === undefined ? {} : { state, keepState: true }) });
    undo.push(() => casemate[Symbol.asyncDispose]());
    return casemate;
  };
  const controlOf = (casemate: RunningCasemate): number => {
    const found = findProcesses("control/src/main.ts", casemate.state);
    expect(found).toHaveLength(1);
    return found[0]!;
  };
  const open = async (me: Caller): Promise<string> => {
    const made = await me("POST", "/v1/sessions", {});
    expect(made.status).toBe(201);
    return made.body.session_id;
  };

  it("a full disk: reads answer, writes say 503, nothing acknowledged is lost, and it ends with the disk's", async () => {
    const disk = smallDisk(undo);
    const casemate = await up(join(disk.folder, "state"));
    expect(casemate.output()).not.toContain("room");
    const control = controlOf(casemate);
    const me = await casemate.signUp();
    const ended = await open(me);
    const body = (await me("DELETE", `/v1/sessions/${ended}`)).text;
    const proof = (await me("GET", `/v1/proofs/${ended}`)).text;
    const live = await open(me);
    const acknowledged = [ended, live];

    const create = async () => {
      const reply = await me("POST", "/v1/sessions", {});
      if (ok(reply)) acknowledged.push(reply.body.session_id);
      return reply;
    };
    const pressed = async () => {
      const refused = await until(
        create,
        ({ status, body }) => status === 503 && /no room/.test(body.message),
      );
      expect(refused.body).toMatchObject({ error: "ServiceUnavailable", status: 503 });
      expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
      expect((await until(() => me("GET", `/v1/proofs/${ended}`), ok)).text).toBe(proof);
      expect((await until(() => me("GET", `/v1/sessions/${ended}`), ok)).body.status).toBe("destroyed");
      await until(() => me("GET", "/v1/health"), ok);
      await until(() => me("POST", "/v1/verify", body), ok);
    };
    disk.fill();
    await pressed();
    // Not for want of a byte at that moment, but by decision: there is some room now, for other things.
    while (existsSync(join(casemate.state, "reserve"))) await sleep(50);
    const byDecision = ({ status, body }: Reply) =>
      status === 503 && /Reading still works/.test(body.message);
    await until(create, byDecision);
    for (let n = 0; n < 5; n++) {
      const refused = await me("POST", "/v1/sessions", {});
      expect([refused.status, refused.body.message]).toEqual([
        503,
        expect.stringContaining("Reading still works"),
      ]);
    }
    // What the reserve gave back is for this: a session can still be ended, with its proof.
    const last = await until(() => me("DELETE", `/v1/sessions/${live}`), ok);
    expect((await me("POST", "/v1/verify", last.text)).body).toMatchObject({ valid: true, level: 2 });
    // Whatever fills disks does not stop for us: now there is not one byte left, reserve or not.
    disk.fill();
    await pressed();
    // The worst: PostgreSQL dies now, and cannot even write that it is there again.
    process.kill(
      Number(readFileSync(join(casemate.state, "postgres/data/postmaster.pid"), "utf8").split("\n")[0]),
      "SIGKILL",
    );
    await until(
      () => me("POST", "/v1/sessions", {}),
      ({ status, headers }) => status === 503 && headers.has("retry-after"),
    );
    await until(
      async () => await me("GET", "/v1/health"),
      ({ body }) => body.database === false,
    );
    while (!casemate.output().includes("PostgreSQL died")) await sleep(50);

    disk.free();
    const after = await until(() => me("POST", "/v1/sessions", {}), ok);
    acknowledged.push(after.body.session_id);
    const listed = (await me("GET", "/v1/sessions?limit=100")).body.sessions as { session_id: string }[];
    const found = listed.map(({ session_id }) => session_id);
    for (const id of acknowledged) expect(found).toContain(id);
    expect((await me("DELETE", `/v1/sessions/${ended}`)).text).toBe(body);
    for (const id of acknowledged) {
      const deleted = await me("DELETE", `/v1/sessions/${id}`);
      expect((await me("POST", "/v1/verify", deleted.text)).body).toMatchObject({ valid: true, level: 2 });
    }
    expect(controlOf(casemate)).toBe(control);
    expect(await casemate.end("SIGTERM")).toBe(0);
  }, 240_000);

  it("a port of the ingress that is taken between finding and using it: another is used", async () => {
    const state = mkdtempSync(join(tmpdir(), "casemate-ports-"));
    undo.push(() => rmSync(state, { recursive: true, force: true }));
    const starting = up(state);
    const config = join(state, "keys/host.json");
    const ingressOf = () => JSON.parse(readFileSync(config, "utf8")).kept.ingress as { httpPort: number };
    const first = await vi.waitFor(ingressOf, { timeout: 60_000, interval: 2 });
    const other = createServer();
    const got = new Promise<boolean>((resolve) => {
      other.once("error", () => resolve(false));
      other.listen(first.httpPort, "127.0.0.1", () => resolve(true));
    });
    undo.push(() => other.close());
    const casemate = await starting;
    // On the day that the host is faster there is nothing to see.
    if (!(await got)) return;
    expect(casemate.output()).toContain("EADDRINUSE");
    expect(ingressOf().httpPort).not.toBe(first.httpPort);
    const me = await casemate.signUp();
    expect((await me("DELETE", `/v1/sessions/${await open(me)}`)).status).toBe(200);
  });

  it("no file descriptors: control stays up and answers again when there are some", async () => {
    const casemate = await up();
    const me = await casemate.signUp();
    const control = controlOf(casemate);
    const before = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${control}/limits`, "utf8"))![1]!;
    // As control itself: root in a container may lack the capability to limit others.
    const [uid] = statusOf(control).uids;
    const as = ["--reuid", String(uid), "--regid", String(uid), "--clear-groups", "prlimit"];
    const limit = (soft: string | number) => {
      const set = spawnSync("setpriv", [...as, "--pid", String(control), `--nofile=${soft}:`]);
      expect([set.status, set.stderr.toString()]).toEqual([0, ""]);
    };
    limit(readdirSync(`/proc/${control}/fd`).length + 3);
    const crowd = Array.from({ length: 40 }, () => standing(casemate, undo));
    // Each is taken or dropped; nobody gets control to end.
    await Promise.all(Array.from({ length: 20 }, () => me("GET", "/v1/sessions").catch(() => null)));
    expect(controlOf(casemate)).toBe(control);
    for (const socket of crowd) socket.destroy();
    limit(before);
    await until(() => me("GET", "/v1/sessions"), ok);
    const id = (await until(() => me("POST", "/v1/sessions", {}), ok)).body.session_id;
    expect((await me("DELETE", `/v1/sessions/${id}`)).status).toBe(200);
    expect(controlOf(casemate)).toBe(control);
  });

  it("a fork bomb and a memory bomb: the neighbour works, and the answers and proofs say what happened", async () => {
    const casemate = await up();
    const [forker, eater, neighbour] = [
      await casemate.signUp(),
      await casemate.signUp(),
      await casemate.signUp(),
    ];
    const [bomb, greedy, calm] = [await open(forker), await open(eater), await open(neighbour)];
    const forking = forker("POST", `/v1/sessions/${bomb}/exec`, {
      command: "bomb() { bomb | bomb & }; bomb; sleep 60",
      timeout: 4,
    });
    const eating = eater("POST", `/v1/sessions/${greedy}/exec`, {
      command: "perl -e 'my @kept; push @kept, \"x\" x 1048576 while 1'",
      timeout: 30,
    });
    for (let n = 0; n < 10; n++) {
      const ran = await neighbour("POST", `/v1/sessions/${calm}/exec`, { command: "echo well" });
      expect(ran.body).toMatchObject({ output: "well\n", exit_code: 0 });
      expect((await neighbour("GET", "/v1/health")).status).toBe(200);
      await sleep(200);
    }
    expect((await eating).body).toMatchObject({ exit_code: 137, oom_killed: true });
    // At its limit of processes the shell may fail to fork, or hold out until its time is over.
    const forked = await forking;
    expect([forked.status, forked.body.exit_code]).toEqual([200, expect.toBeOneOf([2, 124])]);
    // What was too greedy is gone and its session is not: the next command has the memory again.
    for (const [me, id] of [[forker, bomb] as const, [eater, greedy] as const])
      expect((await me("POST", `/v1/sessions/${id}/exec`, { command: "echo again" })).body.output).toBe(
        "again\n",
      );
    for (const [me, id] of [[forker, bomb] as const, [eater, greedy] as const, [neighbour, calm] as const]) {
      const ended = await me("DELETE", `/v1/sessions/${id}`);
      expect((await me("POST", "/v1/verify", ended.text)).body).toMatchObject({
        ...{ valid: true, level: 2, outcome: "complete" },
      });
    }
  });

  it("a flood of the largest inputs does not end control", async () => {
    const casemate = await up();
    const me = await casemate.signUp();
    const control = controlOf(casemate);
    const id = await open(me);
    const body = JSON.stringify({ command: "wc -c < $INPUT_DATA", input_data: "x".repeat(16 * 1024 * 1024) });
    const send = () =>
      me("POST", `/v1/sessions/${id}/exec`, body, { "content-type": "application/json" }).catch(() => null);
    const replies = await Promise.all(Array.from({ length: 20 }, send));
    const statuses = replies.map((reply) => reply?.status);
    expect(new Set(statuses).difference(new Set([200, 409, 503]))).toEqual(new Set());
    expect(replies.find((reply) => reply?.status === 200)?.body.output).toBe("16777216\n");
    for (const refused of replies.filter((reply) => reply?.status === 503))
      expect(refused!.headers.get("retry-after")).not.toBeNull();
    expect((await until(send as () => Promise<Reply>, ok)).body.output).toBe("16777216\n");
    expect(controlOf(casemate)).toBe(control);
  });

  it("half a request is dropped, while a command and its stream take the time they take", async () => {
    const casemate = await up();
    const me = await casemate.signUp();
    const id = await open(me);
    const long = me("POST", `/v1/sessions/${id}/exec?stream=1`, {
      command: "sleep 24; echo done",
      timeout: 60,
    });
    const silent = Array.from({ length: 30 }, () => standing(casemate, undo));
    const said = silent.map(readAll);
    expect((await me("GET", "/v1/health")).status).toBe(200);
    for (const text of await Promise.all(said)) {
      expect(text).toMatch(/^HTTP\/1\.1 408 /);
      expect(JSON.parse(text.split("\r\n\r\n")[1]!)).toMatchObject({ error: "RequestTimeout", status: 408 });
    }
    const streamed = await long;
    expect([streamed.status, streamed.text]).toEqual([
      200,
      expect.stringContaining(Buffer.from("done\n").toString("base64")),
    ]);
  });
});

/** A client that sent half its headers. */
function standing(casemate: RunningCasemate, undo: (() => unknown)[]): Socket {
  const socket = connect(casemate.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("GET /v1/sessions HTTP/1.1\r\nHost: casemate\r\nX-Slow: ");
  undo.push(() => socket.destroy());
  return socket;
}

async function readAll(socket: Socket): Promise<string> {
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  return text;
}

/** A file system of its own for the state folder, which can be filled and freed. */
function smallDisk(undo: (() => unknown)[]): { folder: string; fill(): void; free(): void } {
  const folder = mkdtempSync(join(tmpdir(), "casemate-disk-"));
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=384m,mode=0755", "tmpfs", folder]);
  if (mounted.status !== 0) throw new Error(mounted.stderr.toString());
  undo.push(() => {
    // Lazily: a process left by a failed test must not keep the mount.
    spawnSync("umount", ["-l", folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  let filled = 0;
  return {
    folder,
    fill() {
      const fd = openSync(join(folder, `filler.${filled++}`), "w");
      for (let size = 1024 * 1024; size >= 1; size = Math.floor(size / 16)) {
        const chunk = Buffer.alloc(size, 0x78);
        try {
          for (;;) writeSync(fd, chunk);
        } catch {
          // Full for this size.
        }
      }
      closeSync(fd);
    },
    free() {
      for (let n = 0; n < filled; n++) rmSync(join(folder, `filler.${n}`), { force: true });
    },
  };
}
