// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. Each operation picks what it needs, so its head shows its powers. */
import type { Logger } from "pino";
import type { Collateral, ExpectedOf, GuestImages } from "../../core/attestation/index.ts";
import type { Fleet } from "../../core/fleet/index.ts";
import type { DomainLooks } from "../../core/ingress/index.ts";
import type { Converger } from "../../core/machines/index.ts";
import type { Vault } from "../../core/vault/index.ts";
import type { Database } from "../../database/open.ts";
import type { ComposeJudge } from "./compose/judge.ts";
import type { WorkloadIsolation } from "./isolation.ts";

export interface WorkloadsConfig {
  /** Domain below which every workload has a name; `localhost` names need no DNS. */
  zone: string;
  /** A power of ten micro-units of USD. */
  microsPerCredit: number;
  /** null is unlimited. */
  requestsPerMinute: number | null;
  /** What the workloads of an account may have of disks together, stopped ones included; null is unlimited. */
  diskGbPerAccount: number | null;
  /** Jurisdiction of accounts that the operator opens. */
  jurisdiction: string;
  /** Of accounts that ask for nothing. */
  isolation: WorkloadIsolation;
}

export interface Deps {
  db: Database;
  fleet: Fleet;
  converger: Converger;
  vault: Vault;
  judge: ComposeJudge;
  log: Logger;
  guestImages: GuestImages;
  collateral: Pick<Collateral, "forEvidence">;
  expectedOf: ExpectedOf;
  /** What the world's DNS says of domains that customers bring. */
  looks: DomainLooks;
  workloads: WorkloadsConfig;
  /** The name by which images say that they are in our own registry; known once the server listens. */
  registryHost(): string;
}
