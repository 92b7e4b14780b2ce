// SPDX-License-Identifier: Apache-2.0
/**
 * Messages of our own. Names are compressed where every reader must understand it (RFC 3597, 4), and
 * only against a name in the very same case, so that an answer has the letters of its question: resolvers
 * mix the case at random and take an answer that lost it for a forged one.
 */
import { isIPv4 } from "node:net";
import { addressBytes } from "../addresses.ts";
import { CLASS, HEADER_BYTES, TYPE } from "./codes.ts";
import type { DomainName } from "./domain-name.ts";
import type { Question } from "./reader.ts";

export type RecordData =
  | { type: "A" | "AAAA"; address: string }
  | { type: "CNAME" | "NS"; target: DomainName }
  | { type: "TXT"; texts: readonly string[] }
  | { type: "HINFO"; cpu: string; os: string }
  | { type: "SOA"; soa: StartOfAuthority };

export interface StartOfAuthority {
  nameServer: DomainName;
  mailbox: DomainName;
  serial: number;
  refreshSeconds: number;
  retrySeconds: number;
  expireSeconds: number;
  negativeTtlSeconds: number;
}

export interface ResourceRecord {
  name: DomainName;
  ttlSeconds: number;
  data: RecordData;
}

/** A pointer has 14 bits. */
const POINTER_MAX = 0x3fff;
const TEXT_BYTES_MAX = 255;

export class MessageWriter {
  readonly #compress: boolean;
  readonly #offsets = new Map<string, number>();
  #bytes = Buffer.alloc(512);
  #length = HEADER_BYTES;
  readonly #counts = [0, 0, 0, 0];

  constructor({ compress }: { compress: boolean }) {
    this.#compress = compress;
  }

  get length(): number {
    return this.#length;
  }

  question({ name, type, class: klass }: Question): void {
    this.#count(0);
    this.name(name, true);
    this.u16(type);
    this.u16(klass);
  }

  record(section: 1 | 2 | 3, { name, ttlSeconds, data }: ResourceRecord, klass: number = CLASS.IN): void {
    this.raw(section, { name, type: TYPE[data.type], class: klass, ttl: ttlSeconds }, () => this.#data(data));
  }

  /** Any record: `write` puts its data. */
  raw(section: 1 | 2 | 3, head: Question & { ttl: number }, write: () => void): void {
    this.#count(section);
    this.name(head.name, true);
    this.u16(head.type);
    this.u16(head.class);
    this.u32(head.ttl);
    this.u16(0);
    const start = this.#length;
    write();
    this.#bytes.writeUInt16BE(this.#length - start, start - 2);
  }

  finish(id: number, flags: number): Buffer {
    [id, flags, ...this.#counts].forEach((value, index) => {
      this.#bytes.writeUInt16BE(value, index * 2);
    });
    return this.#bytes.subarray(0, this.#length);
  }

  u16(value: number): void {
    this.#length = this.#room(2).writeUInt16BE(value, this.#length);
  }

  u32(value: number): void {
    this.#length = this.#room(4).writeUInt32BE(value >>> 0, this.#length);
  }

  bytes(part: Uint8Array): void {
    this.#room(part.length).set(part, this.#length);
    this.#length += part.length;
  }

  name(name: DomainName, compressible: boolean): void {
    for (let index = 0; index < name.length; index++) {
      const rest = name.slice(index);
      const key = rest.map((label) => `${label.length}:${label}`).join("");
      const known = this.#offsets.get(key);
      if (this.#compress && compressible && known !== undefined) {
        this.u16(0xc000 | known);
        return;
      }
      if (this.#length <= POINTER_MAX && known === undefined) this.#offsets.set(key, this.#length);
      this.#text(name[index]!);
    }
    this.bytes(Uint8Array.of(0));
  }

  #data(data: RecordData): void {
    if ("address" in data) this.#address(data.type, data.address);
    else if ("target" in data) this.name(data.target, true);
    else if ("soa" in data) this.#soa(data.soa);
    else {
      // A TXT record without a string is malformed.
      const texts = "texts" in data ? data.texts : [data.cpu, data.os];
      for (const text of texts.length === 0 ? [""] : texts) this.#text(text);
    }
  }

  #address(type: "A" | "AAAA", address: string): void {
    const bytes = addressBytes(address);
    if (bytes === null || isIPv4(address) !== (type === "A"))
      throw new Error(`not the address of an ${type} record`);
    this.bytes(bytes);
  }

  #soa(soa: StartOfAuthority): void {
    this.name(soa.nameServer, true);
    this.name(soa.mailbox, true);
    this.u32(soa.serial);
    this.u32(soa.refreshSeconds);
    this.u32(soa.retrySeconds);
    this.u32(soa.expireSeconds);
    this.u32(soa.negativeTtlSeconds);
  }

  /** A string with its length before it: a label, or a part of a TXT. */
  #text(text: string): void {
    if (text.length > TEXT_BYTES_MAX) throw new Error("a string of more than 255 octets");
    this.bytes(Uint8Array.of(text.length));
    this.bytes(Buffer.from(text, "latin1"));
  }

  #count(section: number): void {
    this.#counts[section]! += 1;
  }

  #room(length: number): Buffer {
    if (this.#length + length > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(this.#bytes.length * 2, this.#length + length));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    return this.#bytes;
  }
}
