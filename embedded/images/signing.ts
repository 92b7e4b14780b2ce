// SPDX-License-Identifier: Apache-2.0
/**
 * The installation's signer, started for one signature beside whatever runs on the state folder. It reads the issuer's key as
 * the host's own signer does. Only a folder that has none yet must not be shared: two would each make one.
 */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Issuer } from "#evidence/proofs/certificate.ts";
import { Signer } from "#host/signer/signer.ts";
import { signerPlace } from "../layout.ts";
import { lockFolder } from "../lock.ts";

export async function withSigner<T>(state: string, work: (signer: Signer) => Promise<T>): Promise<T> {
  const place = signerPlace(state);
  mkdirSync(join(state, "keys"), { recursive: true, mode: 0o700 });
  const first = hasIssuer(state) ? null : lockFolder(join(state, "lock"));
  try {
    const signer = await Signer.start(place);
    try {
      return await work(signer);
    } finally {
      await signer.close();
    }
  } finally {
    first?.release();
  }
}

/** Its signer was started once. */
export const hasIssuer = (state: string): boolean =>
  existsSync(join(signerPlace(state).folder, "issuer.json"));

export const issuersOf = (state: string): Promise<Issuer[]> =>
  withSigner(state, async (signer) => signer.issuers());
