// SPDX-License-Identifier: Apache-2.0
/** The stream that control gets to a host that is not connected: at its end from the start. */
import { LinkFault } from "./message.ts";
import type { LinkStream, StreamEnd } from "./port.ts";

export function neverOpened(): LinkStream {
  const end: StreamEnd = { kind: "failed", code: "host.away", detail: "the host is not connected" };
  return {
    write: () => Promise.reject(new LinkFault("host.away", "the host is not connected")),
    finish() {},
    async *chunks() {},
    cancel() {},
    end() {},
    ended: Promise.resolve(end),
    signal: AbortSignal.abort(),
  };
}
