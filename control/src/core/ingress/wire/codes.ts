// SPDX-License-Identifier: Apache-2.0
/** Numbers of the DNS that we speak of by name. What has no name here is passed through as a number. */

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  HINFO: 13,
  TXT: 16,
  SIG: 24,
  AAAA: 28,
  OPT: 41,
  TSIG: 250,
  IXFR: 251,
  AXFR: 252,
  MAILB: 253,
  MAILA: 254,
  ANY: 255,
} as const;

/** `NONE` and `ANY` are of updates: this record goes, every such record goes. */
export const CLASS = { IN: 1, NONE: 254, ANY: 255 } as const;

export const OPCODE = { QUERY: 0, UPDATE: 5 } as const;

export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  YXDOMAIN: 6,
  YXRRSET: 7,
  NXRRSET: 8,
  NOTAUTH: 9,
  NOTZONE: 10,
  /** Above 15 an answer needs an OPT record: its upper bits travel there. */
  BADVERS: 16,
} as const;

/** Errors inside a TSIG record. 16 is BADVERS elsewhere. */
export const TSIG_ERROR = { BADSIG: 16, BADKEY: 17, BADTIME: 18, BADTRUNC: 22 } as const;

export const FLAG = {
  /** An answer, not a question. */
  QR: 0x8000,
  AA: 0x0400,
  TC: 0x0200,
  RD: 0x0100,
  CD: 0x0010,
} as const;

export const HEADER_BYTES = 12;

export const rcodeName = (code: number): string =>
  Object.entries(RCODE).find(([, value]) => value === code)?.[0] ?? `RCODE${code}`;
