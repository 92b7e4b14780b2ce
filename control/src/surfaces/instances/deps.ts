// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. Each operation picks what it needs, so its head shows its powers. */
import type { Logger } from "pino";
import type { Collateral, ExpectedOf, GuestImages } from "../../core/attestation/index.ts";
import type { Fleet } from "../../core/fleet/index.ts";
import type { JournalFeed } from "../../core/journal/index.ts";
import type { Converger } from "../../core/machines/index.ts";
import type { Vault } from "../../core/vault/index.ts";
import type { Database } from "../../database/open.ts";
import type { Pricing } from "./bill.ts";

export interface InstancesConfig {
  /** Domain below which every tenant has a slug, and every instance of it a name. */
  zone: string;
  /** What an instance may send in its life, in bytes. */
  egressLimitBytes: number;
  /** What is chosen for who asks for no model. */
  inferenceModel: string;
  cpus: number;
  memoryMiB: number;
  /** Only machines that a processor keeps from their host. */
  requireHardware: boolean;
  /** How many machines of which agent wait booted for whoever comes, and how old one gets. */
  warm: readonly { agent: string; count: number }[];
  warmMaxAgeMs: number;
  /** Agents also where their machine's processor is emulated, and they may not come up in time. */
  allowSlowAgents: boolean;
  /** Of the disk that outlives a stop. */
  diskMiB: number;
  dialect: {
    sshRsa: "refuse" | "accept";
    deleteBody: "final" | "terminating";
    publicKeyInList: boolean;
    customInference: boolean;
  };
  /** null is unlimited. */
  requestsPerMinute: number | null;
  pricing: Pricing;
  /** Who has the models that an instance may choose of; nobody: any is taken. */
  inference: { upstreams: readonly { models: readonly { id: string }[] }[] };
}

export interface Deps {
  db: Database;
  fleet: Fleet;
  converger: Converger;
  feed: JournalFeed;
  vault: Vault;
  guestImages: GuestImages;
  collateral: Pick<Collateral, "forEvidence">;
  expectedOf: ExpectedOf;
  instances: InstancesConfig;
  /** Draws a name, which may be held (names.ts). */
  makeName(): string;
  /** Gives the machine of a start what makes it somebody's, when it waits for that. */
  claim(hostId: string, start: { machineId: string; incarnation: number }): Promise<void>;
  log: Logger;
}
