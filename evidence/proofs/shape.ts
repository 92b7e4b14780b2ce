// SPDX-License-Identifier: Apache-2.0
/**
 * The closed form of a document, compiled once. Only a document that fails is looked at a second
 * time, to say how.
 */
import { Compile } from "typebox/compile";
import { Cdp } from "./document.ts";
import type { Failure } from "./verdict.ts";

const validator = Compile(Cdp);

export function isCdp(value: unknown): value is Cdp {
  return validator.Check(value);
}

/** At least one failure, for a document that `isCdp` refused. */
export function shapeFaults(value: unknown): Failure[] {
  const faults = new Set<Failure>();
  for (const { keyword } of validator.Errors(value)) {
    if (keyword === "additionalProperties") faults.add("unknown_member");
    else if (keyword === "required") faults.add("missing_member");
    // `boolean` is the `false` schema that stands behind a closed set: said already.
    else if (keyword !== "boolean" && keyword !== "anyOf") faults.add("invalid_member");
  }
  if (faults.size === 0) faults.add("invalid_member");
  return [...faults];
}
