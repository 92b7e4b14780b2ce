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
  /** Ports of the guest's own loopback that lead to the same port of its gateway: what the host opens for it, as a registry. */
  doors?: readonly number[];
  /** DER in base64: what vouches for the certificate in the guest's TPM. The guest passes it on beside its evidence. */
  endorsers?: readonly string[];
}

export interface Claimed {
  claimId: string;
  /** Public host keys of the SSH server, made after the entropy came in. */
  sshHostKeys: readonly string[];
  /** Made after the entropy came in, of this boot alone; their private parts never leave the guest. */
  keys: {
    /** X25519, 32 bytes in base64. */
    sealing: string;
    /** DER SubjectPublicKeyInfo in base64, of the key that the guest serves TLS with. */
    tls: string;
    /** DER of a request (RFC 2986) for the manifest's domains, in base64; null when it has none. */
    request: string | null;
  };
}

/**
 * `report`: for whoever asks over the network. `seal`: for who is about to seal secrets to the guest's key. `login`: of the keys of the
 * SSH server, for who is about to log in.
 */
export type EvidencePurpose = "report" | "seal" | "login";

export interface GuestEvidence {
  platform: "sev-snp" | "tdx" | "tpm" | "none";
  /** As evidence/recognise.ts reads it; null for `none`. */
  bundle: Record<string, unknown> | null;
  /** The 64 bytes that were bound (evidence/launch/report-data.ts), in hex. */
  reportData: string;
}

/** What the guest opens of the sealed box; JSON. Equal in Go: guest/agent. */
export interface GuestSecrets {
  v: 1;
  machineId: string;
  incarnation: number;
  /** The client's text, of which the manifest has the hash. */
  compose: string;
  env: Record<string, string>;
  /** Name → base64; the manifest has their hashes. */
  files: Record<string, string>;
  registries: { server: string; username: string; password: string }[];
  /** 64 bytes in base64 for the state disk; null when there is none. */
  stateKey: string | null;
  /** A box of an env map that its owner sealed, in base64: the operator has not seen these. */
  sealedEnv?: string;
}

/** The same of a machine that somebody logs in to. */
export interface InstanceSecrets {
  v: 1;
  kind: "instance";
  machineId: string;
  incarnation: number;
  /** Whole; its first label is the machine's own name. */
  hostname: string;
  /** One line of type, key and comment. */
  authorizedKey: string;
  /** Grows with each key that its owner gives it: a box with a lower one than the machine has is an older one. Absent: 0. */
  keyNumber?: number;
  /** 64 bytes in base64 where the launch has a state disk, and absent where it has none. */
  stateKey?: string;
  /** How programs in it ask models; absent where there are none to ask. */
  inference?: { baseUrl: string; token: string; model: string };
}

export interface GuestStatus {
  /** `running`: every service was started. `ended`: the public service ended for good. */
  phase: "idle" | "preparing" | "pulling" | "starting" | "running" | "failed" | "ended";
  /** Public words. */
  detail: string;
  /** Whether the public service's container runs now. */
  public: boolean;
  images: { service: string; reference: string; digest: string }[];
  /** Of a machine that somebody logs in to: the keys that its server shows, made inside. */
  sshHostKeys?: string[];
}

export interface GuestContainer {
  names: string[];
  image: string;
  imageId: string;
  state: string;
}

export interface GuestLogsAsk {
  container: string;
  stream: "stdout" | "stderr" | "both";
  /** True: the newest lines, false: the oldest. */
  tail: boolean;
  linesMax: number;
  since?: string;
  timestamps: boolean;
  /** `next` of an earlier answer: only what came after it. */
  after?: string;
}

export interface GuestStats {
  memory: { totalBytes: number; usedBytes: number };
  /** `usage` in percent of one cpu, since the question before. */
  cpus: { name: string; usage: number }[];
  disks: { name: string; mountPoint: string; filesystem: string; sizeBytes: number; usedBytes: number }[];
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
  /** PEM chain for the key that the guest serves TLS with; given again, it replaces the one before. */
  certificate: [ask: { chain: string }, answer: Record<string, never>];
  /** `nonce`: hex of 16 to 64 bytes; null only for `report`. */
  evidence: [ask: { purpose: EvidencePurpose; nonce: string | null }, answer: GuestEvidence];
  /** TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET in base64 (TPM 2.0 part 1, section 24); the secret in base64. */
  activate: [ask: { credential: string; secret: string }, answer: { secret: string }];
  /** The sealed box (guest/seal.ts) in pieces of PART_BYTES_MAX, in order from 0. */
  payload: [ask: { part: number; of: number; bytes: string }, answer: Record<string, never>];
  /** Opens the box, judges it against the manifest and the disk, answers, and starts; `status` tells the rest. */
  up: [ask: Record<string, never>, answer: Record<string, never>];
  status: [ask: Record<string, never>, answer: GuestStatus];
  down: [ask: Record<string, never>, answer: Record<string, never>];
  containers: [ask: Record<string, never>, answer: { containers: GuestContainer[] }];
  logs: [ask: GuestLogsAsk, answer: { lines: string[]; next: string }];
  stats: [ask: Record<string, never>, answer: GuestStats];
  shutdown: [ask: Record<string, never>, answer: Record<string, never>];
}

/** Of the box, before base64. */
export const PART_BYTES_MAX = 131_072;

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
  /** The box is not for this guest's key, or what is in it is not what the manifest says. */
  | "secrets-refused"
  /** The state disk is neither empty nor opened by this key. */
  | "state-unreadable"
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
