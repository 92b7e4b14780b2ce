// SPDX-License-Identifier: Apache-2.0
/**
 * The control plane cannot be reached, or cannot answer now. Nothing is wrong with what it wants then: it is
 * asked again, and no wish is held to have failed.
 */
export class Away extends Error {}

const CODES = new Set([
  ...["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH"],
  ...["ENETUNREACH", "ENETDOWN"],
]);

export const isAway = (error: unknown): boolean =>
  error instanceof Away || CODES.has((error as NodeJS.ErrnoException | null)?.code ?? "");

/** Of an answer that is no success: whether another time it may be one. */
export const mayPass = (status: number): boolean => status >= 500 || status === 429;
