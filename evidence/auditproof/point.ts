// SPDX-License-Identifier: Apache-2.0
/**
 * Whether 32 bytes are a point of edwards25519 (RFC 8032, 5.1.3). Asked only to name what is wrong with
 * a signature that does not hold, so it may be slow, and nothing here is secret.
 */
const P = 2n ** 255n - 19n;
const D = modulo(-121665n * power(121666n, P - 2n));

export function isPoint(raw: Uint8Array): boolean {
  let y = 0n;
  for (let index = 31; index >= 0; index--)
    y = (y << 8n) | BigInt(index === 31 ? raw[31]! & 0x7f : raw[index]!);
  const square = modulo(y * y);
  // x² = (y² − 1) / (d·y² + 1), whose divisor is never zero.
  const x2 = modulo((square - 1n) * power(modulo(D * square + 1n), P - 2n));
  return x2 === 0n || power(x2, (P - 1n) / 2n) === 1n;
}

function modulo(value: bigint): bigint {
  const rest = value % P;
  return rest < 0n ? rest + P : rest;
}

function power(base: bigint, exponent: bigint): bigint {
  let [result, factor] = [1n, modulo(base)];
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = modulo(result * factor);
    factor = modulo(factor * factor);
  }
  return result;
}
