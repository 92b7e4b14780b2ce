// SPDX-License-Identifier: Apache-2.0
/**
 * A boot that a TPM's log tells, as a guest on TDX would have measured it: the same events in the same order, each of its bytes
 * hashed by SHA-384, into the registers that TDX's firmware joins. It shares nothing with what computes such registers but the log's reader.
 */
import { createHash } from "node:crypto";
import { parseEventLog } from "#evidence/tpm/event-log.ts";

const SEPARATOR = 4;
const sha = (algorithm: string, ...bytes: Uint8Array[]) => {
  const hash = createHash(algorithm);
  for (const one of bytes) hash.update(one);
  return hash.digest();
};

export interface RehashedBoot {
  /** In hex. */
  rtmrs: Record<1 | 2 | 3, string>;
  /** The register of each event, in order. */
  order: number[];
}

/**
 * @param known SHA-384 of what an event is of, by the SHA-256 that the log has of it. Of others the log has the bytes itself.
 */
export function rehashedBoot(eventLog: Uint8Array, known: ReadonlyMap<string, Uint8Array>): RehashedBoot {
  const values = [Buffer.alloc(48), Buffer.alloc(48), Buffer.alloc(48), Buffer.alloc(48)];
  const order: number[] = [];
  for (const { pcr, type, digest, data } of parseEventLog(eventLog).events) {
    const register = pcr === 0 || pcr === 1 || pcr === 7 ? 0 : pcr < 8 ? 1 : 2;
    // TDX's firmware has one end of its part for all registers that are joined.
    if (register === 0 || (type === SEPARATOR && pcr !== 4)) continue;
    const name = Buffer.from(digest).toString("hex");
    const rehashed = known.get(name);
    if (rehashed === undefined && sha("sha256", data).toString("hex") !== name)
      throw new Error(`nobody knows of what the event ${name} of register ${pcr} is`);
    values[register] = sha("sha384", values[register]!, rehashed ?? sha("sha384", data));
    order.push(register);
  }
  const [, one, two, three] = values.map((value) => value.toString("hex"));
  return { rtmrs: { 1: one!, 2: two!, 3: three! }, order };
}
