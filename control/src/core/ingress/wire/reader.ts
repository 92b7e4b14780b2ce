// SPDX-License-Identifier: Apache-2.0
/**
 * Messages from strangers. The attacker sends any bytes, many of them, and wants us to read past the
 * end, to loop, or to make much out of little.
 *
 *  A. Every read is inside the message, or the message is malformed; nothing else is ever thrown.
 *  B. A compression pointer goes only to before the place where its part of the name began, and a name
 *     has at most 255 octets: so a name ends.
 *  C. The number of records is bounded before the first one is read: counts are the sender's claim.
 */
import { HEADER_BYTES } from "./codes.ts";
import { type DomainName, NAME_BYTES_MAX } from "./domain-name.ts";

export class MalformedMessage extends Error {}

export interface Question {
  name: DomainName;
  type: number;
  class: number;
}

export interface RawRecord extends Question {
  ttl: number;
  data: Buffer;
  /** Where the record begins in the message. */
  at: number;
  /** Where its data begins. */
  dataAt: number;
}

export interface Message {
  id: number;
  flags: number;
  questions: Question[];
  answers: RawRecord[];
  authorities: RawRecord[];
  additionals: RawRecord[];
}

export const opcodeOf = (flags: number): number => (flags >> 11) & 0xf;
export const rcodeOf = (flags: number): number => flags & 0xf;

/** Throws MalformedMessage. */
export function parseMessage(bytes: Buffer, recordsMax: number): Message {
  const reader = new Reader(bytes);
  const [id, flags, ...counts] = Array.from({ length: HEADER_BYTES / 2 }, () => reader.u16());
  if (counts.reduce((sum, count) => sum + count, 0) > recordsMax)
    throw new MalformedMessage("too many records");
  const [questions, answers, authorities, additionals] = counts;
  const message = {
    id: id!,
    flags: flags!,
    questions: times(questions!, () => reader.question()),
    answers: times(answers!, () => reader.record()),
    authorities: times(authorities!, () => reader.record()),
    additionals: times(additionals!, () => reader.record()),
  };
  if (!reader.atEnd) throw new MalformedMessage("bytes after the last record");
  return message;
}

const times = <T>(count: number, read: () => T): T[] => Array.from({ length: count }, read);

export class Reader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get at(): number {
    return this.#at;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  u16(): number {
    return this.take(2).readUInt16BE();
  }

  u32(): number {
    return this.take(4).readUInt32BE();
  }

  take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new MalformedMessage("ends too early");
    const part = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return part;
  }

  question(): Question {
    return { name: this.name(), type: this.u16(), class: this.u16() };
  }

  record(): RawRecord {
    const { at } = this;
    const head = { ...this.question(), ttl: this.u32() };
    const length = this.u16();
    const dataAt = this.#at;
    return { ...head, data: this.take(length), at, dataAt };
  }

  /** B: `limit` only ever falls, and every label counts against the length of a name. */
  name(): DomainName {
    const labels: string[] = [];
    let at = this.#at;
    let limit = at;
    let after: number | null = null;
    let length = 1;
    for (;;) {
      const size = this.#octet(at);
      if (size === 0) {
        this.#at = after ?? at + 1;
        return labels;
      }
      if (size >= 0xc0) {
        const target = ((size & 0x3f) << 8) | this.#octet(at + 1);
        if (target >= limit) throw new MalformedMessage("a pointer that does not go back");
        after ??= at + 2;
        at = target;
        limit = target;
        continue;
      }
      if (size > 0x3f) throw new MalformedMessage("a label of an unknown kind");
      length += 1 + size;
      if (length > NAME_BYTES_MAX) throw new MalformedMessage("a name that is too long");
      if (at + 1 + size > this.#bytes.length) throw new MalformedMessage("ends too early");
      labels.push(this.#bytes.toString("latin1", at + 1, at + 1 + size));
      at += 1 + size;
    }
  }

  #octet(at: number): number {
    const octet = this.#bytes[at];
    if (octet === undefined) throw new MalformedMessage("ends too early");
    return octet;
  }
}
