// SPDX-License-Identifier: Apache-2.0
/**
 * Records in a zone that somebody runs elsewhere, by signed DNS UPDATE (RFC 2136): for operators who
 * have a name server. Over TCP: an update may be larger than a packet, and its answer matters.
 *
 * What is asked for is a state and not a step: to add what is there and to remove what is not changes
 * nothing. So an update whose answer was lost is simply sent again, with a new signature.
 */
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { exchangeOverTcp } from "./exchange.ts";
import { sign, type TsigKey, verifyAnswer } from "./tsig.ts";
import { CLASS, OPCODE, RCODE, rcodeName, TYPE } from "./wire/codes.ts";
import { type DomainName, isWithin, requireName } from "./wire/domain-name.ts";
import { MessageWriter, type RecordData, type ResourceRecord } from "./wire/writer.ts";

export type UpdatableData =
  | { type: "A" | "AAAA"; address: string }
  | { type: "CNAME"; target: string }
  | { type: "TXT"; texts: readonly string[] };

export type Change =
  /** Beside what is there. */
  | { kind: "add"; name: string; data: UpdatableData }
  /** This record and no other. */
  | { kind: "remove"; name: string; data: UpdatableData }
  /** All records of the type at the name, and these instead; none: they are gone. */
  | { kind: "replace"; name: string; type: UpdatableData["type"]; data: readonly UpdatableData[] };

export type UpdateOutcome =
  | { kind: "done" }
  /** The server understood and will not: sending it again changes nothing. */
  | { kind: "refused"; reason: string }
  /** Nobody answered, or nobody who has the key: whether it was done is not known. */
  | { kind: "unknown"; reason: string };

export interface ZoneUpdaterOptions {
  /** By address or name; the operator's word, so it may be a private one. */
  server: { host: string; port: number };
  zone: string;
  key: { name: string; secret: Buffer };
  ttlSeconds: number;
  timeoutMs?: number;
  triesMax?: number;
  pauseMs?: number;
  /** Seconds since 1970; the signature has the time in it. */
  now?: () => number;
}

export interface ZoneUpdater {
  /** All of the changes or none, in their order. */
  update(changes: readonly Change[]): Promise<UpdateOutcome>;
}

const CHANGES_MAX = 100;
const SECRET_BYTES_MIN = 16;

export function openZoneUpdater(options: ZoneUpdaterOptions): ZoneUpdater {
  const { server, ttlSeconds, timeoutMs = 5_000, triesMax = 3, pauseMs = 500 } = options;
  const now = options.now ?? (() => Math.floor(Date.now() / 1000));
  const zone = requireName(options.zone);
  const key: TsigKey = { name: requireName(options.key.name), secret: options.key.secret };
  if (key.secret.length < SECRET_BYTES_MIN)
    throw new Error(`the key needs ${SECRET_BYTES_MIN} octets or more`);

  async function once(changes: readonly Change[]): Promise<UpdateOutcome> {
    const message = updateMessage(zone, changes, ttlSeconds);
    const { bytes, mac } = sign(message, key, now());
    const answer = await exchangeOverTcp({ ...server, bytes, timeoutMs }).catch((error: Error) => error);
    if (answer instanceof Error)
      return { kind: "unknown", reason: `the name server did not answer: ${answer.message}` };
    if (answer.readUInt16BE(0) !== message.readUInt16BE(0))
      return { kind: "unknown", reason: "the answer is to another message" };
    const verified = verifyAnswer(answer, mac, key, now());
    if (verified.kind === "forged")
      return { kind: "unknown", reason: `the answer is not the server's: ${verified.reason}` };
    if (verified.kind === "signature-refused") return { kind: "refused", reason: verified.reason };
    const { rcode } = verified;
    if (rcode === RCODE.NOERROR) return { kind: "done" };
    if (rcode === RCODE.SERVFAIL) return { kind: "unknown", reason: "the name server failed (SERVFAIL)" };
    return { kind: "refused", reason: MEANING[rcode] ?? `the name server refuses (${rcodeName(rcode)})` };
  }

  return {
    update: async (changes) => {
      for (let tries = 1; ; tries++) {
        const outcome = await once(changes);
        if (outcome.kind !== "unknown" || tries >= triesMax) return outcome;
        await sleep(pauseMs * 2 ** (tries - 1));
      }
    },
  };
}

const MEANING: Record<number, string> = {
  [RCODE.REFUSED]: "this key may not change these records (REFUSED)",
  [RCODE.NOTAUTH]: "the name server is not an authority for this zone (NOTAUTH)",
  [RCODE.NOTZONE]: "a name is not in the zone (NOTZONE)",
  [RCODE.NOTIMP]: "the name server knows no updates (NOTIMP)",
  [RCODE.FORMERR]: "the name server does not understand the update (FORMERR)",
};

/** 2: the zone is the question, the changes are the authorities. */
function updateMessage(zone: DomainName, changes: readonly Change[], ttlSeconds: number): Buffer {
  if (changes.length > CHANGES_MAX) throw new Error(`more than ${CHANGES_MAX} changes`);
  const writer = new MessageWriter({ compress: false });
  writer.question({ name: zone, type: TYPE.SOA, class: CLASS.IN });
  for (const change of changes) {
    const name = requireName(change.name);
    if (!isWithin(name, zone)) throw new Error(`${JSON.stringify(change.name)} is not in the zone`);
    const record = (data: UpdatableData, seconds: number): ResourceRecord => ({
      name,
      ttlSeconds: seconds,
      data: dataOf(data),
    });
    if (change.kind === "add") writer.record(2, record(change.data, ttlSeconds));
    else if (change.kind === "remove") writer.record(2, record(change.data, 0), CLASS.NONE);
    else {
      writer.raw(2, { name, type: TYPE[change.type], class: CLASS.ANY, ttl: 0 }, () => {});
      if (change.data.some(({ type }) => type !== change.type)) throw new Error("a record of another type");
      for (const data of change.data) writer.record(2, record(data, ttlSeconds));
    }
  }
  return Buffer.from(writer.finish(randomInt(0x10000), OPCODE.UPDATE << 11));
}

const dataOf = (data: UpdatableData): RecordData =>
  data.type === "CNAME" ? { type: "CNAME", target: requireName(data.target) } : data;
