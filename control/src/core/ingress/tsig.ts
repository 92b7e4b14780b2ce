// SPDX-License-Identifier: Apache-2.0
/**
 * Signatures of messages between two who share a key (RFC 8945, hmac-sha256). The attacker is on the
 * way: they would write into the zone, repeat an old message, or tell us that ours was carried out.
 *
 *  A. A signature covers the whole message as it was before the signature was put at its end, the key's
 *     name, and the time. An answer's covers the question's signature as well, so that it is an answer
 *     to nothing else.
 *  B. What an answer says counts only after its signature was found right. A refusal of the signature
 *     itself cannot be signed; it is told apart, and is never taken for success.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { CLASS, RCODE, TSIG_ERROR, TYPE } from "./wire/codes.ts";
import { type DomainName, keyOf, requireName } from "./wire/domain-name.ts";
import {
  MalformedMessage,
  type Message,
  parseMessage,
  type RawRecord,
  Reader,
  rcodeOf,
} from "./wire/reader.ts";
import { MessageWriter } from "./wire/writer.ts";

export interface TsigKey {
  name: DomainName;
  secret: Buffer;
}

const ALGORITHM = requireName("hmac-sha256");
const MAC_BYTES = 32;
/** How far two clocks may differ. */
const FUDGE_SECONDS = 300;
const RECORDS_MAX = 1000;
const ADDITIONAL_COUNT_AT = 10;

export interface Signed {
  bytes: Buffer;
  mac: Buffer;
}

export function sign(message: Buffer, key: TsigKey, nowSeconds: number): Signed {
  const time = { seconds: nowSeconds, fudge: FUDGE_SECONDS };
  const mac = macOf(key, [message, variables(key.name, time, 0, Buffer.alloc(0))]);
  const tail = new MessageWriter({ compress: false });
  const start = tail.length;
  tail.raw(3, { name: lower(key.name), type: TYPE.TSIG, class: CLASS.ANY, ttl: 0 }, () => {
    tail.name(ALGORITHM, false);
    tail.bytes(timeBytes(time));
    tail.u16(mac.length);
    tail.bytes(mac);
    tail.u16(message.readUInt16BE(0));
    tail.u16(0);
    tail.u16(0);
  });
  const bytes = Buffer.concat([message, tail.finish(0, 0).subarray(start)]);
  bytes.writeUInt16BE(bytes.readUInt16BE(ADDITIONAL_COUNT_AT) + 1, ADDITIONAL_COUNT_AT);
  return { bytes, mac };
}

export type Verified =
  | { kind: "verified"; rcode: number }
  /** The server says, unsigned as it must, that it does not take our signature. */
  | { kind: "signature-refused"; reason: string }
  /** Not the answer, or not of who has the key. */
  | { kind: "forged"; reason: string };

/** The answer to a message that was signed with `requestMac`. */
export function verifyAnswer(bytes: Buffer, requestMac: Buffer, key: TsigKey, nowSeconds: number): Verified {
  const forged = (reason: string): Verified => ({ kind: "forged", reason });
  try {
    const message = parseMessage(bytes, RECORDS_MAX);
    const record = message.additionals.at(-1);
    if (record?.type !== TYPE.TSIG) return unsigned(message);
    // Neither is signed as it arrived (4.3.3), so neither may be another.
    if (record.class !== CLASS.ANY || record.ttl !== 0) return forged("a signature of another form");
    if (keyOf(record.name) !== keyOf(key.name)) return forged("another key");
    const tsig = readTsig(bytes, record);
    if (tsig.mac.length === 0 && rcodeOf(message.flags) === RCODE.NOTAUTH)
      return { kind: "signature-refused", reason: reasonOf(tsig, nowSeconds) };
    if (keyOf(tsig.algorithm) !== keyOf(ALGORITHM)) return forged("another algorithm");

    const before = Buffer.from(bytes.subarray(0, record.at));
    before.writeUInt16BE(tsig.originalId, 0);
    before.writeUInt16BE(message.additionals.length - 1, ADDITIONAL_COUNT_AT);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(requestMac.length);
    const signed = variables(record.name, tsig.time, tsig.error, tsig.other);
    const mac = macOf(key, [length, requestMac, before, signed]);
    // Never shortened: a short one could be guessed.
    if (tsig.mac.length !== MAC_BYTES || !timingSafeEqual(tsig.mac, mac)) return forged("a wrong signature");
    if (tsig.error !== 0) return { kind: "signature-refused", reason: reasonOf(tsig, nowSeconds) };
    if (Math.abs(nowSeconds - tsig.time.seconds) > Math.min(tsig.time.fudge, FUDGE_SECONDS))
      return forged("a signature of another time");
    return { kind: "verified", rcode: rcodeOf(message.flags) };
  } catch (error) {
    if (error instanceof MalformedMessage) return forged(`malformed: ${error.message}`);
    throw error;
  }
}

/** Servers that do not know signatures at all answer without one. */
const unsigned = ({ flags }: Message): Verified =>
  rcodeOf(flags) === RCODE.NOERROR
    ? { kind: "forged", reason: "an answer without a signature" }
    : { kind: "signature-refused", reason: `an unsigned answer with code ${rcodeOf(flags)}` };

interface Tsig {
  algorithm: DomainName;
  time: SigningTime;
  mac: Buffer;
  originalId: number;
  error: number;
  other: Buffer;
}

interface SigningTime {
  seconds: number;
  fudge: number;
}

function readTsig(bytes: Buffer, { dataAt, data }: RawRecord): Tsig {
  const reader = new Reader(bytes.subarray(0, dataAt + data.length), dataAt);
  const algorithm = reader.name();
  const time = { seconds: reader.u16() * 2 ** 32 + reader.u32(), fudge: reader.u16() };
  const mac = reader.take(reader.u16());
  const [originalId, error] = [reader.u16(), reader.u16()];
  const other = reader.take(reader.u16());
  if (!reader.atEnd) throw new MalformedMessage("bytes after a signature");
  return { algorithm, time, mac, originalId, error, other };
}

function reasonOf({ error, other }: Tsig, nowSeconds: number): string {
  if (error === TSIG_ERROR.BADKEY) return "the server does not know this key, or not with hmac-sha256";
  if (error === TSIG_ERROR.BADSIG) return "the server has another secret under this key's name";
  if (error !== TSIG_ERROR.BADTIME) return `the server refuses the signature (error ${error})`;
  const theirs = other.length === 6 ? other.readUIntBE(0, 6) : null;
  return theirs === null
    ? "the server's clock and ours differ too much"
    : `the server's clock and ours differ by ${Math.abs(theirs - nowSeconds)} seconds`;
}

/** What is signed beside the message, names in lower case and uncompressed (4.3.3). */
function variables(name: DomainName, time: SigningTime, error: number, other: Buffer): Buffer {
  const writer = new MessageWriter({ compress: false });
  const start = writer.length;
  writer.name(lower(name), false);
  writer.u16(CLASS.ANY);
  writer.u32(0);
  writer.name(ALGORITHM, false);
  writer.bytes(timeBytes(time));
  writer.u16(error);
  writer.u16(other.length);
  writer.bytes(other);
  return Buffer.from(writer.finish(0, 0).subarray(start));
}

function timeBytes({ seconds, fudge }: SigningTime): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUIntBE(seconds, 0, 6);
  bytes.writeUInt16BE(fudge, 6);
  return bytes;
}

const lower = (name: DomainName): DomainName => name.map((label) => label.toLowerCase());

const macOf = (key: TsigKey, parts: readonly Buffer[]): Buffer =>
  parts.reduce((hmac, part) => hmac.update(part), createHmac("sha256", key.secret)).digest();
