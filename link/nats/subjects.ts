// SPDX-License-Identifier: Apache-2.0
/**
 * The subjects of the link. A host owns one branch, `casemate.host.<hostId>`: it speaks below `up` and
 * listens below `down`, control the other way round. The broker holds each to its side (`config.ts`),
 * so the host id in a subject is the one that the credentials were made for, whatever a message says.
 *
 *     up.here            host to every replica: the token of the host's broker connection
 *     down.call          replica to host: `<host's token> <replica's token>.<number> <replica>`
 *     down.<token>.<n>   replica to host, pieces of pipe n (`pipe.ts`)
 *     up.<token>.<n>     host to that replica, the other direction
 */
import { randomBytes } from "node:crypto";
import { LinkFault } from "../message.ts";

const ROOT = "casemate.host";

export const upOf = (hostId: string) => `${ROOT}.${hostId}.up`;
export const downOf = (hostId: string) => `${ROOT}.${hostId}.down`;
/** `*` stands for every host; only control's credentials may use it. */
export const EVERY_HOST = "*";

export interface Call {
  host: string;
  pipe: string;
  replica: string;
}

export const newToken = () => randomBytes(12).toString("hex");

/** A dot, a star or a space in an id would reach into the branches of other hosts. */
export function requireHostId(hostId: string): string {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(hostId))
    throw new LinkFault("link.host-id", "a host id on this link is 1 to 64 of A-Z, a-z, 0-9, _ and -");
  return hostId;
}

/** The host and what follows `up.` or `down.`, joined by dots. */
export function splitSubject(subject: string): { hostId: string; rest: string } {
  const [, , hostId = "", , ...rest] = subject.split(".");
  return { hostId, rest: rest.join(".") };
}

export function parseHere(message: Uint8Array): string | undefined {
  const text = message.length > 64 ? "" : Buffer.from(message).toString("latin1");
  return /^[0-9a-f]{1,64}$/.test(text) ? text : undefined;
}

export const callText = (call: Call) => `${call.host} ${call.pipe} ${call.replica}`;

export function parseCall(message: Uint8Array): Call | undefined {
  const text = message.length > 200 ? "" : Buffer.from(message).toString("latin1");
  const found = /^([0-9a-f]{1,64}) ([0-9a-f]{1,64}\.[0-9]{1,15}) ([\x21-\x7e]{1,64})$/.exec(text);
  return found ? { host: found[1]!, pipe: found[2]!, replica: found[3]! } : undefined;
}
