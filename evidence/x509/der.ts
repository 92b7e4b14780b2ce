// SPDX-License-Identifier: Apache-2.0
/**
 * Reads DER (X.690), as far as certificates and revocation lists need it. Everything here is read
 * before any signature was checked, so whoever wrote the file is the attacker:
 *
 *  A. Lengths are definite, in their shortest form, and end inside the element around them.
 *  B. Tags have one byte. An element's children fill it exactly; nothing follows the outermost one.
 *  C. Nobody recurses: a reader goes one level down at a time, and says how many children it expects.
 */

/** The bytes are not what they must be. The message names the rule, never the bytes. */
export class DerFault extends Error {}

/** One element, as a place in the bytes around it: most are only passed by, so views are made when asked for. */
export class Der {
  readonly tag: number;
  readonly source: Uint8Array;
  readonly start: number;
  readonly from: number;
  readonly end: number;

  constructor(source: Uint8Array, start: number, from: number, end: number) {
    this.tag = source[start]!;
    this.source = source;
    this.start = start;
    this.from = from;
    this.end = end;
  }

  /** The content. */
  get body(): Uint8Array {
    return this.source.subarray(this.from, this.end);
  }

  /** Tag, length and content: what signatures and names are compared over. */
  get whole(): Uint8Array {
    return this.source.subarray(this.start, this.end);
  }
}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8: 0x0c,
  printable: 0x13,
  ia5: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The one element that `bytes` are. */
export function readDer(bytes: Uint8Array, tag?: number): Der {
  const der = elementAt(bytes, 0, bytes.length);
  if (der.end !== bytes.length) throw new DerFault("bytes follow the element");
  return tag === undefined ? der : requireTag(der, tag);
}

export function childrenOf(der: Der, countMax = 32): Der[] {
  const children: Der[] = [];
  for (let at = der.from; at < der.end; ) {
    if (children.length === countMax) throw new DerFault("an element has too many members");
    const child = elementAt(der.source, at, der.end);
    children.push(child);
    at = child.end;
  }
  return children;
}

export function requireTag(der: Der | undefined, tag: number): Der {
  if (der?.tag !== tag) throw new DerFault("an element is missing or of another kind");
  return der;
}

/** The element at `at`, which ends at `end` or before: what lies behind belongs to somebody else. */
function elementAt(bytes: Uint8Array, at: number, end: number): Der {
  if (at + 2 > end) throw new DerFault("an element is cut off");
  if ((bytes[at]! & 0x1f) === 0x1f) throw new DerFault("a tag is longer than one byte");
  let from = at + 2;
  let length = bytes[at + 1]!;
  if (length >= 0x80) {
    const octets = length & 0x7f;
    if (octets === 0 || octets > 3) throw new DerFault("a length is indefinite or too large");
    if (from + octets > end) throw new DerFault("an element is cut off");
    length = 0;
    for (let index = 0; index < octets; index++) length = length * 256 + bytes[from + index]!;
    from += octets;
    if (length < 0x80 || length < 2 ** (8 * (octets - 1))) throw new DerFault("a length is not minimal");
  }
  if (from + length > end) throw new DerFault("an element is cut off");
  return new Der(bytes, at, from, from + length);
}

/** Dotted form. */
export function oidOf(der: Der | undefined): string {
  const { body } = requireTag(der, TAG.oid);
  if (body.length === 0 || body.length > 32 || body[body.length - 1]! >= 0x80)
    throw new DerFault("an object identifier is malformed");
  const arcs: number[] = [];
  let arc = 0;
  let started = false;
  for (const byte of body) {
    if (!started && byte === 0x80) throw new DerFault("an object identifier is not minimal");
    started = true;
    arc = arc * 128 + (byte & 0x7f);
    if (arc > 2 ** 40) throw new DerFault("an object identifier is too large");
    if (byte >= 0x80) continue;
    if (arcs.length === 0) {
      const top = Math.min(2, Math.floor(arc / 40));
      arcs.push(top, arc - top * 40);
    } else arcs.push(arc);
    arc = 0;
    started = false;
  }
  return arcs.join(".");
}

/** The content of an INTEGER in its shortest form. */
export function integerBytes(der: Der | undefined): Uint8Array {
  const { body } = requireTag(der, TAG.integer);
  if (body.length === 0 || body.length > 32) throw new DerFault("an integer is empty or too long");
  const second = body[1];
  if (second !== undefined && ((body[0] === 0 && second < 0x80) || (body[0] === 0xff && second >= 0x80)))
    throw new DerFault("an integer is not minimal");
  return body;
}

/** A small number from 0 to 65535. */
export function smallInteger(der: Der | undefined): number {
  const body = integerBytes(der);
  if (body[0]! >= 0x80 || body.length > 3) throw new DerFault("an integer is out of its range");
  return body.reduce((value, byte) => value * 256 + byte, 0);
}

/** The bytes of a BIT STRING of whole bytes. */
export function bitBytes(der: Der | undefined): Uint8Array {
  const { body } = requireTag(der, TAG.bits);
  if (body[0] !== 0) throw new DerFault("a bit string does not consist of whole bytes");
  return body.subarray(1);
}

const TEXT = new TextDecoder("utf-8", { fatal: true });

export function textOf(der: Der | undefined): string {
  if (der === undefined || ![TAG.utf8, TAG.printable, TAG.ia5].some((tag) => tag === der.tag))
    throw new DerFault("a text is missing or of another kind");
  if (der.body.length > 256) throw new DerFault("a text is too long");
  try {
    const text = TEXT.decode(der.body);
    // It will be printed: no control characters, no marks that reverse the line.
    if (/^[\x20-\x7e]*$/.test(text)) return text;
  } catch {}
  throw new DerFault("a text has characters outside printable ASCII");
}

/** RFC 5280, 4.1.2.5: seconds are there, and the zone is Z. Milliseconds since the epoch. */
export function timeOf(der: Der | undefined): number {
  const utc = der?.tag === TAG.utcTime;
  if (!utc && der?.tag !== TAG.generalizedTime) throw new DerFault("a time is missing or of another kind");
  const text = String.fromCharCode(...der.body.subarray(0, 16));
  const parts = (
    utc ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/ : /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/
  ).exec(text);
  if (parts === null || der.body.length > 15) throw new DerFault("a time is malformed");
  const [year, month, day, hour, minute, second] = parts.slice(1).map(Number) as [number, ...number[]];
  const fullYear = utc ? year + (year >= 50 ? 1900 : 2000) : year;
  const ms = Date.UTC(fullYear, month! - 1, day, hour, minute, second);
  const date = new Date(ms);
  // 30 February would become a day in March.
  if (
    date.getUTCFullYear() !== fullYear ||
    date.getUTCMonth() + 1 !== month ||
    date.getUTCDate() !== day ||
    hour! > 23 ||
    minute! > 59 ||
    second! > 59
  )
    throw new DerFault("a time is no calendar time");
  return ms;
}
