// SPDX-License-Identifier: Apache-2.0
/**
 * Bytes as text. Decoding is strict: one byte string has exactly one accepted spelling, because a
 * second spelling of the same key or signature would be a second document with the same signature.
 */
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const SEXTETS = new Int8Array(128).fill(-1);
for (let index = 0; index < ALPHABET.length; index++) SEXTETS[ALPHABET.charCodeAt(index)] = index;

const encoder = new TextEncoder();

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += (byte < 16 ? "0" : "") + byte.toString(16);
  return text;
}

/** Lower-case hex only; null for anything else. */
export function fromHex(text: string): Uint8Array | null {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index++) {
    bytes[index] = Number.parseInt(text.slice(index * 2, index * 2 + 2), 16);
  }
  return bytes;
}

/** `base64:` and standard base64 with padding. */
export function toBase64Text(bytes: Uint8Array): string {
  let text = "base64:";
  for (let index = 0; index < bytes.length; index += 3) {
    const rest = bytes.length - index;
    const word =
      (bytes[index]! << 16) | ((rest > 1 ? bytes[index + 1]! : 0) << 8) | (rest > 2 ? bytes[index + 2]! : 0);
    text += ALPHABET[word >> 18]! + ALPHABET[(word >> 12) & 63]!;
    text += rest > 1 ? ALPHABET[(word >> 6) & 63]! : "=";
    text += rest > 2 ? ALPHABET[word & 63]! : "=";
  }
  return text;
}

/** The bytes of `base64:…`, or null unless the text is exactly what `toBase64Text` writes for them. */
export function fromBase64Text(text: string): Uint8Array | null {
  return text.startsWith("base64:") ? fromBase64(text.slice(7)) : null;
}

/** Standard alphabet, right padding, unused bits zero; null for every other spelling. */
export function fromBase64(text: string): Uint8Array | null {
  if (text.length === 0 || text.length % 4 !== 0) return null;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const digits = text.length - padding;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  let word = 0;
  let written = 0;
  for (let index = 0; index < digits; index++) {
    const code = text.charCodeAt(index);
    const sextet = code < 128 ? SEXTETS[code]! : -1;
    if (sextet < 0) return null;
    word = ((word << 6) | sextet) & 0xffffff;
    if (index % 4 === 1) bytes[written++] = (word >> 4) & 255;
    else if (index % 4 === 2) bytes[written++] = (word >> 2) & 255;
    else if (index % 4 === 3) bytes[written++] = word & 255;
  }
  const unused = padding === 2 ? word & 15 : padding === 1 ? word & 3 : 0;
  return unused === 0 ? bytes : null;
}
