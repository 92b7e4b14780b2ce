// SPDX-License-Identifier: Apache-2.0
/**
 * A machine's disk, out to control and in from it (contract/link/disk.ts). The attacker is another host, or a control that was taken
 * over: it can send a disk of its own making, which no key of the workload's opens, and is held to the size that the machine has.
 */
import { createHash } from "node:crypto";
import { Compile } from "typebox/compile";
import {
  BLOCK_BYTES,
  DiskWhole,
  HEAD_BYTES,
  PART_BYTES_MAX,
  streamBytesMax,
  WHOLE_CHANNEL,
} from "#contract/link/disk.ts";
import type { StreamRequest } from "#contract/link/machine.ts";
import { DriverFault } from "#drivers/driver.ts";
import type { DiskPart, KeptDriver } from "#drivers/kept-driver.ts";
import type { LinkStream } from "#link/port.ts";
import type { KeptMachine } from "./machine.ts";

interface Found {
  machine: KeptMachine;
  driver: KeptDriver;
}
type Put = Extract<StreamRequest, { kind: "disk-put" }>;

const WHOLE_BYTES_MAX = 1024;
const MIB = 1024 * 1024;
const STAY = "disks of machines of this kind stay where they are";
const check = Compile(DiskWhole);

export function lendDisk({ machine, driver }: Found, stream: LinkStream): Promise<DiskWhole> {
  return machine.lendDisk(stream.signal, async (signal) => {
    endWith(stream, signal);
    const hash = createHash("sha256");
    let sizeBytes = 0;
    if (driver.readDisk === undefined) throw new DriverFault("host.not-ready", STAY);
    for await (const { offset, bytes } of await driver.readDisk(machine.id, signal)) {
      const head = Buffer.alloc(HEAD_BYTES);
      head.writeBigUInt64BE(BigInt(offset));
      head.writeUInt32BE(bytes.length, 8);
      const part = Buffer.concat([head, bytes]);
      hash.update(part);
      await stream.write(part);
      sizeBytes = offset + bytes.length;
    }
    return { sizeBytes, sha256: hash.digest("hex") };
  });
}

export function takeDisk({ machine, driver }: Found, { carry }: Put, stream: LinkStream): Promise<DiskWhole> {
  return machine.takeDisk(carry, stream.signal, async (signal) => {
    endWith(stream, signal);
    const incoming = new IncomingDisk(stream, signal, machine.desired.spec.kept?.diskMiB ?? 0);
    if (driver.writeDisk === undefined) throw new DriverFault("host.not-ready", STAY);
    await driver.writeDisk(machine.id, incoming.parts(), signal);
    return incoming.whole;
  });
}

/** Who reads or writes the stream may wait for the other side, and is not to be waited for when something else is wished. */
function endWith(stream: LinkStream, signal: AbortSignal): void {
  const detail = "something else is wished of the machine by now";
  const end = () => stream.end({ kind: "failed", code: "host.not-ready", detail });
  if (signal.aborted) end();
  else signal.addEventListener("abort", end, { once: true });
}

/** Reads parts out of chunks, which may be cut anywhere, and gives the last one only when the whole was as it was said to be. */
class IncomingDisk {
  readonly #stream: LinkStream;
  readonly #signal: AbortSignal;
  readonly #diskBytes: number;
  readonly #streamBytesMax: number;
  readonly #hash = createHash("sha256");
  #waiting = Buffer.alloc(0);
  #gotBytes = 0;
  /** Where the last part ended. */
  #at = 0;
  #said = "";
  #sha256 = "";

  constructor(stream: LinkStream, signal: AbortSignal, diskMiB: number) {
    this.#stream = stream;
    this.#signal = signal;
    this.#diskBytes = diskMiB * MIB;
    this.#streamBytesMax = streamBytesMax(diskMiB);
  }

  get whole(): DiskWhole {
    return { sizeBytes: this.#at, sha256: this.#sha256 };
  }

  async *parts(): AsyncGenerator<DiskPart> {
    for await (const { channel, bytes } of this.#stream.chunks()) {
      if (channel === WHOLE_CHANNEL) {
        this.#said += Buffer.from(bytes).toString();
        if (this.#said.length > WHOLE_BYTES_MAX) throw new Error("a last word that does not end");
        continue;
      }
      if (channel !== 0 || this.#said !== "") throw new Error("bytes of a disk where none belong");
      this.#gotBytes += bytes.length;
      if (this.#gotBytes > this.#streamBytesMax) throw new Error("more bytes than a disk of this size has");
      this.#hash.update(bytes);
      this.#waiting = this.#waiting.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#waiting, bytes]);
      for (let part = this.#next(); part !== null; part = this.#next()) yield part;
    }
    // A stream that was lost or called off ends as one that was finished does.
    this.#signal.throwIfAborted();
    this.#sha256 = this.#hash.digest("hex");
    const said: unknown = JSON.parse(this.#said || "null");
    if (!check.Check(said) || this.#waiting.length > 0) throw new Error("the disk did not come whole");
    if (said.sha256 !== this.#sha256 || said.sizeBytes !== this.#at)
      throw new Error("the disk that came is not the one that was sent");
  }

  #next(): DiskPart | null {
    const waiting = this.#waiting;
    if (waiting.length < HEAD_BYTES) return null;
    const offset = Number(waiting.readBigUInt64BE());
    const length = waiting.readUInt32BE(8);
    if (length > PART_BYTES_MAX || length % BLOCK_BYTES !== 0 || offset % BLOCK_BYTES !== 0)
      throw new Error("a part of a disk that is none");
    // In order, so that together they are no more than the disk.
    if (!(offset >= this.#at && offset + length <= this.#diskBytes))
      throw new Error("a part that is not where the next one can be");
    if (waiting.length < HEAD_BYTES + length) return null;
    this.#waiting = waiting.subarray(HEAD_BYTES + length);
    this.#at = offset + length;
    return { offset, bytes: waiting.subarray(HEAD_BYTES, HEAD_BYTES + length) };
  }
}
