// SPDX-License-Identifier: Apache-2.0
/**
 * The name that a TLS client asks for, read from its first message without answering it (RFC 8446, 4.1.2; RFC
 * 6066, 3). It decides who ends the TLS and nothing else: what is not understood here goes to our own TLS server, which has the
 * last word and no certificate for a name whose key is inside a machine (names.ts). So a client that
 * makes us read its hello otherwise than the server does gains nothing by it.
 *
 * The work for each byte is the same however a client cuts its hello up, and so is what is kept of it.
 */

/** Hellos of today's browsers, with a key exchange that outlives quantum computers, have 2 KiB. */
export const HELLO_BYTES_MAX = 16 * 1024;

const RECORD_HEAD = 5;
const MESSAGE_HEAD = 4;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const HOST_NAME = 0;

export class HelloReader {
  /** Everything that came, for whoever goes on with it. */
  readonly #heard: Buffer[] = [];
  #heardBytes = 0;
  readonly #head = Buffer.alloc(RECORD_HEAD);
  #headBytes = 0;
  #recordLeft = 0;
  readonly #message = Buffer.alloc(HELLO_BYTES_MAX);
  #messageBytes = 0;

  /** Undefined: the hello goes on. Null: it has no name, or is none that we read. */
  push(bytes: Buffer): string | null | undefined {
    this.#heard.push(bytes);
    this.#heardBytes += bytes.length;
    for (let at = 0; at < bytes.length; ) {
      if (this.#recordLeft === 0) {
        this.#head[this.#headBytes++] = bytes[at++]!;
        if (this.#headBytes < RECORD_HEAD) continue;
        this.#headBytes = 0;
        this.#recordLeft = this.#head.readUInt16BE(3);
        if (this.#head[0] !== HANDSHAKE || this.#head[1] !== 3 || this.#recordLeft === 0) return null;
        continue;
      }
      const taken = Math.min(this.#recordLeft, bytes.length - at);
      if (this.#messageBytes + taken > HELLO_BYTES_MAX) return null;
      bytes.copy(this.#message, this.#messageBytes, at, at + taken);
      this.#messageBytes += taken;
      this.#recordLeft -= taken;
      at += taken;
      if (this.#messageBytes < MESSAGE_HEAD) continue;
      const end = MESSAGE_HEAD + this.#message.readUIntBE(1, 3);
      if (this.#message[0] !== CLIENT_HELLO || end > HELLO_BYTES_MAX) return null;
      if (this.#messageBytes >= end) return serverName(this.#message.subarray(MESSAGE_HEAD, end));
    }
    // Records of one byte each: the message is short, and what is kept of it is not.
    return this.#heardBytes > 2 * HELLO_BYTES_MAX ? null : undefined;
  }

  get heard(): Buffer {
    return Buffer.concat(this.#heard);
  }
}

/** Of the body of a client's hello; null when it names none, or more than one. */
function serverName(hello: Buffer): string | null {
  try {
    const reader = new Fields(hello);
    reader.take(2 + 32);
    reader.vector(1);
    reader.vector(2);
    reader.vector(1);
    const extensions = new Fields(reader.vector(2));
    let found: string | null = null;
    while (!extensions.done) {
      const kind = extensions.number(2);
      const content = extensions.vector(2);
      if (kind !== SERVER_NAME) continue;
      if (found !== null) return null;
      const list = new Fields(new Fields(content).vector(2));
      if (list.number(1) !== HOST_NAME) return null;
      found = list.vector(2).toString("latin1");
      if (!list.done) return null;
    }
    return found;
  } catch {
    return null;
  }
}

/** Numbers and vectors one after the other; throws past the end. */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw new RangeError("a field ends past its message");
    const taken = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return taken;
  }

  number(bytes: number): number {
    return this.take(bytes).readUIntBE(0, bytes);
  }

  /** A length of so many bytes, and as many bytes as it says. */
  vector(lengthBytes: number): Buffer {
    return this.take(this.number(lengthBytes));
  }
}
