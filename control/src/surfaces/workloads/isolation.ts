// SPDX-License-Identifier: Apache-2.0
/**
 * What keeps a workload apart. `container`: processes of the host, which share its kernel. `vm`: a kernel of its own. `vm-vtpm`: the
 * same, measured while it starts, with a TPM that the host plays. `vm-snp`, `vm-tdx`: memory that the host cannot read, and evidence
 * of a processor.
 *
 * What a client names is what it gets, or nothing. What an account or the installation names is the least: a host's
 * strongest that is not less is taken, so that nobody gets less than was promised for want of a better host.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Fleet } from "../../core/fleet/index.ts";
import type { Db } from "../../database/open.ts";

export type WorkloadIsolation = "container" | "vm" | "vm-vtpm" | "vm-snp" | "vm-tdx";

/** Whether its start is measured, by a processor or by a TPM that the host plays. */
export const isMeasured = (isolation: string): boolean => isolation !== "container" && isolation !== "vm";

/** By what each holds against; the two processors' stand beside each other. */
const RANK: Record<WorkloadIsolation, number> = {
  container: 0,
  vm: 1,
  "vm-vtpm": 2,
  "vm-snp": 3,
  "vm-tdx": 3,
};
const STRONGEST_FIRST: readonly WorkloadIsolation[] = ["vm-snp", "vm-tdx", "vm-vtpm", "vm", "container"];

export interface IsolationAsk {
  /** By the request. */
  asked: WorkloadIsolation | undefined;
  /** By the account. */
  least: WorkloadIsolation | null;
  /** Of the installation. */
  standard: WorkloadIsolation;
}

/** Throws `workload.isolation` for less than the account's own rule, `host.not-ready` when no host offers it now. */
export function chooseIsolation(
  fleet: Pick<Fleet, "able" | "missing">,
  { asked, least, standard }: IsolationAsk,
): WorkloadIsolation {
  if (asked !== undefined) {
    if (least !== null && RANK[asked] < RANK[least])
      throw new Fault("workload.isolation", {
        detail: `Your account's workloads run in ${least} or better.`,
      });
    return requireReady(fleet, asked);
  }
  const floor = least ?? standard;
  // A container is what it is: an account that wants the best there is names a machine.
  if (floor === "container") return requireReady(fleet, floor);
  const best = STRONGEST_FIRST.find((one) => RANK[one] >= RANK[floor] && fleet.able(one).length > 0);
  return best ?? requireReady(fleet, floor);
}

function requireReady(
  fleet: Pick<Fleet, "able" | "missing">,
  isolation: WorkloadIsolation,
): WorkloadIsolation {
  const missing = fleet.missing(isolation);
  if (missing !== null) throw new Fault("host.not-ready", { detail: missing });
  if (isolation !== "container" && fleet.able(isolation).length === 0)
    throw new Fault("host.not-ready", { detail: `No host here offers ${isolation}.` });
  return isolation;
}

export interface AccountRules {
  isolation: WorkloadIsolation | null;
  launchApproval: "change" | "explicit";
}

export async function rulesOf(db: Db, account: string): Promise<AccountRules> {
  const { rows } = await sql<{ isolation: WorkloadIsolation | null; launch_approval: "change" | "explicit" }>`
    select isolation, launch_approval from accounts where id = ${account}`.execute(db);
  const row = rows[0]!;
  return { isolation: row.isolation, launchApproval: row.launch_approval };
}
