// SPDX-License-Identifier: Apache-2.0
/**
 * What a host and the agent inside a virtual machine say to each other: one JSON object a line over one
 * virtio-serial port. The host asks, the guest answers, one answer for each question, in order.
 *
 * Neither side trusts the other. To the guest the host is the operator it must not believe; to the host the
 * guest is whatever a customer runs as root in there. So both bound what they keep, and:
 *
 *  A. A conversation begins with the host's `hello`, which carries a random session. The guest answers `welcome`
 *     with that session. The host throws away every line before it: a port outlives a host process, and what
 *     the guest wrote to the one before is not for this one.
 *  B. The host sends an empty line before its `hello`, the guest one before its `welcome`. Half a line of, or for, a
 *     host that died ends there.
 *  C. A line over FRAME_BYTES_MAX ends the conversation on the host's side; the guest answers `too-large`
 *     and reads on from the next line.
 *  D. A question the guest cannot read is answered with id null. Unknown members are refused, not ignored: a guest
 *     that does half of what it was asked must say so.
 *
 * The same in prose, for another implementation: docs/guest-protocol.md. The agent: guest/agent/.
 */

/** Raised when an old guest would misunderstand a new host, or the other way round. */
export const PROTOCOL_VERSION = 1;
/** Name of the virtio-serial port: `-device virtserialport,chardev=…,name=<this>`. */
export const PORT_NAME = "casemate.guest";
/** One line with its line feed, in either direction. */
export const FRAME_BYTES_MAX = 262_144;
/** Random bytes that a claim must bring at least. */
export const ENTROPY_BYTES_MIN = 32;

export interface Hello {
  hello: { protocols: readonly number[]; session: string };
}

export interface Welcome {
  welcome: {
    session: string;
    /** The one of `protocols` that the guest chose; null when it speaks none of them. */
    protocol: number | null;
    agent: string;
    /** Random, made at boot: another one means that this is another boot, or a copy of a snapshot that was claimed. */
    bootId: string;
    claimed: boolean;
  };
}

/** What a guest is given before it does anything else. A second one is refused, unless it bears the same id. */
export interface Claim {
  claimId: string;
  /** Base64 of at least ENTROPY_BYTES_MIN bytes that no other guest gets: copies of one snapshot differ by nothing else. */
  entropy: string;
  /** Unix time. A snapshot's clock is as old as the snapshot. */
  timeMs: number;
  /** Base64 of the launch manifest; its SHA-256 must be the one on the measured command line. */
  manifest: string;
  /** Lines of `authorized_keys` for root; empty: no SSH server is started. */
  authorizedKeys: readonly string[];
  hostname?: string;
  network?: {
    /** As `10.0.2.15/24`. */
    address: string;
    gateway: string;
    nameServers: readonly string[];
  };
}

export interface Claimed {
  claimId: string;
  /** Public host keys of the SSH server, made after the entropy came in. */
  sshHostKeys: readonly string[];
}

export interface Health {
  claimed: boolean;
  uptimeMs: number;
  timeMs: number;
  memory: { totalKiB: number; availableKiB: number };
  /** Of the last minute, times 100. */
  load100: number;
  processes: number;
  ssh: "off" | "running" | "ended";
}

/** Question and answer of each operation. `health` and `shutdown` are answered before the claim, too. */
export interface Operations {
  health: [ask: Record<string, never>, answer: Health];
  claim: [ask: Claim, answer: Claimed];
  shutdown: [ask: Record<string, never>, answer: Record<string, never>];
}

export type OperationName = keyof Operations;

export type GuestErrorCode =
  /** The line is no question: no JSON object, an unknown member, a member of another kind. */
  | "malformed"
  | "too-large"
  | "unknown-operation"
  /** Nothing but health, claim and shutdown before the claim. */
  | "not-claimed"
  /** By another claim id. */
  | "already-claimed"
  /** The manifest is not the one of the measured command line. */
  | "launch-mismatch"
  /** No `hello` yet, or none that both sides speak. */
  | "no-session"
  /** It was understood and did not work; the message says what. */
  | "failed";

export interface Ask {
  id: number;
  op: OperationName;
  args: object;
}

export type Answer = { id: number; ok: Record<string, unknown> } | { id: number | null; error: GuestError };

export interface GuestError {
  code: GuestErrorCode;
  message: string;
}

export const encodeLine = (message: Hello | Ask): Buffer => {
  const line = Buffer.from(`${JSON.stringify(message)}\n`);
  if (line.length > FRAME_BYTES_MAX)
    throw new RangeError(`a line of ${line.length} bytes is over the limit of ${FRAME_BYTES_MAX}`);
  return line;
};

/** Answers what a guest's line says, or null when it is none of the two kinds. */
export function parseGuestLine(line: Uint8Array): Welcome | Answer | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(line));
  } catch {
    return null;
  }
  if (!isObject(value)) return null;
  if (isObject(value.welcome)) {
    const { session, protocol, agent, bootId, claimed } = value.welcome;
    if (typeof session !== "string" || typeof agent !== "string" || typeof bootId !== "string") return null;
    if (!(protocol === null || Number.isSafeInteger(protocol)) || typeof claimed !== "boolean") return null;
    return { welcome: { session, protocol: protocol as number | null, agent, bootId, claimed } };
  }
  const { id, ok, error } = value;
  if (Number.isSafeInteger(id) && isObject(ok) && error === undefined) return { id: id as number, ok };
  if (!(id === null || Number.isSafeInteger(id)) || !isObject(error) || ok !== undefined) return null;
  const { code, message } = error;
  if (typeof code !== "string" || typeof message !== "string") return null;
  return {
    id: id as number | null,
    error: { code: code as GuestErrorCode, message: message.slice(0, 1_000) },
  };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
