// SPDX-License-Identifier: Apache-2.0
/** What evidence of a launch will show, for whoever wants to hold a machine to it before there is one. */
import { type ExpectedOf, type GuestImage, isChain } from "../../core/attestation/index.ts";
import type { Fleet } from "../../core/fleet/index.ts";
import type { WorkloadIsolation } from "./isolation.ts";
import type { Launch } from "./launch.ts";

export interface Measurement {
  isolation: string;
  imageSha256: string;
  launchSha256: string;
  /** The manifest's bytes; the hash is theirs. */
  manifest: string;
  commandLine: string;
  /** For `casemate attest verify --policy`: what such a machine's evidence must show. */
  policy: object;
}

/** Hosts stand under roots of their own, so all of those that could take the machine are named. */
export async function measure(
  { fleet, expectedOf }: { fleet: Pick<Fleet, "facts">; expectedOf: ExpectedOf },
  image: GuestImage,
  launch: Launch,
  { isolation, cpus }: { isolation: WorkloadIsolation; cpus: number },
): Promise<Measurement> {
  const chains = fleet
    .facts()
    .flatMap(({ drivers }) => drivers)
    .flatMap((driver) =>
      driver.ready && driver.isolation === isolation && isChain(driver.endorsers) ? [driver.endorsers] : [],
    );
  const { commandLine, policy } = await expectedOf({
    ...{ image, launchSha256: launch.sha256, chains, isolation, cpus },
  });
  return {
    ...{ isolation, imageSha256: image.sha256, launchSha256: launch.sha256 },
    ...{ manifest: Buffer.from(launch.manifest).toString(), commandLine, policy },
  };
}
