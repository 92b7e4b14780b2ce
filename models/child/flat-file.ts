// SPDX-License-Identifier: Apache-2.0
/**
 * A flat buffer in a file, read where it is asked: offsets are the author's, so every one is held against
 * the file's end, and every list against a number.
 */
import { openSync, readSync, statSync } from "node:fs";
import { refuse } from "./refusal.ts";

const WINDOW = 64 * 1024;
const TEXT_MAX = 1000;

export class FlatFile {
  readonly #fd: number;
  readonly #size: number;
  readonly #window = Buffer.alloc(WINDOW);
  #from = 0;
  #length = 0;

  constructor(path: string) {
    this.#fd = openSync(path, "r");
    this.#size = statSync(path).size;
  }

  root(): Table {
    return new Table(this, this.u32(0));
  }

  bytes(at: number, length: number): Buffer {
    if (!Number.isSafeInteger(at) || at < 0 || at + length > this.#size)
      return refuse("format.unreadable", "The file points beyond its own end.");
    if (at < this.#from || at + length > this.#from + this.#length) {
      this.#from = at;
      this.#length = readSync(this.#fd, this.#window, 0, WINDOW, at);
    }
    return this.#window.subarray(at - this.#from, at - this.#from + length);
  }

  u32 = (at: number): number => this.bytes(at, 4).readUInt32LE();
  i32 = (at: number): number => this.bytes(at, 4).readInt32LE();
  u16 = (at: number): number => this.bytes(at, 2).readUInt16LE();
  u8 = (at: number): number => this.bytes(at, 1).readUInt8();

  text(at: number): string {
    return this.bytes(at + 4, Math.min(this.u32(at), TEXT_MAX)).toString("utf8");
  }
}

/** Fields by their number in the schema; what is not there has its default. */
export class Table {
  readonly #file: FlatFile;
  readonly #at: number;
  readonly #shape: number;
  readonly #shapeBytes: number;

  constructor(file: FlatFile, at: number) {
    this.#file = file;
    this.#at = at;
    this.#shape = at - file.i32(at);
    this.#shapeBytes = file.u16(this.#shape);
  }

  /** Where its value is; null: not given. */
  #field(number: number): number | null {
    const slot = 4 + 2 * number;
    if (slot + 2 > this.#shapeBytes) return null;
    const offset = this.#file.u16(this.#shape + slot);
    return offset === 0 ? null : this.#at + offset;
  }

  /** What the field points at. */
  #target(number: number): number | null {
    const at = this.#field(number);
    return at === null ? null : at + this.#file.u32(at);
  }

  int(number: number): number {
    const at = this.#field(number);
    return at === null ? 0 : this.#file.i32(at);
  }

  byte(number: number): number {
    const at = this.#field(number);
    return at === null ? 0 : this.#file.u8(at);
  }

  text(number: number): string {
    const at = this.#target(number);
    return at === null ? "" : this.#file.text(at);
  }

  length(number: number): number {
    const at = this.#target(number);
    return at === null ? 0 : this.#file.u32(at);
  }

  ints(number: number, most: number): number[] {
    const at = this.#target(number);
    return at === null ? [] : this.#places(at, most).map((place) => this.#file.i32(place));
  }

  tables(number: number, most: number): Table[] {
    const at = this.#target(number);
    if (at === null) return [];
    return this.#places(at, most).map((place) => new Table(this.#file, place + this.#file.u32(place)));
  }

  #places(at: number, most: number): number[] {
    const length = this.#file.u32(at);
    if (length > most) return refuse("limits.nodes", `A list in the file has more than ${most} parts.`);
    return Array.from({ length }, (_, n) => at + 4 + 4 * n);
  }
}
