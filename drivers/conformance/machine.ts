// SPDX-License-Identifier: Apache-2.0
/** A machine as tests ask for it, and a command as tests run it. */
import { randomBytes } from "node:crypto";
import type { ExecResult, MachineSpec } from "#contract/link/machine.ts";
import type { Driver, ExecAsk } from "../driver.ts";

export const SPEC: MachineSpec = {
  isolation: "process",
  image: null,
  cpuMillis: 1000,
  memoryMiB: 128,
  pidsMax: 64,
  network: "none",
  endProof: {
    profile: "casemate-cdp/1",
    subject: {
      session_id: `sess_${"0".repeat(32)}`,
      created_at: "2026-01-01T00:00:00Z",
      data_classification: "none",
      jurisdiction: "none",
      ttl_seconds: null,
    },
  },
};

export const newMachineId = () => `mach_${randomBytes(16).toString("hex")}`;

export interface Ran extends ExecResult {
  stdout: string;
  stderr: string;
}

export async function run(
  driver: Pick<Driver, "exec">,
  machineId: string,
  command: string,
  ask: Partial<ExecAsk> = {},
): Promise<Ran> {
  const said: Record<1 | 2, Buffer[]> = { 1: [], 2: [] };
  const result = await driver.exec(machineId, {
    command,
    timeoutMs: 20_000,
    input: null,
    outputLimitBytes: 1024 * 1024,
    onOutput: (channel, bytes) => void said[channel].push(Buffer.from(bytes)),
    ...ask,
  });
  return { ...result, stdout: Buffer.concat(said[1]).toString(), stderr: Buffer.concat(said[2]).toString() };
}
