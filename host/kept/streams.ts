// SPDX-License-Identifier: Apache-2.0
/** Streams about kept machines: their payload and their disk come in, the disk, logs, containers and figures go out. One is about all of them. */

import { Compile } from "typebox/compile";
import type { StreamRequest } from "#contract/link/machine.ts";
import { Payload } from "#contract/link/payload.ts";
import { DriverFault } from "#drivers/driver.ts";
import type { LinkStream } from "#link/port.ts";
import type { HostLog } from "../machine.ts";
import { concludeStream } from "../streams.ts";
import { serveAttest } from "./attest.ts";
import { lendDisk, takeDisk } from "./disk.ts";
import type { KeptReconciler } from "./reconcile.ts";

type Ask<K extends StreamRequest["kind"]> = Extract<StreamRequest, { kind: K }>;
export type KeptRequest = Ask<
  "payload" | "attest" | "disk-get" | "disk-put" | "egress" | "containers" | "stats" | "logs"
>;

/** What a payload may be at most: a request's body and what we add to it. */
const PAYLOAD_MAX = 32 * 1024 * 1024;
const KINDS = ["payload", "attest", "disk-get", "disk-put", "egress", "containers", "stats", "logs"];
const check = Compile(Payload);

export const isKeptRequest = (request: StreamRequest): request is KeptRequest => KINDS.includes(request.kind);

export function serveKept(
  reconciler: KeptReconciler,
  log: HostLog,
  request: KeptRequest,
  stream: LinkStream,
): void {
  concludeStream(serve(reconciler, request, stream), log, request, stream);
}

async function serve(reconciler: KeptReconciler, request: KeptRequest, stream: LinkStream): Promise<unknown> {
  if (request.kind === "egress") return reconciler.egress();
  const found = reconciler.find(request.machineId);
  if (found === undefined) throw new DriverFault("machine.not-running", "this host has no such machine");
  const { driver } = found;
  switch (request.kind) {
    case "payload":
      try {
        reconciler.give(request.machineId, request.incarnation, await payloadFrom(request, stream));
      } catch (error) {
        // One that is lost is asked for again; one that can never be taken is not.
        if (!stream.signal.aborted) reconciler.refuse(request.machineId, request.incarnation);
        throw error;
      }
      return {};
    case "attest":
      return serveAttest(found, request, stream);
    case "disk-get":
      return lendDisk(found, stream);
    case "disk-put":
      return takeDisk(found, request, stream);
    case "containers":
      return driver.containers(request.machineId);
    case "stats":
      return driver.stats(request.machineId);
    case "logs": {
      const { kind: _, machineId, ...ask } = request;
      for await (const line of driver.logs(machineId, { ...ask, signal: stream.signal }))
        await stream.write(Buffer.from(`${line}\n`));
      return {};
    }
  }
}

async function payloadFrom({ sizeBytes }: Ask<"payload">, stream: LinkStream): Promise<Payload> {
  if (sizeBytes > PAYLOAD_MAX) throw new DriverFault("host.above-ceiling", "the payload is too large");
  const parts: Uint8Array[] = [];
  let got = 0;
  for await (const { bytes } of stream.chunks()) {
    got += bytes.length;
    if (got > sizeBytes) throw new Error("more payload than was announced");
    parts.push(bytes);
  }
  if (got !== sizeBytes) throw new Error("the payload did not come whole");
  const payload: unknown = JSON.parse(Buffer.concat(parts).toString());
  if (!check.Check(payload)) throw new Error("not a payload");
  return payload;
}
