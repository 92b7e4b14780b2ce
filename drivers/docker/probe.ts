// SPDX-License-Identifier: Apache-2.0
/** Whether this computer can run machines as containers, and if not, the one thing to do next. */
import { readFileSync } from "node:fs";
import type Docker from "dockerode";
import type { KeptProbe } from "../kept-driver.ts";
import type { CgroupKind } from "./cgroup-parent.ts";
import { findCompose } from "./compose.ts";
import { type EngineStorage, hasLayerQuota } from "./disk.ts";
import { runProgram } from "./program.ts";

const ENGINE_MS = 10_000;
/** 20.10, the oldest that we have run. */
const API_MIN = 1.41;

export interface EngineFacts {
  version: string;
  kind: CgroupKind;
  /** As the engine says it. */
  cgroups: string;
  layerQuota: boolean;
}

export async function engineFacts(engine: Docker): Promise<EngineFacts> {
  const info: EngineStorage & { ServerVersion: string; CgroupDriver: string; CgroupVersion?: string } =
    await inTime(engine.info());
  const driver = info.CgroupDriver === "systemd" ? "systemd" : "cgroupfs";
  return {
    version: info.ServerVersion,
    kind: { driver, version: info.CgroupVersion === "2" ? 2 : 1 },
    cgroups: info.CgroupDriver,
    layerQuota: hasLayerQuota(info, readFileSync("/proc/self/mountinfo", "utf8")),
  };
}

export async function probeDocker(
  engine: Docker,
  socketPath: string,
  folder: string,
  command: string[] | undefined,
): Promise<KeptProbe> {
  const missing = (text: string): KeptProbe => ({ ready: false, missing: text });
  if (process.getuid?.() !== 0) return missing("the host must run as root to keep machines in containers");
  try {
    const { ApiVersion } = await inTime(engine.version());
    if (Number(ApiVersion) < API_MIN)
      return missing(`the Docker engine is too old: its API is ${ApiVersion}, needed is ${API_MIN}`);
    const { kind, cgroups } = await engineFacts(engine);
    if (cgroups === "none") return missing("the Docker engine has no cgroups; run it as root");
    if (kind.driver === "systemd" && !(await answers(["systemctl", "--version"])))
      return missing("the Docker engine uses systemd's cgroups, and systemctl does not answer here");
  } catch {
    return missing(
      `no Docker engine answers at ${socketPath}: apt-get install -y docker.io docker-compose iptables, then start docker`,
    );
  }
  if ((await findCompose(folder, command)) === null)
    return missing(
      "compose is missing: apt-get install -y docker-compose (or Docker's docker-compose-plugin)",
    );
  for (const program of ["iptables-restore", "ip6tables-restore"])
    if (!(await answers([program, "--version"])))
      return missing("iptables is missing: apt-get install -y iptables");
  if (!(await answers(["iptables-save", "-t", "mangle"])))
    return missing("the kernel has no iptables table mangle");
  return { ready: true, missing: null };
}

const answers = async (command: string[]) =>
  (await runProgram(command, { timeoutMs: ENGINE_MS }).catch(() => null))?.code === 0;

/** The client library gives these two calls no limit of time. */
function inTime<T>(work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the engine does not answer in time")), ENGINE_MS);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
