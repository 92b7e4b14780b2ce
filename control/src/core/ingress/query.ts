// SPDX-License-Identifier: Apache-2.0
/**
 * What a stranger's bytes ask, or how they are turned away. What is itself an answer is dropped, and
 * every answer of ours says that it is one: two servers, one of them forged into the sender of the
 * first packet, must not answer each other for ever.
 */
import { CLASS, FLAG, HEADER_BYTES, OPCODE, RCODE, TYPE } from "./wire/codes.ts";
import { MalformedMessage, type Message, opcodeOf, parseMessage, type Question } from "./wire/reader.ts";

/** A question, what an IXFR brings, OPT, a signature, and some to spare. */
const RECORDS_MAX = 8;

export interface Query {
  id: number;
  flags: number;
  question: Question;
  /** Null: the client speaks no EDNS, and takes 512 bytes over UDP. */
  edns: { udpBytesMax: number; dnssec: boolean } | null;
}

/** `question` is null where it could not be read. */
export type Asked =
  | { kind: "query"; query: Query }
  | { kind: "refused"; rcode: number; id: number; flags: number; query: Query | null }
  | { kind: "silence" };

export function readQuery(bytes: Buffer): Asked {
  if (bytes.length < HEADER_BYTES) return { kind: "silence" };
  const [id, flags] = [bytes.readUInt16BE(0), bytes.readUInt16BE(2)];
  if (flags & FLAG.QR) return { kind: "silence" };
  const refused = (rcode: number, query: Query | null = null): Asked => ({
    kind: "refused",
    ...{ rcode, id, flags, query },
  });
  // NOTIFY and UPDATE as well: nobody writes to these zones over the wire.
  if (opcodeOf(flags) !== OPCODE.QUERY) return refused(RCODE.NOTIMP);
  let message: Message;
  try {
    message = parseMessage(bytes, RECORDS_MAX);
  } catch (error) {
    if (error instanceof MalformedMessage) return refused(RCODE.FORMERR);
    throw error;
  }
  const { questions, answers, additionals } = message;
  const [question] = questions;
  if (question === undefined || questions.length > 1 || answers.length > 0) return refused(RCODE.FORMERR);

  const options = additionals.filter(({ type }) => type === TYPE.OPT);
  const [option] = options;
  const query: Query = { id, flags, question, edns: null };
  if (options.length > 1 || (option && (option.name.length > 0 || !optionsFit(option.data))))
    return refused(RCODE.FORMERR, query);
  if (option) query.edns = { udpBytesMax: option.class, dnssec: (option.ttl & 0x8000) !== 0 };
  if (option && ((option.ttl >> 16) & 0xff) !== 0) return refused(RCODE.BADVERS, query);
  // We share a key with nobody; a signed question must not be answered as if it had been checked.
  if (additionals.some(({ type }) => type === TYPE.TSIG || type === TYPE.SIG))
    return refused(RCODE.NOTAUTH, query);
  if (question.type === TYPE.OPT || question.type === TYPE.TSIG) return refused(RCODE.FORMERR, query);
  if (question.class !== CLASS.IN && question.class !== CLASS.ANY) return refused(RCODE.REFUSED, query);
  return { kind: "query", query };
}

function optionsFit(data: Buffer): boolean {
  let at = 0;
  while (at + 4 <= data.length) at += 4 + data.readUInt16BE(at + 2);
  return at === data.length;
}
