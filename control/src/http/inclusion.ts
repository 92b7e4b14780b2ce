// SPDX-License-Identifier: Apache-2.0
import { Fault } from "#contract/errors.ts";
import type { findInclusion } from "../core/log/index.ts";
import type { Answer } from "./call.ts";

/** Where something is in the log, as every surface answers it. */
export function inclusionAnswer(found: Awaited<ReturnType<typeof findInclusion>>): Answer {
  if (found === "unsigned") throw new Fault("log.no-such-tree");
  if (found === "pending")
    return { status: 202, body: { status: "pending" }, headers: { "retry-after": "1" } };
  return { status: 200, body: found };
}
