// SPDX-License-Identifier: Apache-2.0
/** Where something is in the transparency log, as every surface answers it. */
import { Type } from "typebox";

const Size = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

/** In which tree an entry is shown. */
export const TreeQuery = Type.Object({
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
});

export const InclusionReplies = {
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
};
