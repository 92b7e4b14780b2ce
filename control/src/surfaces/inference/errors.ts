// SPDX-License-Identifier: Apache-2.0
/** Errors as OpenAI's clients know them: {error: {message, type, code, param}}. They look at `code` first. */
import type { ErrorCode, Fault } from "#contract/errors.ts";

const CODES: Partial<Record<ErrorCode, readonly [type: string, code: string]>> = {
  "identity.unauthorized": ["invalid_request_error", "invalid_api_key"],
  "limits.rate": ["requests", "rate_limit_exceeded"],
  "inference.busy": ["requests", "rate_limit_exceeded"],
  "inference.quota": ["insufficient_quota", "insufficient_quota"],
  "inference.model": ["invalid_request_error", "model_not_found"],
  "inference.unavailable": ["server_error", "inference_unavailable"],
};

const PARAM: Partial<Record<ErrorCode, string>> = { "inference.model": "model" };

export function dressError({ code, kind, message, details }: Fault): unknown {
  const [type, word] = CODES[code] ?? [kind.status < 500 ? "invalid_request_error" : "server_error", null];
  const { field } = details;
  const param = PARAM[code] ?? (typeof field === "string" && field !== "" ? field : null);
  return { error: { message, type, code: word, param } };
}
