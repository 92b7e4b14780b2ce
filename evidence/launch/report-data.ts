// SPDX-License-Identifier: Apache-2.0
/**
 * The 64 bytes that a guest binds into its evidence. Byte 0 says which of four forms it is, so that evidence for one
 * is never taken for another:
 *
 *   0x00  SHA-256(SPKI of the served certificate)  31 zeros
 *   0x01  SHA-256(SPKI)                            first 31 bytes of SHA-256(nonce)
 *   0x02  SHA-256(SPKI)                            first 31 bytes of SHA-256(nonce ‖ sealing key)
 *   0x03  SHA-256(SSH host keys)                   first 31 bytes of SHA-256(nonce ‖ SHA-256(claim))
 *
 * SEV-SNP and TDX carry the 64 bytes as report data; a TPM's quote carries their SHA-256 as qualifying data. The
 * first form is that of the workloads API's report.
 */
import { concatBytes } from "../bytes.ts";
import { sha256 } from "../primitives.ts";

export type Binding =
  | { form: "report"; nonce: Uint8Array | null }
  | { form: "seal"; nonce: Uint8Array; sealingKey: Uint8Array };

/** @param spki DER SubjectPublicKeyInfo of the key that the guest serves TLS with. */
export async function reportDataOf(spki: Uint8Array, binding: Binding): Promise<Uint8Array> {
  const form = binding.form === "seal" ? 2 : binding.nonce === null ? 0 : 1;
  const bound =
    binding.form === "seal"
      ? concatBytes(binding.nonce, binding.sealingKey)
      : (binding.nonce ?? new Uint8Array());
  const data = new Uint8Array(64);
  data[0] = form;
  data.set(await sha256(spki), 1);
  if (form !== 0) data.set((await sha256(bound)).subarray(0, 31), 33);
  return data;
}

/** Of a machine that people log in to: by which keys they know it, and that it is theirs. */
export interface LoginBinding {
  nonce: Uint8Array;
  /** `type base64` of each, in the order in which the machine names them. */
  hostKeys: readonly string[];
  /** Whom it lets in, and under which name. */
  hostname: string;
  authorizedKey: string;
}

export async function loginReportDataOf(login: LoginBinding): Promise<Uint8Array> {
  const lines = (...texts: string[]) => new TextEncoder().encode(texts.map((text) => `${text}\n`).join(""));
  const data = new Uint8Array(64);
  data[0] = 3;
  data.set(await sha256(lines(...login.hostKeys)), 1);
  const claim = await sha256(lines(login.hostname, login.authorizedKey));
  data.set((await sha256(concatBytes(login.nonce, claim))).subarray(0, 31), 33);
  return data;
}

/** What a TPM's quote has as qualifying data. */
export const qualifyingDataOf = (reportData: Uint8Array): Promise<Uint8Array> => sha256(reportData);
