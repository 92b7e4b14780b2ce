// SPDX-License-Identifier: Apache-2.0
/** Errors in the sessions format: {error, message, status}. Source: the seed's error table. */
import type { Fault } from "#contract/errors.ts";

const NAMES: Record<number, string> = {
  400: "BadRequest",
  401: "Unauthorized",
  402: "QuotaExceeded",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  409: "Conflict",
  410: "Gone",
  413: "PayloadTooLarge",
  415: "UnsupportedMediaType",
  429: "RateLimited",
  500: "InternalError",
  503: "ServiceUnavailable",
  507: "InsufficientStorage",
};

export function dressError(fault: Fault, requestId: string): unknown {
  const { status } = fault.kind;
  const error = fault.code === "billing.unavailable" ? "BillingUnavailable" : (NAMES[status] ?? "Error");
  return { error, message: fault.message, status, ...(status === 500 ? { request_id: requestId } : {}) };
}
