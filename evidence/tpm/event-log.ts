// SPDX-License-Identifier: Apache-2.0
/**
 * The log that firmware keeps of what it measured (TCG PC Client Platform Firmware Profile, "Event Logging",
 * crypto agile form), as Linux shows it in `binary_bios_measurements`. Nobody signs it: it is believed as
 * far as its digests, one extended upon the other, come to the registers of a quote. What it says in words
 * beside a digest is not measured, so nothing here acts on it.
 */
import { concatBytes } from "../bytes.ts";
import { sha256 } from "../primitives.ts";
import { ALG, TpmFault, TpmReader } from "./wire.ts";

export interface LogEvent {
  pcr: number;
  type: number;
  /** Of the SHA-256 bank. */
  digest: Uint8Array;
  data: Uint8Array;
}

export interface EventLog {
  events: LogEvent[];
  /** The locality from which the TPM was started, which register 0 begins with. */
  startupLocality: number;
}

const NO_ACTION = 3;
const EVENTS_MAX = 4096;
const EVENT_BYTES_MAX = 1024 * 1024;
export const LOG_BYTES_MAX = 1024 * 1024;
const PCRS = 24;
const SHA1_BYTES = 20;
const SHA256_BYTES = 32;
const SPEC_ID = "Spec ID Event03\0";
const STARTUP_LOCALITY = "StartupLocality\0";

/** Throws `TpmFault`. */
export function parseEventLog(bytes: Uint8Array): EventLog {
  if (bytes.length > LOG_BYTES_MAX) throw new TpmFault("it is larger than 1 MiB");
  const from = new TpmReader(bytes, true);
  const sizes = parseHeader(from);
  const events: LogEvent[] = [];
  let startupLocality = 0;
  while (from.left > 0) {
    if (events.length === EVENTS_MAX) throw new TpmFault("it has too many events");
    const pcr = from.u32();
    const type = from.u32();
    const digest = digestOf(from, sizes);
    const data = from.bytes(requireAtMost(from.u32(), EVENT_BYTES_MAX));
    if (type === NO_ACTION) {
      if (textOf(data.subarray(0, STARTUP_LOCALITY.length)) === STARTUP_LOCALITY) {
        if (pcr !== 0 || data.length !== STARTUP_LOCALITY.length + 1 || events.length > 0)
          throw new TpmFault("it says at a wrong place from where the TPM was started");
        startupLocality = data[STARTUP_LOCALITY.length]!;
      }
      continue;
    }
    if (pcr >= PCRS) throw new TpmFault("it has an event of a register that there is not");
    events.push({ pcr, type, digest, data });
  }
  return { events, startupLocality };
}

/** The first event has the older form, and says which banks the others have. */
function parseHeader(from: TpmReader): ReadonlyMap<number, number> {
  const isHeader = from.u32() === 0 && from.u32() === NO_ACTION;
  from.bytes(SHA1_BYTES);
  const header = new TpmReader(from.bytes(requireAtMost(from.u32(), 1024)), true);
  if (!isHeader || textOf(header.bytes(SPEC_ID.length)) !== SPEC_ID)
    throw new TpmFault("it does not begin as a log of TPM 2.0");
  header.bytes(8);
  const sizes = new Map<number, number>();
  const banks = requireAtMost(header.u32(), 16);
  for (let index = 0; index < banks; index++) {
    const algorithm = header.u16();
    if (sizes.has(algorithm)) throw new TpmFault("it names a bank twice");
    sizes.set(algorithm, requireAtMost(header.u16(), 64));
  }
  header.bytes(header.u8());
  header.end();
  if (sizes.get(ALG.sha256) !== SHA256_BYTES) throw new TpmFault("it has no bank of SHA-256");
  return sizes;
}

function digestOf(from: TpmReader, sizes: ReadonlyMap<number, number>): Uint8Array {
  const count = from.u32();
  if (count !== sizes.size) throw new TpmFault("an event has not a digest for each bank");
  const found = new Map<number, Uint8Array>();
  for (let index = 0; index < count; index++) {
    const algorithm = from.u16();
    const size = sizes.get(algorithm);
    if (size === undefined || found.has(algorithm))
      throw new TpmFault("an event has a digest of no bank, or one twice");
    found.set(algorithm, from.bytes(size));
  }
  return found.get(ALG.sha256)!;
}

function requireAtMost(value: number, max: number): number {
  if (value > max) throw new TpmFault("a length is out of its range");
  return value;
}

const textOf = (bytes: Uint8Array) => String.fromCharCode(...bytes);

/** The registers that the log comes to; one that it does not touch is not in it. */
export async function replay({ events, startupLocality }: EventLog): Promise<Map<number, Uint8Array>> {
  const registers = new Map<number, Uint8Array>();
  for (const { pcr, digest } of events)
    registers.set(pcr, await extended(registers.get(pcr) ?? initial(pcr, startupLocality), digest));
  return registers;
}

/** What a register holds before anything was measured: those of a dynamic launch are all ones. */
export function initial(pcr: number, startupLocality = 0): Uint8Array {
  const value = new Uint8Array(SHA256_BYTES).fill(pcr >= 17 && pcr <= 22 ? 0xff : 0);
  if (pcr === 0) value[SHA256_BYTES - 1] = startupLocality;
  return value;
}

export function extended(value: Uint8Array, digest: Uint8Array): Promise<Uint8Array> {
  return sha256(concatBytes(value, digest));
}
