// SPDX-License-Identifier: Apache-2.0
/** Lines out of a guest's bytes. It keeps one unfinished line of at most FRAME_BYTES_MAX; a longer one is a fault for good. */
import { FRAME_BYTES_MAX } from "./protocol.ts";

const LINE_FEED = 10;

export class LineFault extends Error {}

export class LineDecoder {
  #parts: Uint8Array[] = [];
  #have = 0;
  #faulty = false;

  /** Lines that end in this chunk, without their line feed. */
  *push(chunk: Uint8Array): Generator<Uint8Array> {
    for (let rest = chunk; rest.length > 0; ) {
      const end = rest.indexOf(LINE_FEED);
      const part = end < 0 ? rest : rest.subarray(0, end);
      if (this.#faulty || this.#have + part.length >= FRAME_BYTES_MAX) {
        this.#faulty = true;
        this.#parts = [];
        throw new LineFault(`a line of the guest is over ${FRAME_BYTES_MAX} bytes`);
      }
      this.#parts.push(part);
      this.#have += part.length;
      if (end < 0) return;
      const line = Buffer.concat(this.#parts, this.#have);
      this.#parts = [];
      this.#have = 0;
      if (line.length > 0) yield line;
      rest = rest.subarray(end + 1);
    }
  }
}
