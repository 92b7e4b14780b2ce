// SPDX-License-Identifier: Apache-2.0
/**
 * A host shows a directory of certificates that a name is its machine's: a text in the zone, which only
 * control can write. It asks for one name of one machine at a time; control decides whether the machine
 * is that host's.
 */
import { type Static, Type } from "typebox";

export const ChallengeWish = Type.Object(
  {
    machineId: Type.String({ pattern: "^mach_[0-9a-f]{32}$" }),
    /** The name itself; the text stands below it, at `_acme-challenge`. */
    domain: Type.String({ pattern: "^[a-z0-9.-]{1,253}$" }),
    /** SHA-256 in base64url, as RFC 8555, 8.4 has it: nothing else can be published this way. */
    value: Type.String({ pattern: "^[A-Za-z0-9_-]{43}$" }),
    want: Type.Enum(["published", "withdrawn"]),
  },
  { additionalProperties: false },
);
export type ChallengeWish = Static<typeof ChallengeWish>;
