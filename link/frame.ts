// SPDX-License-Identifier: Apache-2.0
/**
 * Frames on a byte stream: a 4-byte big-endian length of all that follows, a 4-byte big-endian length
 * of the header, the header as JSON, then the payload as raw bytes.
 *
 * The decoder is fed by whoever holds the other end of the socket. What keeps it from hurting us:
 *  A. It never holds more than one frame of FRAME_MAX bytes and the chunk being read; the length is
 *     refused before any byte of an oversized frame is kept.
 *  B. A frame that is not a JSON object with a string `t`, in valid UTF-8, is a FrameFault; nothing
 *     else is ever thrown, so the connection can be ended and the process goes on.
 *  C. After a fault the decoder stays faulty: there is no resynchronising inside a broken stream.
 */
import { FRAME_MAX } from "./port.ts";

export interface Frame {
  header: { t: string } & Record<string, unknown>;
  payload: Buffer;
}

export class FrameFault extends Error {}

const EMPTY = Buffer.alloc(0);
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** One buffer, header and payload copied in: the caller may reuse its bytes at once. */
export function encodeFrame(header: { t: string }, payload: Uint8Array = EMPTY): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const length = 4 + json.length + payload.length;
  if (length > FRAME_MAX)
    throw new FrameFault(`a frame of ${length} bytes is over the limit of ${FRAME_MAX}`);
  const frame = Buffer.allocUnsafe(4 + length);
  frame.writeUInt32BE(length, 0);
  frame.writeUInt32BE(json.length, 4);
  json.copy(frame, 8);
  frame.set(payload, 8 + json.length);
  return frame;
}

export class FrameDecoder {
  #parts: Buffer[] = [];
  #have = 0;
  #fault: FrameFault | undefined;

  /** Frames completed by this chunk, in order. Throws FrameFault (B), then for ever (C). */
  *push(chunk: Buffer): Generator<Frame> {
    if (this.#fault) throw this.#fault;
    this.#parts.push(chunk);
    this.#have += chunk.length;
    try {
      for (;;) {
        if (this.#have < 4) return;
        const length = this.#peekLength();
        if (length > FRAME_MAX) throw new FrameFault(`a frame of ${length} bytes is over the limit`);
        if (length < 6) throw new FrameFault("a frame without a header");
        if (this.#have < 4 + length) return;
        yield parseFrame(this.#take(4 + length).subarray(4));
      }
    } catch (error) {
      this.#fault =
        error instanceof FrameFault ? error : new FrameFault("unreadable frame", { cause: error });
      this.#parts = [];
      this.#have = 0;
      throw this.#fault;
    }
  }

  #peekLength(): number {
    if (this.#parts[0]!.length < 4) this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0]!.readUInt32BE(0);
  }

  #take(length: number): Buffer {
    const all = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts, this.#have);
    this.#have -= length;
    this.#parts = this.#have > 0 ? [all.subarray(length)] : [];
    return all.subarray(0, length);
  }
}

function parseFrame(body: Buffer): Frame {
  const headerLength = body.readUInt32BE(0);
  if (headerLength > body.length - 4) throw new FrameFault("a header longer than its frame");
  let header: unknown;
  try {
    header = JSON.parse(utf8.decode(body.subarray(4, 4 + headerLength)));
  } catch (error) {
    throw new FrameFault("a header that is not JSON", { cause: error });
  }
  if (typeof header !== "object" || header === null || Array.isArray(header))
    throw new FrameFault("a header that is not an object");
  if (typeof (header as { t?: unknown }).t !== "string") throw new FrameFault("a header without a kind");
  return { header: header as Frame["header"], payload: body.subarray(4 + headerLength) };
}
