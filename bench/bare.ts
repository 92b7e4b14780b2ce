// SPDX-License-Identifier: Apache-2.0
/**
 * The baselines, in a small process of their own: what the kernel, bubblewrap and perl ask for when
 * nobody keeps a record, sets a limit, checks or answers over HTTP. Small, because a grown process
 * forks slowly, and that would be a baseline flattering to us.
 *
 *   sandbox  bubblewrap with the namespaces, binds and tmpfs of a session, running `true`, to its end
 *   entry    one cold run of the driver's entry program in a live sandbox, running `true`, to its end
 *   hold     such sandboxes kept alive, for what they weigh
 *
 * Started with `fork`; one question at a time.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { assembleFilter } from "#confine/seccomp.ts";
import type { Machine } from "#confine/syscalls.ts";
import { SPEC } from "#drivers/conformance/machine.ts";
import { planTmpfs, rootArguments } from "#drivers/sandbox/arguments.ts";
import { findCgroups } from "#drivers/sandbox/cgroups.ts";
import { enter } from "#drivers/sandbox/enter.ts";
import { type EntryProcess, Launcher } from "#drivers/sandbox/launcher.ts";
import { closeAll, type Sandbox } from "#drivers/sandbox/machine.ts";
import { Prober } from "#drivers/sandbox/prober/client.ts";
import { bootId } from "#drivers/sandbox/process-table.ts";
import { rlimitsFor } from "#drivers/sandbox/rlimits.ts";
import { INSIDE_ID, prepareSkeleton } from "#drivers/sandbox/skeleton.ts";
import { removeFolders, startSandbox, writeFilter } from "#drivers/sandbox/start.ts";

const ENTRY = fileURLToPath(new URL("../drivers/sandbox/enter.pl", import.meta.url));
const UID = process.getuid?.() === 0 ? 1_899_990_000 : null;

export type BareQuestion = { kind: "sandbox" } | { kind: "entry" } | { kind: "hold"; count: number };
export interface BareAnswer {
  ms: number;
  error?: string;
}

const folder = mkdtempSync(join(tmpdir(), "casemate-bare-"));
// The sandboxes' uids read from it.
chmodSync(folder, 0o755);
const owner = `bare-${process.pid}`;
const cgroups = findCgroups(owner);
const filter = assembleFilter(process.arch as Machine);
const filterPath = join(folder, "filter.bpf");
writeFilter(filterPath, filter);
const launcher = new Launcher("machines");
const prober = new Prober(UID === null ? null : UID + 2);
const root = rootArguments(null, prepareSkeleton(folder));
const held: ChildProcess[] = [];
let target: Sandbox | undefined;

const id = String(INSIDE_ID);
const BARE = [
  ...["--unshare-user", "--uid", id, "--gid", id, "--unshare-ipc", "--unshare-pid", "--unshare-net"],
  ...["--unshare-uts", "--unshare-cgroup-try", "--new-session", "--die-with-parent", "--as-pid-1"],
  ...["--clearenv", ...root, "--proc", "/proc", "--dev", "/dev"],
  ...planTmpfs(256).flatMap((fs) => [
    "--perms",
    fs.mode,
    "--size",
    String(fs.sizeBytes),
    "--tmpfs",
    fs.target,
  ]),
];

function bare(...command: string[]): ChildProcess {
  return spawn("/usr/bin/bwrap", [...BARE, "--", ...command], {
    env: { PATH: "/usr/bin:/bin" },
    cwd: "/",
    stdio: ["ignore", "ignore", "inherit"],
    ...(UID === null ? {} : { uid: UID, gid: UID }),
  });
}

const exitOf = (child: ChildProcess) => new Promise<number | null>((resolve) => child.once("exit", resolve));

async function sandbox(): Promise<void> {
  const code = await exitOf(bare("/usr/bin/true"));
  if (code !== 0) throw new Error(`bwrap ended with ${code}`);
}

/** The sandbox that `entry` enters, made as the driver makes one. */
async function makeTarget(): Promise<Sandbox> {
  const machineId = `mach_${randomBytes(16).toString("hex")}`;
  return startSandbox({
    machineId,
    owner,
    spec: SPEC,
    record: {
      v: 1,
      driver: "sandbox",
      bootId: bootId(),
      uid: UID === null ? null : UID + 1,
      cgroups: cgroups.plan(machineId).paths,
      saltHex: "00".repeat(32),
      canaryHex: randomBytes(32).toString("hex"),
      rootDigest: null,
      started: null,
    },
    cgroups,
    launcher,
    prober,
    root,
    filterPath,
    onRecord: async () => {},
  });
}

async function entry({ namespaces, record, cgroups: machine }: Sandbox): Promise<void> {
  const cold = async (): Promise<EntryProcess> => {
    const child = spawn("/usr/bin/perl", ["-f", ENTRY], { env: {}, cwd: "/", stdio: Array(5).fill("pipe") });
    return {
      stdio: child.stdio as unknown as EntryProcess["stdio"],
      kill: () => void child.kill("SIGKILL"),
    };
  };
  const { ended, stdout, stderr } = await enter(
    { take: cold },
    {
      argv: ["/bin/sh", "-c", "true"],
      cwd: "/session",
      env: { PATH: "/usr/bin:/bin" },
      namespaces,
      hostUid: record.uid,
      cgroupFiles: cgroups.firstOf(machine),
      rlimits: rlimitsFor(SPEC, cgroups.kind),
      filter,
      input: "none",
    },
  );
  stdout.resume();
  stderr.resume();
  if ((await ended) !== 0) throw new Error("the entry failed");
}

async function hold(count: number): Promise<void> {
  while (held.length < count) held.push(bare("/bin/sh", "-c", "while :; do sleep 2147483647; done"));
  const ends = held.splice(count).map((child) => {
    child.kill("SIGKILL");
    return exitOf(child);
  });
  await Promise.all(ends);
}

async function answer(question: BareQuestion): Promise<BareAnswer> {
  if (question.kind === "entry") target ??= await makeTarget();
  const from = performance.now();
  try {
    if (question.kind === "sandbox") await sandbox();
    else if (question.kind === "entry") await entry(target!);
    else await hold(question.count);
    return { ms: performance.now() - from };
  } catch (error) {
    return { ms: 0, error: String(error) };
  }
}

async function leave(): Promise<void> {
  await hold(0);
  if (target) {
    target.monitor.kill();
    await target.monitor.gone;
    closeAll([...Object.values(target.namespaces), ...target.mounts.map(({ fd }) => fd)]);
    await removeFolders(target.record.cgroups);
  }
  await Promise.all([launcher.close(), prober.close()]);
  cgroups.close();
  rmSync(folder, { recursive: true, force: true });
  process.exit(0);
}

process.on("message", (question: BareQuestion) => {
  void answer(question).then((said) => process.send!(said));
});
process.on("disconnect", () => void leave());
