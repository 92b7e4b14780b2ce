// SPDX-License-Identifier: Apache-2.0
/** Fresh evidence of a machine, held to the launch that it should be, and the verdict kept. */
import type { HostFacts } from "#contract/link/machine.ts";
import type { Database } from "../../database/open.ts";
import type { Collateral } from "./collateral.ts";
import type { ExpectedOf } from "./expected.ts";
import type { GuestImage } from "./guest-images.ts";
import { type Asked, type Judged, judgeMachine } from "./judge.ts";
import { keepVerdict, withRevocations } from "./keep.ts";
import type { AttestTalk } from "./talk.ts";

export interface JudgeNeeds {
  db: Database;
  fleet: { facts(): HostFacts[] };
  collateral: Pick<Collateral, "forEvidence">;
  expectedOf: ExpectedOf;
}

interface Launched {
  hostId: string;
  machineId: string;
  isolation: string;
  cpus: number;
  image: GuestImage;
  /** The launch manifest's, hex. */
  launchSha256: string;
}

export interface LaunchToJudge extends Launched {
  account: string;
  /** What the machine is for; the id of one of the two. */
  subject: { workload: string } | { instance: string };
  purpose: "report" | "seal" | "login";
  login?: Asked["login"];
  nonce?: Uint8Array;
}

/** Throws `TalkFault` when there is nothing to judge. */
export async function judgeLaunch(needs: JudgeNeeds, talk: AttestTalk, ask: LaunchToJudge) {
  const { account, subject } = ask;
  const { judged, policy, about } = await judgeAsked(needs, talk, { ...ask, who: account });
  const kept = await keepVerdict(needs.db.run, {
    ...{ account, subject: { ...subject, ...about }, purpose: ask.purpose, policy },
    ...{ evidence: fileOf(judged), beside: judged.beside, bound: judged.bound, keyName: judged.keyName },
    ...{ nonce: judged.nonce, verdict: judged.verdict },
  });
  return { ...kept, sealingKey: judged.sealingKey, tlsKey: judged.tlsKey };
}

/** The same of a machine that is nobody's yet. Nobody could look at the verdict, and it is not kept. */
export async function judgeSpare(needs: JudgeNeeds, talk: AttestTalk, ask: Launched) {
  const { judged, policy, about } = await judgeAsked(needs, talk, {
    ...ask,
    ...{ who: ask.hostId, purpose: "seal" },
  });
  const given = { evidence: fileOf(judged), beside: judged.beside, policy, verdict: judged.verdict };
  const verdict = await withRevocations(needs.db.run, given, [about.image, about.launch]);
  return { verdict, sealingKey: judged.sealingKey };
}

const fileOf = ({ bundle }: Judged) => Buffer.from(JSON.stringify(bundle ?? {}));

async function judgeAsked(
  { fleet, collateral, expectedOf }: JudgeNeeds,
  talk: AttestTalk,
  ask: Launched & Pick<LaunchToJudge, "purpose" | "login" | "nonce"> & { who: string },
) {
  const { hostId, machineId, isolation, cpus, image, launchSha256, purpose, nonce, login, who } = ask;
  const drivers = fleet.facts().find((facts) => facts.hostId === hostId)?.drivers ?? [];
  const endorsers = drivers.find((driver) => driver.isolation === isolation)?.endorsers ?? [];
  const { policy } = await expectedOf({
    ...{ image, launchSha256, chains: [endorsers], isolation, cpus },
  });
  const judged = await judgeMachine(talk, {
    ...{ account: who, purpose, policy, collateral, atMs: Date.now() },
    beside: endorsers.map((der) => Buffer.from(der, "base64")),
    ...(nonce !== undefined && { nonce }),
    ...(login !== undefined && { login }),
  });
  return { judged, policy, about: { machine: machineId, image: image.sha256, launch: launchSha256 } };
}
