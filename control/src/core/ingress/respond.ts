// SPDX-License-Identifier: Apache-2.0
/**
 * An answer as bytes, no larger than its way allows.
 *
 * The attacker sends questions under a victim's address and wants the answers to be many times larger.
 * Over UDP an answer therefore has at most `AMPLIFICATION_MAX` times the bytes that the question cost
 * its sender, never more than what crosses every network unfragmented, and never more than the client
 * said. What does not fit is not sent in part: the client is told to come over TCP, where the address
 * of a sender is true.
 */
import type { Sections } from "./answer.ts";
import type { Query } from "./query.ts";
import { FLAG, TYPE } from "./wire/codes.ts";
import { MessageWriter } from "./wire/writer.ts";

export const UDP_BYTES_MAX = 1232;
const UDP_PLAIN_BYTES_MAX = 512;
export const AMPLIFICATION_MAX = 8;
/** IP and UDP headers; the sender pays them, and so does the victim. */
const PACKET_OVERHEAD_BYTES = 28;
export const TCP_BYTES_MAX = 65_535;

export function udpLimit(queryBytes: number, edns: Query["edns"]): number {
  const fair = AMPLIFICATION_MAX * (queryBytes + PACKET_OVERHEAD_BYTES) - PACKET_OVERHEAD_BYTES;
  const taken = Math.max(UDP_PLAIN_BYTES_MAX, edns?.udpBytesMax ?? 0);
  return Math.min(fair, taken, UDP_BYTES_MAX);
}

export function encode(query: Query, sections: Sections, limitBytes: number): Buffer {
  for (const part of [sections, { ...sections, additionals: [] }]) {
    const bytes = write(query, part, 0);
    if (bytes.length <= limitBytes) return bytes;
  }
  return truncated(query, sections);
}

/** "Come over TCP": the question, without an answer. Two bytes of flags apart, what the sender sent. */
export const truncated = (
  query: Query,
  { rcode, authoritative }: Pick<Sections, "rcode" | "authoritative">,
) => write(query, { rcode, authoritative, answers: [], authorities: [], additionals: [] }, FLAG.TC);

export function refusal(id: number, flags: number, rcode: number, query: Query | null): Buffer {
  if (query !== null)
    return write(query, { rcode, authoritative: false, answers: [], authorities: [], additionals: [] }, 0);
  return new MessageWriter({ compress: false }).finish(id, answerFlags(flags, rcode));
}

function write(query: Query, sections: Sections, extraFlags: number): Buffer {
  const writer = new MessageWriter({ compress: true });
  writer.question(query.question);
  for (const record of sections.answers) writer.record(1, record);
  for (const record of sections.authorities) writer.record(2, record);
  for (const record of sections.additionals) writer.record(3, record);
  if (query.edns !== null) {
    const dnssec = query.edns.dnssec ? 0x8000 : 0;
    const ttl = ((sections.rcode >> 4) << 24) | dnssec;
    writer.raw(3, { name: [], type: TYPE.OPT, class: UDP_BYTES_MAX, ttl }, () => {});
  }
  const authority = sections.authoritative ? FLAG.AA : 0;
  return writer.finish(query.id, answerFlags(query.flags, sections.rcode) | authority | extraFlags);
}

/** Of the question's flags its opcode and what is to be given back. RA is never set: we ask nobody. */
const answerFlags = (flags: number, rcode: number): number =>
  FLAG.QR | (flags & (0x7800 | FLAG.RD | FLAG.CD)) | (rcode & 0xf);
