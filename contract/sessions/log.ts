// SPDX-License-Identifier: Apache-2.0
/** The transparency log: what anybody may read of it, and where in it a proof is. */
import { Type } from "typebox";
import { operation } from "../operation.ts";

const ReadRpm = 1200;
const Size = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

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
  query: Type.Object({
    size: Type.Optional(
      Type.Integer({
        ...{ minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
        description: "Show it in the tree of this many entries, of which you hold the checkpoint.",
      }),
    ),
    from: Type.Optional(
      Type.Integer({
        ...{ minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
        description: "Also show that the tree of this many entries is the beginning of that one.",
      }),
    ),
  }),
  responses: {
    200: {
      description: "The inclusion proof",
      schema: Type.Object({
        origin: Type.String({ description: "The log's name." }),
        index: Type.Integer({ description: "Of the entry, from 0." }),
        size: Type.Integer({ description: "Entries of the tree it is shown in." }),
        proof: Type.Array(Type.String(), { description: "Hashes in base64, from the leaf up." }),
        checkpoint: Type.String({ description: "The signed note over that tree (C2SP tlog-checkpoint)." }),
        consistency: Type.Optional(Type.Object({ from: Size, proof: Type.Array(Type.String()) })),
      }),
    },
    202: {
      description: "No checkpoint has it yet; `Retry-After` says when to ask again",
      schema: Type.Object({ status: Type.Literal("pending") }),
    },
  },
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
