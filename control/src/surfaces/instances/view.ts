// SPDX-License-Identifier: Apache-2.0
/** An instance as the wire shows it. A create is answered with the seed's nine members, everything else with all. */
import type { Static } from "typebox";
import type { CreatedInstance, Instance } from "#contract/instances/vocabulary.ts";
import { viewEgress } from "./egress.ts";
import { instant } from "./instant.ts";
import type { InstanceRow } from "./rows.ts";
import { timingsOf } from "./stages.ts";

const instantOr = (at: Date | null) => (at === null ? null : instant(at));

export const viewCreated = (row: InstanceRow): Static<typeof CreatedInstance> => ({
  name: row.name,
  status: row.status as "provisioning",
  agent: row.agent,
  hostname: row.hostname,
  public_key: row.public_key,
  inference_mode: row.inference_mode,
  ...(row.inference_model === null ? {} : { inference_model: row.inference_model }),
  egress_limit_bytes: row.egress_limit_bytes,
  created_at: instant(row.created_at),
});

export function viewInstance(row: InstanceRow): Static<typeof Instance> {
  return {
    name: row.name,
    status: row.status as Static<typeof Instance>["status"],
    agent: row.agent,
    hostname: row.hostname,
    public_key: row.public_key,
    inference_mode: row.inference_mode,
    inference_model: row.inference_model,
    egress_limit_bytes: row.egress_limit_bytes,
    failure_code: row.failure_code as Static<typeof Instance>["failure_code"],
    failure_message: row.failure_message,
    terminated_reason: row.terminated_reason as Static<typeof Instance>["terminated_reason"],
    created_at: instant(row.created_at),
    ready_at: instantOr(row.ready_at),
    terminated_at: instantOr(row.terminated_at),
    isolation: shownIsolation(row.isolation),
    ssh: row.ssh === null || row.status !== "ready" ? null : viewSsh(row, row.ssh),
    public_key_applied: row.key_applied === row.key_number,
    power: (row.status === "ready" ? row.power : null) as Static<typeof Instance>["power"],
    egress_bytes: row.egress_bytes,
    timings: timingsOf(row),
    ...viewEgress(row),
    ...(row.custom_inference_endpoint !== null && {
      custom_inference_endpoint: row.custom_inference_endpoint,
      custom_inference_model_name: row.custom_inference_model_name!,
    }),
  };
}

/** A container is one, whatever runs it: its host sees into it. */
export const shownIsolation = (isolation: string) =>
  isolation === "system-container" ? "container" : isolation;

/** Host keys under the name and under the address with its port, as ssh looks for them. */
function viewSsh({ hostname }: InstanceRow, { address, port, hostKeys }: NonNullable<InstanceRow["ssh"]>) {
  const place = port === 22 ? address : `[${address}]:${port}`;
  return {
    ...{ address, port, user: "azureuser" },
    known_hosts: hostKeys.map((key) => `${hostname},${place} ${key}`),
  };
}
