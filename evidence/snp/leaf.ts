// SPDX-License-Identifier: Apache-2.0
/**
 * What a VCEK or a VLEK says beside its key: AMD's extensions under 1.3.6.1.4.1.3704.1 (57230). A VCEK
 * belongs to a chip and names it; a VLEK belongs to a provider and names that.
 */
import { type Certificate, unknownCritical } from "../x509/certificate.ts";
import { requireCurve } from "../x509/curve.ts";
import { DerFault, readDer, smallInteger, TAG, textOf } from "../x509/der.ts";
import { isNameOf, type LeafKind, type Product, readIssuerName } from "./products.ts";
import { type Tcb, tcbOfLeaf } from "./tcb.ts";

const AMD = "1.3.6.1.4.1.3704.1";

export interface Leaf {
  kind: LeafKind;
  product: Product;
  productName: string;
  tcb: Tcb;
  /** Of a VCEK: 8 bytes on Turin, 64 before. */
  hardwareId: Uint8Array | null;
  /** Of a VLEK. */
  providerId: string | null;
}

/** Throws `DerFault` when the certificate is no VCEK and no VLEK of a line known here. */
export function readLeaf(certificate: Certificate): Leaf {
  const issued = readIssuerName(certificate.issuerName);
  if (issued === null) throw new DerFault("its issuer is none that issues VCEKs or VLEKs");
  const { product, kind } = issued;
  // Someone who holds a VLEK must not pass it off as a VCEK, nor the reverse.
  if (certificate.subjectName !== `SEV-${kind}`)
    throw new DerFault("its subject and its issuer are of different kinds");
  if (unknownCritical(certificate) !== null)
    throw new DerFault("it has a critical extension that is not known here");
  requireCurve(certificate.spki, "P-384");
  const spl = new Map<number, number>();
  for (const [name, { value }] of certificate.extensions)
    if (name.startsWith(`${AMD}.3.`)) spl.set(Number(name.slice(AMD.length + 3)), byteOf(value));
  const tcb = tcbOfLeaf(spl, product);
  if (tcb === null) throw new DerFault("a TCB extension is missing, or one that its line reserves is set");
  const productName = textOf(readDer(requireExtension(certificate, "2")));
  if (!isNameOf(product, productName))
    throw new DerFault("its product name is of another line than its issuer");
  const hardwareId = certificate.extensions.get(`${AMD}.4`)?.value;
  const providerId = certificate.extensions.get(`${AMD}.5`)?.value;
  if ((hardwareId !== undefined) !== (kind === "VCEK") || (providerId !== undefined) !== (kind === "VLEK"))
    throw new DerFault("a VCEK must name a chip and a VLEK a provider, and neither the other's");
  return {
    kind,
    product,
    productName,
    tcb,
    hardwareId: hardwareId === undefined ? null : chipOf(hardwareId, product === "Turin" ? 8 : 64),
    providerId: providerId === undefined ? null : textOf(readDer(providerId)),
  };
}

function requireExtension({ extensions }: Certificate, suffix: string): Uint8Array {
  const found = extensions.get(`${AMD}.${suffix}`);
  if (found === undefined) throw new DerFault(`the extension ${AMD}.${suffix} is missing`);
  return found.value;
}

function byteOf(value: Uint8Array): number {
  const number = smallInteger(readDer(value));
  if (number > 255) throw new DerFault("a TCB extension is larger than a byte");
  return number;
}

/** The id stands as it is in older certificates, and inside another OCTET STRING in newer ones. */
function chipOf(value: Uint8Array, length: number): Uint8Array {
  if (value.length === length) return value;
  const nested = readDer(value, TAG.octets).body;
  if (nested.length !== length) throw new DerFault("its hardware id has not the length of its line");
  return nested;
}
