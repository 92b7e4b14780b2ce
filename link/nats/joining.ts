// SPDX-License-Identifier: Apache-2.0
/**
 * What a host signs when it comes with an invitation, so that nobody has a key let in that they do not
 * hold: whoever has a word could otherwise take another host's public key, which is then in nobody's
 * reach to use but is refused to its holder. The word makes it fresh: it lets one host in, once, and is
 * over soon.
 */
import { createHash } from "node:crypto";
import { nkeys } from "@nats-io/transport-node";

export interface Joining {
  token: string;
  hostId: string;
  publicKey: string;
}

/** The word itself is in no text that is signed: a signature may be shown to somebody. */
const textOf = ({ token, hostId, publicKey }: Joining): Buffer => {
  const word = createHash("sha256").update(token).digest("hex");
  return Buffer.from(`casemate host join 1\n${word}\n${hostId}\n${publicKey}\n`);
};

/** Base64url, 86 characters. */
export function signJoining(seed: string, joining: Joining): string {
  const pair = nkeys.fromSeed(Buffer.from(seed.trim(), "latin1"));
  try {
    return Buffer.from(pair.sign(textOf(joining))).toString("base64url");
  } finally {
    pair.clear();
  }
}

/** False also of what is no public key or no signature. */
export function isSignedJoining(joining: Joining, signature: string): boolean {
  try {
    const bytes = Buffer.from(signature, "base64url");
    return nkeys.fromPublic(joining.publicKey).verify(textOf(joining), bytes);
  } catch {
    return false;
  }
}
