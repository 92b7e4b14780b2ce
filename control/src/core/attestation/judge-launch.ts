// SPDX-License-Identifier: Apache-2.0
/** Fresh evidence of a machine, held to the launch that it should be, and the verdict kept. */
import type { HostFacts } from "#contract/link/machine.ts";
import type { Database } from "../../database/open.ts";
import type { Collateral } from "./collateral.ts";
import type { ExpectedOf } from "./expected.ts";
import type { GuestImage } from "./guest-images.ts";
import { type Asked, judgeMachine } from "./judge.ts";
import { keepVerdict } from "./keep.ts";
import type { AttestTalk } from "./talk.ts";

export interface JudgeNeeds {
  db: Database;
  fleet: { facts(): HostFacts[] };
  collateral: Pick<Collateral, "forEvidence">;
  expectedOf: ExpectedOf;
}

export interface LaunchToJudge {
  hostId: string;
  machineId: string;
  account: string;
  /** What the machine is for; the id of one of the two. */
  subject: { workload: string } | { instance: string };
  isolation: string;
  cpus: number;
  image: GuestImage;
  /** The launch manifest's, hex. */
  launchSha256: string;
  purpose: "report" | "seal" | "login";
  login?: Asked["login"];
  nonce?: Uint8Array;
}

/** Throws `TalkFault` when there is nothing to judge. */
export async function judgeLaunch(
  { db, fleet, collateral, expectedOf }: JudgeNeeds,
  talk: AttestTalk,
  ask: LaunchToJudge,
) {
  const { hostId, machineId, account, subject, isolation, cpus, image, launchSha256, purpose, nonce, login } =
    ask;
  const drivers = fleet.facts().find((facts) => facts.hostId === hostId)?.drivers ?? [];
  const endorsers = drivers.find((driver) => driver.isolation === isolation)?.endorsers ?? [];
  const { policy } = await expectedOf({
    ...{ image, launchSha256, chains: [endorsers], isolation, cpus },
  });
  const judged = await judgeMachine(talk, {
    ...{ account, purpose, policy, collateral, atMs: Date.now() },
    beside: endorsers.map((der) => Buffer.from(der, "base64")),
    ...(nonce !== undefined && { nonce }),
    ...(login !== undefined && { login }),
  });
  const kept = await keepVerdict(db.run, {
    account,
    subject: { ...subject, machine: machineId, image: image.sha256, launch: launchSha256 },
    ...{ purpose, evidence: Buffer.from(JSON.stringify(judged.bundle ?? {})), beside: judged.beside, policy },
    ...{ bound: judged.bound, keyName: judged.keyName, nonce: judged.nonce, verdict: judged.verdict },
  });
  return { ...kept, sealingKey: judged.sealingKey, tlsKey: judged.tlsKey };
}
