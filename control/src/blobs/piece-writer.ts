// SPDX-License-Identifier: Apache-2.0
/**
 * Chunks of any size into larger pieces: what is received is copied once and is the sender's again, and while
 * one piece is kept the next fills. Memory is two pieces, whatever comes.
 *
 *     whole   every piece but the last has the full size, for stores that want it so
 *     eager   nothing waits for more to come: a piece is what came while the one before it was kept
 */
export class PieceWriter {
  /** Bytes up to here were kept. */
  written: number;
  readonly #pieces: { sizeBytes: number; kind: "whole" | "eager" };
  readonly #keep: (at: number, bytes: Buffer) => Promise<void>;
  readonly #made: Buffer[] = [];
  #free: Buffer[] = [];
  #piece: Buffer | null = null;
  #size = 0;
  #keeping: Promise<void> | null = null;
  #failed: { error: unknown } | null = null;

  /** `keep` is asked for one piece at a time, in their order, and has its bytes only until it resolves. */
  constructor(
    pieces: { sizeBytes: number; kind: "whole" | "eager" },
    offset: number,
    keep: (at: number, bytes: Buffer) => Promise<void>,
  ) {
    this.#pieces = pieces;
    this.written = offset;
    this.#keep = keep;
  }

  async write(chunk: Uint8Array): Promise<void> {
    const { sizeBytes, kind } = this.#pieces;
    for (let at = 0; at < chunk.length; ) {
      this.#piece ??= this.#take();
      const part = chunk.subarray(at, at + sizeBytes - this.#size);
      this.#piece.set(part, this.#size);
      this.#size += part.length;
      at += part.length;
      if (this.#size === sizeBytes) await this.#keeping;
      if (this.#failed !== null) throw this.#failed.error;
      // What waits may have gone with the piece before it was kept.
      if (this.#keeping === null && (kind === "eager" || this.#size === sizeBytes)) this.#send();
    }
  }

  /** Resolves when everything is kept; throws what `keep` threw, and nothing is kept behind a gap. */
  async end(): Promise<void> {
    await this.#keeping;
    if (this.#failed === null && this.#size > 0) this.#send();
    await this.#keeping;
    if (this.#failed !== null) throw this.#failed.error;
  }

  /**
   * Frees the pieces at once, and not when the collector gets to it. Only after `end`, and only by who knows
   * that nobody reads them any more, the kernel above all.
   */
  free(): void {
    this.#free = [];
    this.#piece = null;
    for (const { buffer } of this.#made.splice(0)) (buffer as ArrayBuffer).transfer(0);
  }

  #send(): void {
    const [piece, size] = [this.#piece, this.#size];
    if (piece === null || size === 0) return;
    this.#piece = null;
    this.#size = 0;
    this.#keeping = this.#keep(this.written, piece.subarray(0, size)).then(
      () => {
        this.written += size;
        this.#free.push(piece);
        this.#keeping = null;
        if (this.#pieces.kind === "eager") this.#send();
      },
      (error: unknown) => {
        this.#failed = { error };
        this.#keeping = null;
      },
    );
  }

  #take(): Buffer {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const made = Buffer.allocUnsafeSlow(this.#pieces.sizeBytes);
    this.#made.push(made);
    return made;
  }
}
