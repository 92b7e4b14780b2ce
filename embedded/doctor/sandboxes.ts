// SPDX-License-Identifier: Apache-2.0
/** What sandboxes of class `process` are made with. */
import { apt, type Check, type Finding, type Here, missing, ok, warning } from "./check.ts";
import { oneLine } from "./examine.ts";
import { findOnPath, isProgram, readHere, runProgram } from "./program.ts";
import { trySandbox } from "./sandbox-trial.ts";

/** The driver starts it by this path and no other. */
const BWRAP = "/usr/bin/bwrap";
const ARCHITECTURES = ["x64", "arm64"];

const bubblewrap: Check = {
  id: "bubblewrap",
  group: "sandboxes",
  name: "bubblewrap",
  needed: ["sessions"],
  timeoutMs: 5_000,
  look: async (here, signal) => {
    const path = here.root + BWRAP;
    if (!isProgram(path)) return missing(`not at ${BWRAP}`, apt(here, "bubblewrap"));
    const { code, stdout, stderr } = await runProgram(here, [path, "--version"], signal);
    return code === 0
      ? ok(stdout.trim())
      : missing(`${BWRAP} does not run: ${oneLine(stderr)}`, apt(here, "--reinstall", "bubblewrap"));
  },
};

const seccomp: Check = {
  id: "seccomp",
  group: "sandboxes",
  name: "seccomp",
  needed: ["sessions"],
  timeoutMs: 1_000,
  look: async (here) => {
    const actions = readHere(here, "/proc/sys/kernel/seccomp/actions_avail")?.trim();
    if (actions === undefined) return missing("the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)");
    const absent = ["kill_process", "errno", "allow"].filter((name) => !actions.split(" ").includes(name));
    return absent.length === 0
      ? ok(`the kernel does ${actions}`)
      : missing(`the kernel lacks ${absent.join(", ")}`);
  },
};

/** What is known to keep them from an ordinary user; whether they work is for the trial to say. */
const userNamespaces: Check = {
  id: "user-namespaces",
  group: "sandboxes",
  name: "user namespaces",
  needed: [],
  timeoutMs: 1_000,
  look: async (here) => {
    const read = (name: string) => readHere(here, `/proc/sys/${name}`)?.trim();
    const most = read("user/max_user_namespaces");
    if (most === undefined) return missing("the kernel has none (CONFIG_USER_NS)");
    if (most === "0") return missing("switched off", "sysctl -w user.max_user_namespaces=15000");
    const hint = "the sandbox check says whether that hinders";
    if (read("kernel/unprivileged_userns_clone") === "0")
      return warning(`for root only; ${hint}`, "sysctl -w kernel.unprivileged_userns_clone=1");
    if (read("kernel/apparmor_restrict_unprivileged_userns") === "1")
      return warning(
        `AppArmor gives them only to programs whose profile says so; ${hint}`,
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
      );
    return ok(`up to ${most}`);
  },
};

const sandbox: Check = {
  id: "sandbox",
  group: "sandboxes",
  name: "a real sandbox",
  needed: ["sessions"],
  timeoutMs: 15_000,
  look: async (here, signal) => {
    if (!ARCHITECTURES.includes(here.arch)) return missing(`there is no seccomp filter for ${here.arch}`);
    for (const [path, pack] of [
      [BWRAP, "bubblewrap"],
      ["/usr/bin/perl", "perl-base"],
    ] as const)
      if (!isProgram(here.root + path)) return missing(`not tried: no ${path}`, apt(here, pack));
    try {
      return judge(await trySandbox(here.temporary, here.uid, signal), here);
    } catch (error) {
      signal.throwIfAborted();
      return missing(`cannot be made: ${oneLine((error as Error).message)}`);
    }
  },
};

function judge(seen: Awaited<ReturnType<typeof trySandbox>>, here: Here): Finding {
  const { seccompMode, noNewPrivs, capabilities, shared, startedInMs } = seen;
  const faults = [
    ...(seccompMode === 2 ? [] : [`its seccomp mode is ${seccompMode}`]),
    ...(noNewPrivs ? [] : ["it could gain privileges"]),
    ...(/^0{16}$/.test(capabilities) ? [] : [`it has capabilities ${capabilities}`]),
    ...shared.map((kind) => `its ${kind} namespace is the host's`),
  ];
  if (faults.length > 0) return missing(`started, but ${faults.join(", ")}`);
  const as = here.uid === 0 ? "a uid of its own" : `uid ${here.uid}, as every session here`;
  return ok(`started in ${startedInMs} ms as ${as}: filtered, no capabilities, own namespaces`);
}

const confinement: Check = {
  id: "confinement",
  group: "sandboxes",
  name: "confinement of the parts",
  needed: ["sessions", "workloads"],
  timeoutMs: 1_000,
  look: async (here) => {
    if (here.uid !== 0)
      return warning(`not root: database, control, host and signer all run as uid ${here.uid}`);
    const absent = ["bwrap", "setpriv"].filter((name) => findOnPath(here, name) === null);
    return absent.length === 0
      ? ok("each part gets a uid of its own and sees its own folders")
      : missing(`no ${absent.join(", ")} on PATH`, apt(here, "bubblewrap", "util-linux"));
  },
};

export const SANDBOXES: readonly Check[] = [bubblewrap, seccomp, userNamespaces, sandbox, confinement];
