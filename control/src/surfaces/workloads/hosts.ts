// SPDX-License-Identifier: Apache-2.0
/** What anyone may know of the hosts: the certificates, and whether there are any. */
import type { caCertificate, health as healthOperation } from "#contract/workloads/workloads.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";

/** A host without root is set up for sessions only and says nothing of containers. */
const NONE = "no host here runs containers: they need one that runs as root, beside a Docker engine";

export async function ca({ fleet }: Pick<Deps, "fleet">, _call: Call<typeof caCertificate>): Promise<Answer> {
  const all = new Set(
    fleet.facts().flatMap(({ ingress }) => (ingress === undefined ? [] : [ingress.caPem.trim()])),
  );
  return { status: 200, bytes: Buffer.from([...all, ""].join("\n")), mediaType: "application/x-pem-file" };
}

export async function health(
  { fleet }: Pick<Deps, "fleet">,
  _call: Call<typeof healthOperation>,
): Promise<Answer> {
  const kept = fleet
    .facts()
    .flatMap(({ drivers }) => drivers.filter(({ isolation }) => isolation !== "process"));
  const ready = kept.filter((driver) => driver.ready);
  return {
    status: 200,
    body: {
      status: "ok",
      hosts: fleet.held().length,
      isolations: [...new Set(ready.map(({ isolation }) => isolation))],
      missing: kept.length === 0 ? [NONE] : [...new Set(kept.flatMap(({ missing }) => missing ?? []))],
    },
  };
}
