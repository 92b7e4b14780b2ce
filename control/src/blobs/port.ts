// SPDX-License-Identifier: Apache-2.0
/**
 * The port of blob stores: bytes under the SHA-256 of themselves. A store knows no account and no
 * repository; who may read a blob is decided by rows, before the store is asked.
 *
 * What every implementation keeps (`conformance.ts` holds it to that):
 *  A. A digest names its bytes or nothing. What `finish` answered has been hashed, byte by byte, as it
 *     lies in the store, and outlives a crash of the machine.
 *  B. A failed upload shows nothing under any digest. One that met a full disk gives back the room that
 *     this attempt took.
 *  C. An upload outlives the process: what was appended is there for the next, and the store says how
 *     much that is. Only one caller appends at a time; a second is refused and not queued.
 *  D. Two that finish the same blob at once both succeed, and there is one blob.
 *  E. `remove` of what is not there is no error. Readers of a removed blob read on.
 */

/** `sha256:` and 64 hexadecimal digits, in lower case. */
export type Digest = `sha256:${string}`;

export interface Stored {
  digest: Digest;
  sizeBytes: number;
}

/** First and last byte, both included. */
export interface ByteRange {
  first: number;
  last: number;
}

export interface Expected {
  /** Other bytes are refused with `blob.digest`. */
  digest?: Digest;
  /** More are refused with `blob.size`, as soon as they come. */
  bytesMax: number;
}

/** Asked before bytes are kept; throws when there may be no more. */
export type Allow = (sizeBytes: number) => Promise<void> | void;

export interface BlobStore {
  /** Begins an upload; the id names it from now on, also to other processes on the same store. */
  begin(): Promise<string>;
  /** Bytes there, or null when there is no such upload. */
  sizeOfUpload(upload: string): Promise<number | null>;
  /**
   * Appends at `offset`, which must be the upload's size, and answers the new size. When `source` breaks
   * off, what came before stays and its error is thrown. `allow` hears of each new size beforehand. A chunk
   * is the source's again when the next is asked for.
   */
  append(upload: string, offset: number, source: AsyncIterable<Uint8Array>, allow: Allow): Promise<number>;
  /** Hashes what is there; the upload stays as it is. */
  hash(upload: string): Promise<Stored>;
  /** The upload becomes the blob of this digest, which `hash` answered. */
  finish(upload: string, digest: Digest): Promise<void>;
  /** Ends an upload without a trace. */
  drop(upload: string): Promise<void>;
  /** All at once: what is not as expected leaves nothing. */
  put(source: AsyncIterable<Uint8Array>, expected: Expected): Promise<Stored>;

  stat(digest: Digest): Promise<Stored | null>;
  /** The bytes, opened when this resolves; null when there is no such blob. */
  get(digest: Digest, range?: ByteRange): Promise<AsyncIterable<Uint8Array> | null>;
  remove(digest: Digest): Promise<void>;
  /** Every blob there is, in no order; what comes and goes meanwhile may be missed. */
  list(): AsyncIterable<Stored>;
  /** Drops uploads that nothing was appended to for so long. Answers how many. */
  sweep(idleMs: number): Promise<number>;
}
