// SPDX-License-Identifier: Apache-2.0
/** Faults that were found once by attacking a running installation, one test each. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { freePort } from "#testing/free-port.ts";
import { commandLine, findProcesses } from "#testing/process-status.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { startCasemate } from "#testing/running-casemate.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

const gone = (text: string) => expect.poll(() => findProcesses(text)).toEqual([]);

describeWith([bubblewrap], "a start that cannot succeed", () => {
  it("names the port that another program has, and leaves nothing running", async () => {
    const other = createServer((socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as AddressInfo;
    const state = mkdtempSync(join(tmpdir(), "casemate-port-"));
    const up = spawn(join(ROOT, "casemate"), ["up", "--state", state, "--port", String(port)]);
    let output = "";
    for (const stream of [up.stdout, up.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    const code = await new Promise((resolve) => up.once("exit", resolve));
    other.close();
    expect([code, output]).toEqual([
      1,
      expect.stringContaining(`127.0.0.1:${port} is in use by another program`),
    ]);
    expect(output).not.toContain("casemate ready");
    await gone(state);
    rmSync(state, { recursive: true, force: true });
  });

  it("says what is wrong with its configuration once, and does not try again", async () => {
    const state = mkdtempSync(join(tmpdir(), "casemate-config-"));
    const port = String(await freePort());
    const up = spawn(join(ROOT, "casemate"), ["up", "--state", state, "--port", port], {
      env: { ...process.env, CASEMATE_HTTP_HOST: "0.0.0.0" },
    });
    let output = "";
    for (const stream of [up.stdout, up.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    const code = await new Promise((resolve) => up.once("exit", resolve));
    expect([code, output]).toEqual([
      1,
      expect.stringContaining("plain HTTP on 0.0.0.0 would show every key"),
    ]);
    expect(output).not.toContain("starting it again");
    await gone(state);
    rmSync(state, { recursive: true, force: true });
  });

  it("ends cleanly when it is stopped in the middle", async () => {
    const state = mkdtempSync(join(tmpdir(), "casemate-early-"));
    const up = spawn(join(ROOT, "casemate"), ["up", "--state", state, "--port", String(await freePort())], {
      stdio: "ignore",
    });
    const exited = new Promise((resolve) => up.once("exit", resolve));
    while (findProcesses("postgres", state).length === 0) await sleep(10);
    up.kill("SIGTERM");
    await exited;
    await gone(state);
    rmSync(state, { recursive: true, force: true });
  });
});

describeWith([bubblewrap, root], "what is not handed on", () => {
  it("keeps a descriptor that was open where casemate was started out of every part and every session", async () => {
    const folder = mkdtempSync(join(tmpdir(), "casemate-fd-"));
    const secret = join(folder, "root-only");
    writeFileSync(secret, "what only root may read", { mode: 0o600 });
    await using casemate = await startCasemate({ prefix: ["bash", "-c", 'exec 61<"$0"; exec "$@"', secret] });
    const me = await casemate.signUp();
    const { session_id: id } = (await me("POST", "/v1/sessions", {})).body;
    const { output } = (
      await me("POST", `/v1/sessions/${id}/exec`, {
        command: "ls /proc/1/fd /proc/self/fd; cat /proc/1/fd/[3-9]*",
      })
    ).body;
    expect(output).not.toContain("what only root may read");
    const holders = readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .filter((pid) => {
        try {
          return readdirSync(`/proc/${pid}/fd`).some(
            (each) => readlinkSync(`/proc/${pid}/fd/${each}`) === secret,
          );
        } catch {
          return false;
        }
      });
    expect(holders.map((pid) => commandLine(Number(pid)).replaceAll("\0", " "))).toEqual([]);
    rmSync(folder, { recursive: true, force: true });
  });

  it("lets an owner of PostgreSQL or of control put no link where root writes or mounts", async () => {
    await using casemate = await startCasemate();
    const as = (uid: number, script: string) =>
      spawnSync("setpriv", [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "sh", "-c", script], {
        cwd: casemate.state,
      }).status;
    for (const folder of ["postgres/socket", "postgres/data", "postgres/conf", "control", "run", "config"]) {
      for (const uid of [63_010, 63_013]) {
        expect([folder, uid, as(uid, `mv ${folder} ${folder}.away`)]).not.toEqual([folder, uid, 0]);
      }
    }
    for (const file of ["postgres/conf/pg_hba.conf", "postgres/conf/passwd"]) {
      expect(as(63_013, `ln -sf /etc/hostname ${file}`)).not.toBe(0);
    }
    expect(as(63_010, "ln -sf /etc/hostname config/control.json")).not.toBe(0);
  });
});
