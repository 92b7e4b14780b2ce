// SPDX-License-Identifier: Apache-2.0
/** The transparency log: what anybody may read of it, and where in it a proof is. */
import { Type } from "typebox";
import { InclusionReplies, TreeQuery } from "../inclusion.ts";
import { operation } from "../operation.ts";

const ReadRpm = 1200;

export const getTransparency = operation({
  id: "sessions.proof.transparency",
  surface: "sessions",
  method: "GET",
  path: "/v1/proofs/:session_id/transparency",
  access: "key",
  tag: "Proofs",
  summary: "Where the proof is in the transparency log",
  description:
    "An inclusion proof (RFC 6962) in a signed tree of the log. It stands outside the proof and is verified, never trusted: " +
    "`casemate verify-proof --level 3` does, against a checkpoint that you hold. 202 until a checkpoint has the proof.",
  params: Type.Object({ session_id: Type.String({ maxLength: 64 }) }),
  query: TreeQuery,
  responses: InclusionReplies,
  errors: [
    "identity.unauthorized",
    "session.not-found",
    "session.proof-pending",
    "log.no-such-tree",
    "limits.rate",
  ],
});

export const getLogCheckpoint = operation({
  id: "sessions.log.checkpoint",
  surface: "sessions",
  method: "GET",
  path: "/log/checkpoint",
  access: "public",
  perAddressRpm: ReadRpm,
  tag: "Transparency log",
  summary: "The log's newest checkpoint",
  description:
    "A signed note: the log's name, how many entries, the root over them. Save it: who holds an old one can tell " +
    "whether the log only grew since.",
  responses: { 200: { description: "The note", mediaType: "text/plain; charset=utf-8" } },
  errors: ["log.empty", "limits.rate"],
});

export const getLogTile = operation({
  id: "sessions.log.tile",
  surface: "sessions",
  method: "GET",
  path: "/log/tile/*",
  access: "public",
  perAddressRpm: ReadRpm,
  tag: "Transparency log",
  summary: "A tile of the log, or a bundle of its entries",
  description:
    "As C2SP tlog-tiles lays them out: `/log/tile/0/000`, `/log/tile/entries/000.p/12`. They never change.",
  params: Type.Object({ "*": Type.String({ maxLength: 64 }) }),
  responses: {
    200: { description: "Hashes, 32 bytes each, or entries", mediaType: "application/octet-stream" },
  },
  errors: ["log.no-such-tile", "limits.rate"],
});

export const getLogKeys = operation({
  id: "sessions.log.keys",
  surface: "sessions",
  method: "GET",
  path: "/log/keys",
  access: "public",
  perAddressRpm: ReadRpm,
  tag: "Transparency log",
  summary: "The log's name and every key that signed for it",
  responses: {
    200: {
      description: "Newest first",
      schema: Type.Object({
        origin: Type.String(),
        keys: Type.Array(
          Type.Object({
            key: Type.String({ description: "As C2SP signed-note writes keys of verifiers." }),
            retired: Type.Boolean(),
          }),
        ),
      }),
    },
  },
  errors: ["limits.rate"],
});
