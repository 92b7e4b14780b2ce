// SPDX-License-Identifier: Apache-2.0
/** What a TPM signs when it is asked for a quote, and its signature (TPM 2.0 Library, part 2, "TPMS_ATTEST", "TPMT_SIGNATURE"). */
import { concatBytes } from "../bytes.ts";
import { ecdsaP256PointVerify, rsaSha256Verify } from "../primitives.ts";
import { padded, type TpmKey } from "./public.ts";
import { ALG, TpmFault, TpmReader } from "./wire.ts";

export interface TpmQuote {
  /** The name of the key that signed, made into one with its parents'. */
  qualifiedSigner: Uint8Array;
  /** What was asked to be bound into it: a nonce, or the hash of one and more. */
  extraData: Uint8Array;
  resetCount: number;
  restartCount: number;
  firmwareVersion: bigint;
  /** Registers of the SHA-256 bank, ascending. */
  selection: readonly number[];
  /** Over the values of the selected registers, one after the other. */
  pcrDigest: Uint8Array;
}

/** TPM_GENERATED: a restricted key signs nothing from outside that begins with it. */
const MAGIC = 0xff544347;
const QUOTE = 0x8018;
const ATTEST_BYTES_MAX = 4096;
const REGISTERS_BYTES_MAX = 4;

/** Throws `TpmFault`. */
export function parseTpmQuote(bytes: Uint8Array): TpmQuote {
  if (bytes.length > ATTEST_BYTES_MAX) throw new TpmFault("it is larger than any quote");
  const from = new TpmReader(bytes);
  if (from.u32() !== MAGIC) throw new TpmFault("it is nothing that a TPM made");
  if (from.u16() !== QUOTE) throw new TpmFault("it is something else that a TPM made, no quote");
  const qualifiedSigner = from.sized(66);
  const extraData = from.sized(64);
  from.u64();
  const resetCount = from.u32();
  const restartCount = from.u32();
  if (from.u8() > 1) throw new TpmFault("its clock is malformed");
  const firmwareVersion = from.u64();
  if (from.u32() !== 1) throw new TpmFault("it has not exactly one bank of registers");
  if (from.u16() !== ALG.sha256) throw new TpmFault("its bank is not that of SHA-256");
  const mask = from.bytes(maskBytes(from.u8()));
  const selection = [...mask].flatMap((byte, index) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte & (1 << bit)) !== 0).map((bit) => index * 8 + bit),
  );
  if (selection.length === 0) throw new TpmFault("it has no register");
  const pcrDigest = from.sized(32);
  if (pcrDigest.length !== 32) throw new TpmFault("its digest is not one of SHA-256");
  from.end();
  return { qualifiedSigner, extraData, resetCount, restartCount, firmwareVersion, selection, pcrDigest };
}

function maskBytes(length: number): number {
  if (length > REGISTERS_BYTES_MAX) throw new TpmFault("it has more registers than there are");
  return length;
}

/** Whether the key signed these bytes with its one scheme. Throws `TpmFault` for a signature that is none. */
export async function signatureHolds(
  key: TpmKey,
  signature: Uint8Array,
  message: Uint8Array,
): Promise<boolean> {
  const from = new TpmReader(signature);
  const scheme = from.u16();
  // The key says by which scheme it signs; one that the signature chose would be the attacker's choice.
  if (scheme !== ALG[key.scheme]) throw new TpmFault("it is not by the scheme of its key");
  if (from.u16() !== ALG.sha256) throw new TpmFault("it is not over SHA-256");
  if (key.point !== null) {
    const raw = concatBytes(padded(from.sized(32), 32), padded(from.sized(32), 32));
    from.end();
    return ecdsaP256PointVerify(key.point, message, raw);
  }
  const raw = from.sized(512);
  from.end();
  return rsaSha256Verify(key.modulus!, key.scheme === "rsapss" ? "pss" : "pkcs1", message, raw);
}
