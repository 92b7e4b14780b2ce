// SPDX-License-Identifier: Apache-2.0
/** From the words of the sessions surface to the core's: a session is a process machine that ends with a proof. */
import type { MachineSpec } from "#contract/link/machine.ts";
import type { TierLimits } from "./tiers.ts";
import { wireTime } from "./time.ts";

export interface SessionSubject {
  sessionId: string;
  createdAt: Date;
  classification: string;
  jurisdiction: string;
  ttlSeconds: number | null;
}

export function toMachineSpec(
  subject: SessionSubject,
  limits: TierLimits,
  template: string | null,
): MachineSpec {
  return {
    isolation: "process",
    image: template,
    cpuMillis: limits.cpuMillis,
    memoryMiB: limits.memoryMiB,
    pidsMax: limits.pidsMax,
    network: "none",
    endProof: {
      profile: "casemate-cdp/1",
      subject: {
        session_id: subject.sessionId,
        created_at: wireTime(subject.createdAt),
        data_classification: subject.classification,
        jurisdiction: subject.jurisdiction,
        ttl_seconds: subject.ttlSeconds,
      },
    },
  };
}
