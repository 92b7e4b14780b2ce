// SPDX-License-Identifier: Apache-2.0
/**
 * A certificate of our own authority for a key that a machine made and keeps. The machine is not believed: it
 * gets the names that are its own by what control wants of it, and no name because it asks for it. What it asks for only has to
 * meet what it gets: a request of another machine's, come here by a mistake of ours, signs nothing.
 *
 * Where a directory signs for names, it signs such keys too, a while later (acme/inside-certificates.ts).
 */
import "./reflect-metadata.ts";
import { createHash, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import type { Authority } from "./authority.ts";

export const REQUEST_BYTES_MAX = 16 * 1024;

/** Public words: what is wrong with what a machine asked. */
export class RequestRefused extends Error {}

/** A chain (PEM) for the key of a request (RFC 2986, DER). */
export async function certifyRequest(
  authority: Authority,
  domains: readonly string[],
  request: Uint8Array,
  at: Date,
): Promise<{ certificatePem: string; notAfter: Date; names: readonly string[]; spkiSha256: string }> {
  if (domains.length === 0) throw new RequestRefused("the machine has no name to be certified for");
  const { key, names } = await parseRequest(request);
  if (!names.some((name) => domains.includes(name)))
    throw new RequestRefused("the machine's request is for other names than its own");
  const { certificatePem, notAfter } = await authority.signKey(domains, key, at);
  const spki = Buffer.from(await webcrypto.subtle.exportKey("spki", key));
  return { certificatePem, notAfter, names, spkiSha256: createHash("sha256").update(spki).digest("hex") };
}

async function parseRequest(bytes: Uint8Array): Promise<{ key: webcrypto.CryptoKey; names: string[] }> {
  if (bytes.length > REQUEST_BYTES_MAX) throw new RequestRefused("the machine's request is too long");
  let request: x509.Pkcs10CertificateRequest;
  let names: string[];
  let genuine: boolean;
  try {
    request = new x509.Pkcs10CertificateRequest(new Uint8Array(bytes));
    const { algorithm } = request.publicKey as { algorithm: { name?: string; namedCurve?: string } };
    if (algorithm.name !== "ECDSA" || algorithm.namedCurve !== "P-256")
      throw new RequestRefused("the machine's key is not of the curve P-256");
    names = request.extensions
      .filter((extension) => extension instanceof x509.SubjectAlternativeNameExtension)
      .flatMap((extension) => extension.names.items)
      .filter(({ type }) => type === "dns")
      .map(({ value }) => value.toLowerCase());
    // Nobody has a key certified that is another's.
    genuine = await request.verify(webcrypto);
  } catch (error) {
    if (error instanceof RequestRefused) throw error;
    throw new RequestRefused("the machine's request cannot be read", { cause: error });
  }
  if (!genuine) throw new RequestRefused("the machine's request is not signed by its key");
  return { key: await request.publicKey.export(webcrypto), names };
}
