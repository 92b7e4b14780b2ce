// SPDX-License-Identifier: Apache-2.0
/** On which curve a public key is: a signature says nothing where the key was certified for another kind. */
import { childrenOf, DerFault, oidOf, readDer, requireTag, TAG } from "./der.ts";

const EC_KEY = "1.2.840.10045.2.1";
const CURVES = { "P-256": "1.2.840.10045.3.1.7", "P-384": "1.3.132.0.34" } as const;

/** @param spki SubjectPublicKeyInfo. Throws `DerFault`. */
export function requireCurve(spki: Uint8Array, name: keyof typeof CURVES): void {
  const [algorithm] = childrenOf(readDer(spki, TAG.sequence), 2);
  const [type, curve] = childrenOf(requireTag(algorithm, TAG.sequence), 2);
  if (oidOf(type) !== EC_KEY || curve?.tag !== TAG.oid || oidOf(curve) !== CURVES[name])
    throw new DerFault(`its key is not on the curve ${name}`);
}
