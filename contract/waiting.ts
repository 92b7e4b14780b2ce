// SPDX-License-Identifier: Apache-2.0
/** The query of a long poll, the same on every thing that has a status. */
import { Type } from "typebox";

export const WAIT = {
  wait: Type.Optional(
    Type.String({
      maxLength: 64,
      description:
        "Answer when it has this status, or one of several with commas between, or `ended`; or at the timeout.",
    }),
  ),
  timeout: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 300, description: "Seconds to wait; default 30." }),
  ),
};
