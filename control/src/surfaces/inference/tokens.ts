// SPDX-License-Identifier: Apache-2.0
/**
 * Tokens and what they cost. The upstream's own count is what is charged. Where it is missing, because somebody went away before it
 * came, its place is taken by a guess from lengths: whoever hangs up before the last piece of every answer would pay nothing otherwise.
 */
import type { Prices } from "./upstreams.ts";

export interface Tokens {
  input: number;
  output: number;
}

const MILLION = 1_000_000n;
const COUNT_MAX = 1_000_000_000;
/** Of English text; other languages have fewer. */
const BYTES_A_TOKEN = 4;
/** What an answer without a bound is reckoned with before it is there. */
const OUTPUT_ASSUMED = 4096;
const COST_MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** Rounded up: calls of less than a micro-unit each would add up to nothing. */
export function costOf({ input, output }: Tokens, prices: Prices): number {
  const parts =
    BigInt(input) * BigInt(prices.inputMicrosPerMillion) +
    BigInt(output) * BigInt(prices.outputMicrosPerMillion);
  const micros = (parts + MILLION - 1n) / MILLION;
  return Number(micros < COST_MAX ? micros : COST_MAX);
}

/** Null: it does not say. */
export function readUsage(given: unknown): Tokens | null {
  if (typeof given !== "object" || given === null) return null;
  const { prompt_tokens: input, completion_tokens: output = 0 } = given as Record<string, unknown>;
  return isCount(input) && isCount(output) ? { input, output } : null;
}

const isCount = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= COUNT_MAX;

/** Of all texts in it; pictures are none. */
export const guessTokens = (value: unknown): number => Math.ceil(textBytesOf(value) / BYTES_A_TOKEN);

function textBytesOf(value: unknown): number {
  if (typeof value === "string") return value.startsWith("data:") ? 0 : Buffer.byteLength(value);
  if (typeof value !== "object" || value === null) return 0;
  return Object.values(value).reduce<number>((sum, each) => sum + textBytesOf(each), 0);
}

export interface Asked {
  max_tokens?: number | null | undefined;
  max_completion_tokens?: number | null | undefined;
  n?: number | null | undefined;
}

/** What a call may come to, before it is made. */
export function tokensAhead(input: number, operation: string, asked: Asked): Tokens {
  if (operation === "embeddings") return { input, output: 0 };
  const each = asked.max_completion_tokens ?? asked.max_tokens ?? OUTPUT_ASSUMED;
  return { input, output: Math.min(each * (asked.n ?? 1), COUNT_MAX) };
}
