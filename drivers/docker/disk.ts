// SPDX-License-Identifier: Apache-2.0
/**
 * What a machine has on the disk: its volumes, and what its containers wrote beside them. The engine has
 * no limit for the sum of that, so it is measured and looked at from time to time: above what was
 * granted somebody is told, far above it the machine is halted. Between two looks a machine can write as
 * much as the disk takes.
 *
 * The attacker makes millions of files, so that measuring costs more than writing did:
 *  A. One measurement at a time on this host, with the least claim to the cpu, and an end.
 *  B. An answer is given again for a while, and whoever asks meanwhile waits for the same one.
 *  C. A machine that cannot be measured in time is not taken for an empty one: what was measured last
 *     stands, and it is said.
 */
import type Docker from "dockerode";
import { listContainers, listVolumes } from "./engine.ts";
import { runProgram } from "./program.ts";

const AGE_MAX_MS = 10_000;
const MEASURE_MS = 30_000;
const CALL_MS = 30_000;
const MIB = 1024 * 1024;

export interface DiskUse {
  usedBytes: number;
  /** C: false when there is no newer figure than an old one, or none at all. */
  known: boolean;
}

export class Disk {
  readonly #measure: (machineId: string) => Promise<number>;
  readonly #answers = new Map<string, { atMs: number; use: DiskUse }>();
  readonly #asked = new Map<string, Promise<DiskUse>>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(measure: (machineId: string) => Promise<number>) {
    this.#measure = measure;
  }

  /** B */
  use(machineId: string, ageMaxMs = AGE_MAX_MS): Promise<DiskUse> {
    const before = this.#answers.get(machineId);
    if (before !== undefined && performance.now() - before.atMs < ageMaxMs)
      return Promise.resolve(before.use);
    const asked = this.#asked.get(machineId) ?? this.#inTurn(machineId);
    this.#asked.set(machineId, asked);
    return asked;
  }

  forget(machineId: string): void {
    this.#answers.delete(machineId);
  }

  /** A */
  #inTurn(machineId: string): Promise<DiskUse> {
    const turn = this.#last.then(async () => {
      const measured = await this.#measure(machineId).catch(() => null);
      const usedBytes = measured ?? this.#answers.get(machineId)?.use.usedBytes ?? 0;
      const use = { usedBytes, known: measured !== null };
      this.#answers.set(machineId, { atMs: performance.now(), use });
      this.#asked.delete(machineId);
      return use;
    });
    this.#last = turn;
    return turn;
  }
}

/** Rejects when it takes too long (A, C). */
export async function measureDisk(engine: Docker, owner: string, machineId: string): Promise<number> {
  const volumes = await listVolumes(engine, owner, machineId);
  const layers: string[] = [];
  for (const { id } of await listContainers(engine, owner, machineId)) {
    const seen = await engine.getContainer(id).inspect({ abortSignal: AbortSignal.timeout(CALL_MS) });
    const upper = (seen.GraphDriver?.Data as { UpperDir?: string } | null)?.UpperDir;
    if (upper !== undefined) layers.push(upper);
  }
  const paths = [...volumes.map(({ Mountpoint }) => Mountpoint), ...layers];
  const there = paths.filter((path) => path.startsWith("/"));
  if (there.length === 0) return 0;
  // Only sizes are read, and du follows no link that a container placed there.
  const command = ["nice", "-n", "19", "du", "-s", "-x", "--block-size=1", "--", ...there];
  const { stdout } = await runProgram(command, { timeoutMs: MEASURE_MS });
  const lines = stdout.split("\n").filter((line) => line !== "");
  // What was removed while it was read is a complaint of du's, and no reason to know nothing.
  if (lines.length === 0) throw new Error("du measured nothing");
  return lines.reduce((sum, line) => sum + (Number.parseInt(line, 10) || 0), 0);
}

/** `quiet`: it was told, and is so still. Somebody who deletes a little at the limit is not told again each time. */
const QUIET_BELOW = 0.9;
const END_ABOVE = 1.1;

export function judgeDisk(
  usedBytes: number,
  grantedMiB: number,
  told: boolean,
): "fits" | "quiet" | "warn" | "end" {
  const share = usedBytes / (grantedMiB * MIB);
  if (share > END_ABOVE) return "end";
  if (share > 1) return told ? "quiet" : "warn";
  return told && share > QUIET_BELOW ? "quiet" : "fits";
}

export const diskWords = (usedBytes: number, grantedMiB: number) =>
  `${(usedBytes / MIB / 1024).toFixed(2)} of ${(grantedMiB / 1024).toFixed(2)} GiB`;

/**
 * Whether the engine can hold each container's own layer to a size: overlay2 on xfs with project quotas,
 * and nothing else. It refuses to make containers where it is asked for more than it can.
 */
export function hasLayerQuota(
  { Driver, DriverStatus, DockerRootDir }: EngineStorage,
  mountinfo: string,
): boolean {
  const onXfs = (DriverStatus ?? []).some(
    ([name, value]) => name === "Backing Filesystem" && value === "xfs",
  );
  if (Driver !== "overlay2" || !onXfs) return false;
  const mounts = mountinfo
    .split("\n")
    .map((line) => ({ target: line.split(" ")[4] ?? "", options: line.split(" ").at(-1) ?? "" }))
    .filter(({ target }) => target !== "" && `${DockerRootDir}/`.startsWith(target.replace(/\/*$/, "/")));
  const nearest = mounts.sort((a, b) => b.target.length - a.target.length)[0];
  return nearest?.options.split(",").some((each) => each === "prjquota" || each === "pquota") === true;
}

export interface EngineStorage {
  Driver: string;
  DriverStatus?: [string, string][] | null;
  DockerRootDir: string;
}
