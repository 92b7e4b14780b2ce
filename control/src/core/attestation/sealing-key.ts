// SPDX-License-Identifier: Apache-2.0
/**
 * The key that a machine's secrets are sealed to, whatever it is for: that of its evidence, when that is of the image and the launch it
 * should be. The attacker is its host. A `vm` and a system container have no evidence: what they are given is sealed on its way, and
 * their host is believed about the key, unless image or launch was revoked.
 */
import { randomBytes } from "node:crypto";
import type { EvidenceVerdict } from "#evidence/verify.ts";
import type { GuestImage } from "./guest-images.ts";
import { type JudgeNeeds, judgeLaunch, judgeSpare, type LaunchToJudge } from "./judge-launch.ts";
import { revocationStep } from "./references.ts";
import { type AttestTalk, TalkRefused } from "./talk.ts";

type Ask = Omit<LaunchToJudge, "image" | "purpose" | "nonce" | "login" | "account" | "subject"> & {
  /** Null: nobody's yet. */
  owner: Pick<LaunchToJudge, "account" | "subject"> | null;
  /** Null: this installation has none of that hash. */
  image: GuestImage | null;
};

const NONCE_BYTES = 32;
/** By name: an isolation that nobody thought of here needs evidence. */
const WITHOUT_EVIDENCE: readonly string[] = ["vm", "system-container"];

/** Nothing vouches for such a machine but its host, whoever asks is told so. */
export const hostIsTrusted = (isolation: string): boolean => WITHOUT_EVIDENCE.includes(isolation);

/** Public words that say why there is none. Throws when the machine did not answer at all: it is asked again. */
export async function sealingKeyOf(
  needs: JudgeNeeds,
  talk: AttestTalk,
  { image, owner, ...ask }: Ask,
): Promise<Uint8Array | string> {
  if (image === null)
    return "this installation does not know the image that the machine was to be started with";
  if (hostIsTrusted(ask.isolation)) {
    const { ok, detail } = await revocationStep(needs.db.run, [image.sha256, ask.launchSha256]);
    if (!ok) return detail;
    const { keys } = await talk.evidence("seal", randomBytes(NONCE_BYTES));
    return Buffer.from(keys.sealing, "base64");
  }
  try {
    const { verdict, sealingKey } = await (owner === null
      ? judgeSpare(needs, talk, { ...ask, image })
      : judgeLaunch(needs, talk, { ...ask, ...owner, image, purpose: "seal" }));
    return verdict.accepted ? sealingKey : refusedAt("the machine's evidence", verdict);
  } catch (error) {
    // One that did not answer at all is asked again; one that would not is refused.
    if (!(error instanceof TalkRefused)) throw error;
    return `the machine gave no evidence: ${error.message}`;
  }
}

/** In public words, at which step. */
export function refusedAt(what: string, { steps }: Pick<EvidenceVerdict, "steps">): string {
  const failed = steps.find(({ ok }) => !ok);
  return `${what} is refused at ${failed?.name ?? "the policy"}: ${failed?.detail ?? "there is none for it"}`;
}
