// SPDX-License-Identifier: Apache-2.0
/**
 * What can be tried of the deployment files where there is no systemd and no registry: the units are
 * understood, the examples are read by the real readers, and the command lines are run as they stand,
 * with other folders in place of the installed ones.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { readConfigFile, resolveConfig } from "#control/src/config.ts";
import { DEFAULT_CONFIG } from "#control/src/defaults.ts";
import { readUserConfig } from "#embedded/config.ts";
import { readHostConfig } from "#host/config.ts";
import { cloneDatabase } from "#testing/clone-database.ts";
import { freePort } from "#testing/free-port.ts";
import { bubblewrap, describeWith, type Requirement, root } from "#testing/requirements.ts";
import { startCasemate } from "#testing/running-casemate.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const UNITS = ["casemate.service", "casemate-control.service", "casemate-host.service"];
const read = (name: string) => readFileSync(join(ROOT, "deploy", name), "utf8");
const settingOf = (unit: string, key: string) => new RegExp(`^${key}=(.*)$`, "m").exec(read(unit))![1]!;

let folder: string;
let child: ChildProcess | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-deploy-"));
});
afterEach(() => {
  child?.kill("SIGKILL");
  child = undefined;
  rmSync(folder, { recursive: true, force: true });
});

const analyze: Requirement = {
  met: spawnSync("systemd-analyze", ["--version"]).status === 0,
  reason: "needs systemd-analyze (apt-get install systemd)",
};

describeWith([analyze], "the units", () => {
  const verify = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text.replaceAll("/opt/casemate/", ROOT));
    const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", path], {
      encoding: "utf8",
    });
    // It also tells of units of the computer's own.
    return { status, said: stderr.split("\n").filter((line) => line.includes(name)) };
  };

  it.each(UNITS)("%s is understood by systemd to the last line", (name) => {
    expect(verify(name, read(name))).toEqual({ status: 0, said: [] });
  });

  it("would not pass with a line that systemd does not know", () => {
    const { said } = verify(UNITS[0]!, read(UNITS[0]!).replace("LimitCORE=0", "LimitCoreDumps=0"));
    expect(said.join()).toContain("LimitCoreDumps");
  });
});

it("are given example files that the real readers take, for the folders that the units make", () => {
  const control = resolveConfig(DEFAULT_CONFIG, readConfigFile(join(ROOT, "deploy/control.json")), {});
  const host = readHostConfig(join(ROOT, "deploy/host.json"));
  expect(host.linkPath).toBe(control.link.socket);
  expect(control.link.socket).toMatch(`/run/${settingOf("casemate-control.service", "RuntimeDirectory")}/`);
  expect(control.folder).toBe(`/var/lib/${settingOf("casemate-control.service", "StateDirectory")}`);
  expect(host.sandboxFolder).toBe(`/run/${settingOf("casemate-host.service", "RuntimeDirectory")}`);
  for (const path of [host.stateFolder, host.signer.folder, host.kept!.docker.folder])
    expect(path).toMatch(`/var/lib/${settingOf("casemate-host.service", "StateDirectory")}/`);
  const user = readUserConfig(join(ROOT, "deploy/up.json"));
  resolveConfig(DEFAULT_CONFIG, user.control, {});
});

/** The program as the image has it: what the last stage copies, and the packages. */
function asInTheImage(): string {
  const program = join(folder, "program");
  mkdirSync(program);
  const last = read("Containerfile").split("\nFROM ").at(-1)!;
  for (const [, from] of last.matchAll(/^COPY (\S+) \S+$/gm))
    cpSync(join(ROOT, from!), join(program, from!), { recursive: true });
  cpSync(join(ROOT, "package.json"), join(program, "package.json"));
  symlinkSync(join(ROOT, "node_modules"), join(program, "node_modules"));
  return program;
}

const unitLine = (): string[] => {
  const [, words] = /^\/bin\/sh -c '(.*)'$/.exec(settingOf("casemate-control.service", "ExecStart"))!;
  const make = settingOf("casemate-control.service", "ExecStartPre");
  return ["/bin/sh", "-c", `${make} && ${words}`];
};
const imageLine = (): string[] => {
  const text = read("Containerfile");
  const list = (key: string): string[] => JSON.parse(new RegExp(`^${key} (\\[.*\\])$`, "m").exec(text)![1]!);
  return [...list("ENTRYPOINT"), ...list("CMD")];
};

it.each([
  ["the unit", unitLine],
  ["the image", imageLine],
])(
  "control started by the line of %s serves, stays although nobody holds its standard input, and ends on SIGTERM",
  { timeout: 60_000 },
  async (_, line) => {
    await using database = await cloneDatabase();
    const program = asInTheImage();
    for (const name of ["run", "state"]) mkdirSync(join(folder, name), { mode: 0o700 });
    const config = join(folder, "control.json");
    writeFileSync(
      config,
      read("control.json")
        .replace("/run/casemate-control", join(folder, "run"))
        .replace("/var/lib/casemate-control", join(folder, "state")),
    );
    const port = await freePort();
    const [command, ...args] = line().map((word) =>
      word
        .replaceAll("/etc/casemate/control.json", config)
        .replaceAll("/run/casemate-control", join(folder, "run"))
        .replaceAll("/opt/casemate", program),
    );
    child = spawn(command!, args, {
      cwd: program,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env.PATH,
        CASEMATE_HTTP_PORT: String(port),
        CASEMATE_DATABASE_SOCKET: database.host,
        CASEMATE_DATABASE_USER: database.user,
        CASEMATE_DATABASE_NAME: database.database,
      },
    });
    let output = "";
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    const exited = new Promise((resolve) => child!.once("exit", (code, signal) => resolve(code ?? signal)));
    const answer = () =>
      fetch(`http://127.0.0.1:${port}/livez`).then(
        (reply) => reply.text(),
        () => output,
      );
    await expect.poll(answer, { timeout: 30_000 }).toBe("ok\n");
    await sleep(500);
    expect(await answer()).toBe("ok\n");
    child.kill("SIGTERM");
    expect([await exited, output]).toEqual([0, expect.stringContaining("stopping")]);
  },
);

describeWith([root, bubblewrap], "the bounding set of the unit", () => {
  it("leaves a session everything that a complete proof needs", { timeout: 120_000 }, async () => {
    const taken = settingOf("casemate.service", "CapabilityBoundingSet");
    expect(taken).toBe(settingOf("casemate-host.service", "CapabilityBoundingSet"));
    const words = taken
      .replace("~", "")
      .split(" ")
      .map((name) => `-${name.replace("CAP_", "").toLowerCase()}`);
    chmodSync(folder, 0o755);
    await using casemate = await startCasemate({
      state: join(folder, "state"),
      prefix: ["setpriv", "--bounding-set", words.join(","), "--inh-caps", words.join(","), "--"],
    });
    expect(readFileSync(`/proc/${casemate.pid}/status`, "utf8")).not.toMatch(/^CapBnd:\s*[0-9a-f]*f{10}$/m);
    const me = await casemate.signUp();
    const { session_id: id } = (await me("POST", "/v1/sessions", {})).body;
    const done = await me("POST", `/v1/sessions/${id}/exec`, { command: "echo $((6 * 7))" });
    expect(done.body.output ?? done.text).toContain("42");
    const ended = await me("DELETE", `/v1/sessions/${id}`);
    expect(ended.body.status ?? ended.text).toBe("destroyed");
    expect(ended.body.cdp.context.limits).not.toContain("no_cgroup");
  });
});
