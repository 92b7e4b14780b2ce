// SPDX-License-Identifier: Apache-2.0
/** What a start is told, and what of it is the driver's to read: the manifest is the guest's, and it is bytes here but for three members. */
import { createHash } from "node:crypto";
import type { LaunchPayload, Payload } from "#contract/link/payload.ts";
import { DriverFault } from "../driver.ts";

export interface Launch {
  payload: LaunchPayload;
  manifestSha256: string;
  stateDisk: boolean;
  /** Somebody logs in to it; otherwise it serves TLS. */
  logins: boolean;
}

export function parseLaunch(payload: Payload): Launch {
  if (payload.kind !== "launch")
    throw new DriverFault("machine.start-failed", "a virtual machine is started with a launch manifest");
  const bytes = Buffer.from(payload.manifest, "base64");
  let manifest: { stateDisk?: unknown; kind?: unknown };
  try {
    manifest = JSON.parse(bytes.toString()) as typeof manifest;
  } catch (cause) {
    throw new DriverFault("machine.start-failed", "the launch manifest cannot be read", { cause });
  }
  return {
    payload,
    manifestSha256: createHash("sha256").update(bytes).digest("hex"),
    stateDisk: manifest?.stateDisk === true,
    logins: manifest?.kind === "instance",
  };
}
