// SPDX-License-Identifier: Apache-2.0
/**
 * What a reader has on disk: certificates and revocation lists, each as DER or as PEM with any number
 * of blocks. PEM is only a wrapping; bytes after a DER element are refused in both.
 */
import { type Certificate, parseCertificate } from "./certificate.ts";
import { DerFault } from "./der.ts";

export const FILE_BYTES_MAX = 1024 * 1024;
const BLOCKS_MAX = 32;

/** The certificates of one file. Throws `DerFault` when it is none or one of them cannot be read. */
export function certificatesOf(file: Uint8Array): Certificate[] {
  return derOf(file, "CERTIFICATE").map(parseCertificate);
}

/** Those of a file that can be read: one that cannot is no reason to pass over those beside it. */
export function readableCertificatesOf(file: Uint8Array): Certificate[] {
  try {
    return derOf(file, "CERTIFICATE").flatMap((der) => {
      try {
        return [parseCertificate(der)];
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}

export function derOf(file: Uint8Array, label: "CERTIFICATE" | "X509 CRL"): Uint8Array[] {
  if (file.length > FILE_BYTES_MAX) throw new DerFault("a file is larger than 1 MiB");
  if (file[0] === 0x30) return [file];
  let text = "";
  for (let at = 0; at < file.length; at += 8192) text += String.fromCharCode(...file.subarray(at, at + 8192));
  const begin = `-----BEGIN ${label}-----`;
  const end = `-----END ${label}-----`;
  const blocks: Uint8Array[] = [];
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    const to = text.indexOf(end, at);
    if (to < 0 || blocks.length === BLOCKS_MAX) throw new DerFault("a PEM block is cut off, or one too many");
    blocks.push(fromBase64(text.slice(at + begin.length, to)));
    at = to + end.length;
  }
  if (blocks.length === 0) throw new DerFault(`the file is neither DER nor a PEM ${label}`);
  return blocks;
}

function fromBase64(text: string): Uint8Array {
  const dense = text.replace(/[\r\n\t ]/g, "");
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(dense) || dense.length % 4 !== 0)
    throw new DerFault("a PEM block is not base64");
  const decoded = atob(dense);
  // The last digit may have bits that mean nothing: one meaning, one text.
  if (btoa(decoded) !== dense) throw new DerFault("a PEM block is not base64 in its one form");
  return Uint8Array.from(decoded, (character) => character.charCodeAt(0));
}
