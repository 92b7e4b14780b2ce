// SPDX-License-Identifier: Apache-2.0
/**
 * Reads the answers of one machine: RFC 9112 and nothing that is kindly overlooked elsewhere. Requests of
 * strangers are not read here but by Node's parser. What a machine could gain by an answer that is read
 * in two ways is the next answer on the same connection, and that connection is its own (pools.ts); still
 * whatever is in doubt ends it.
 *
 *  A. What is accepted here, Node's own parser accepts too and reads alike (answer.test.ts, by generated
 *     bytes). The reverse is not so: codings other than `chunked` are refused, since `Transfer-Encoding`
 *     ends here and the client could not know that there was one.
 *  B. Bytes passed on are the reader's until the call returns; whoever keeps them copies them.
 *  C. A head, and the trailers, have a size; a line of a chunk has one. A body has none.
 */

/** Cookies and policies make answers' heads larger than requests'. */
export const ANSWER_HEADERS_BYTES_MAX = 64 * 1024;
const CHUNK_LINE_BYTES_MAX = 1_024;

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)$/;
const LENGTH = /^[0-9]{1,15}$/;
/** With extensions, which mean nothing to anybody, in the form of RFC 9112, 7.1.1, without blanks around their signs. */
const CHUNK_SIZE =
  /^([0-9A-Fa-f]{1,12})(?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"[ !#-[\]-~]*"))?)*$/;

const BEGINNING = "HTTP/1.";
const BARE_LF = /(?:^|[^\r])\n/;

export interface AnswerHead {
  status: number;
  reason: string;
  /** Name, value, name, value, as they came. */
  fields: string[];
  chunked: boolean;
}

export interface AnswerReader {
  /** 1xx but for 101, which nobody asked for here. */
  onInterim(head: AnswerHead): void;
  onHead(head: AnswerHead): void;
  /** B */
  onBody(bytes: Buffer): void;
  onEnd(trailers: string[]): void;
}

export class AnswerFault extends Error {}

type State = "head" | "length" | "until-end" | "chunk-size" | "chunk" | "chunk-end" | "trailers" | "done";

export class AnswerParser {
  readonly #reader: AnswerReader;
  /** Of a request whose answer has no body whatever it says (HEAD). */
  readonly #bodiless: boolean;
  #state: State = "head";
  /** Of a line or a head that has not come whole. */
  #text = "";
  /** Bytes of the body, or of the chunk, that are to come. */
  #left = 0;
  #keepAlive = false;

  constructor(reader: AnswerReader, bodiless: boolean) {
    this.#reader = reader;
    this.#bodiless = bodiless;
  }

  get done(): boolean {
    return this.#state === "done";
  }

  /** The connection may carry another request: the answer ended where it said, and so did the machine. */
  get reusable(): boolean {
    return this.done && this.#keepAlive;
  }

  /** Throws an AnswerFault when it is no answer; then nothing more may be read from this connection. */
  read(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#state === "done") {
        this.#keepAlive = false; // It says more than it was asked.
        return;
      }
      at = this.#step(bytes, at);
    }
  }

  /** The machine has ended its side; false when the answer is cut. */
  end(): boolean {
    this.#keepAlive = false;
    if (this.#state === "until-end") this.#finish("");
    return this.done;
  }

  #step(bytes: Buffer, at: number): number {
    if (this.#state === "head") {
      const end = this.#text === "" ? bytes.indexOf("\r\n\r\n", at) : -1;
      if (end < 0 || end - at > ANSWER_HEADERS_BYTES_MAX)
        return this.#collect(bytes, at, "\r\n\r\n", ANSWER_HEADERS_BYTES_MAX, (text) => this.#takeHead(text));
      this.#takeHead(bytes.toString("latin1", at, end));
      return end + 4;
    }
    if (this.#state === "length" || this.#state === "chunk") return this.#readBody(bytes, at);
    if (this.#state === "until-end") {
      this.#reader.onBody(bytes.subarray(at));
      return bytes.length;
    }
    if (this.#state === "trailers")
      return this.#collect(bytes, at, "\r\n\r\n", ANSWER_HEADERS_BYTES_MAX, (text) => this.#finish(text));
    return this.#collect(bytes, at, "\r\n", CHUNK_LINE_BYTES_MAX, (line) => this.#takeLine(line));
  }

  /** C. Takes bytes up to `terminator`, and hands over what was before it, also when it came in pieces. */
  #collect(
    bytes: Buffer,
    at: number,
    terminator: string,
    bytesMax: number,
    take: (text: string) => void,
  ): number {
    const before = this.#text.length;
    const room = bytesMax + terminator.length - before;
    const text = this.#text + bytes.toString("latin1", at, Math.min(bytes.length, at + room));
    const end = text.indexOf(terminator, Math.max(0, before - terminator.length + 1));
    if (end < 0) {
      if (text.length >= bytesMax + terminator.length) throw new AnswerFault("more of a head than is taken");
      // It could only be refused in the end, and the client would wait for that.
      const isNone = this.#state === "head" && !BEGINNING.startsWith(text.slice(0, BEGINNING.length));
      if (isNone || BARE_LF.test(text)) throw new AnswerFault("no beginning of an answer");
      this.#text = text;
      return bytes.length;
    }
    this.#text = "";
    take(text.slice(0, end));
    return at + end + terminator.length - before;
  }

  #readBody(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    this.#reader.onBody(bytes.subarray(at, end));
    if (this.#left > 0) return end;
    if (this.#state === "chunk") this.#state = "chunk-end";
    else this.#finish("");
    return end;
  }

  #takeHead(text: string): void {
    const [first, ...lines] = text.split("\r\n");
    const [, minor, code, reason = ""] = STATUS_LINE.exec(first!) ?? [];
    if (code === undefined) throw new AnswerFault("no status line");
    const status = Number(code);
    const fields = fieldsOf(lines);
    const chunked = isChunked(fields);
    const length = lengthOf(fields);
    const head = { status, reason, fields, chunked };
    if (status === 101) throw new AnswerFault("an upgrade that was not asked for");
    if (status < 200) {
      // HTTP/1.0 has none (RFC 9110, 15.2), and Node reads one as the whole answer.
      if (minor === "0") throw new AnswerFault("an interim answer of HTTP/1.0");
      this.#reader.onInterim(head);
      return;
    }
    // Both lengths: whoever is before or behind us may take the other one.
    if (chunked && (length !== null || minor === "0")) throw new AnswerFault("two lengths");
    this.#keepAlive = staysOpen(fields, minor === "1");
    this.#reader.onHead(head);
    if (this.#bodiless || status === 204 || status === 304) this.#finish("");
    else if (chunked) this.#state = "chunk-size";
    else if (length === null) this.#state = "until-end";
    else if (length === 0) this.#finish("");
    else {
      this.#left = length;
      this.#state = "length";
    }
  }

  #takeLine(line: string): void {
    if (this.#state === "chunk-end") {
      if (line !== "") throw new AnswerFault("a chunk that is longer than it says");
      this.#state = "chunk-size";
      return;
    }
    const size = CHUNK_SIZE.exec(line)?.[1];
    if (size === undefined) throw new AnswerFault("no size of a chunk");
    this.#left = Number.parseInt(size, 16);
    this.#state = this.#left === 0 ? "trailers" : "chunk";
    // As if a line had ended: then no trailers and some end alike.
    if (this.#left === 0) this.#text = "\r\n";
  }

  #finish(trailers: string): void {
    this.#state = "done";
    this.#reader.onEnd(trailers === "" ? [] : fieldsOf(trailers.slice(2).split("\r\n")));
  }
}

function fieldsOf(lines: readonly string[]): string[] {
  const fields: string[] = [];
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? [];
    if (name === undefined) throw new AnswerFault("a line that is no field");
    fields.push(name, trimmed(value!));
  }
  return fields;
}

/** Blanks and tabs only; and by hand, since a pattern takes the square of a long run of them. */
function trimmed(text: string): string {
  let from = 0;
  let to = text.length;
  const isBlank = (code: number) => code === 0x20 || code === 0x09;
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

/** A */
function isChunked(fields: readonly string[]): boolean {
  const codings = valuesOf("transfer-encoding", fields);
  if (codings.length === 0) return false;
  if (codings.length === 1 && codings[0]!.toLowerCase() === "chunked") return true;
  throw new AnswerFault("a coding that is not ours to undo");
}

function lengthOf(fields: readonly string[]): number | null {
  const lengths = valuesOf("content-length", fields);
  if (lengths.length === 0) return null;
  if (lengths.length > 1 || !LENGTH.test(lengths[0]!)) throw new AnswerFault("a length in doubt");
  return Number(lengths[0]);
}

function staysOpen(fields: readonly string[], byDefault: boolean): boolean {
  const words = valuesOf("connection", fields).join(",").toLowerCase().split(",").map(trimmed);
  if (words.includes("close")) return false;
  return byDefault || words.includes("keep-alive");
}

function valuesOf(name: string, fields: readonly string[]): string[] {
  const values: string[] = [];
  for (let at = 0; at < fields.length; at += 2)
    if (fields[at]!.length === name.length && fields[at]!.toLowerCase() === name)
      values.push(fields[at + 1]!);
  return values;
}
