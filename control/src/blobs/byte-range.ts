// SPDX-License-Identifier: Apache-2.0
import { Fault } from "#contract/errors.ts";
import type { ByteRange } from "./port.ts";

/** Null: all of it, also of what is no single range (RFC 9110 lets a server ignore those). */
export function byteRangeOf(header: string | undefined, size: number): ByteRange | null {
  const [, from, to] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? "") ?? [];
  if (from === undefined || to === undefined || (from === "" && to === "")) return null;
  const first = from === "" ? Math.max(0, size - Number(to)) : Number(from);
  const last = from === "" || to === "" ? size - 1 : Math.min(Number(to), size - 1);
  if (from !== "" && to !== "" && Number(to) < Number(from)) return null;
  if (first >= size || last < first) throw new Fault("blob.range", { detail: `The blob has ${size} bytes.` });
  return { first, last };
}
