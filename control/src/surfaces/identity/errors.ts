// SPDX-License-Identifier: Apache-2.0
/** Refusals at OAuth endpoints that are made before the authorization server is asked: RFC 6749 5.2. */
import type { Fault } from "#contract/errors.ts";

const BY_STATUS: Record<number, string> = {
  401: "invalid_client",
  429: "slow_down",
  500: "server_error",
  503: "temporarily_unavailable",
  507: "temporarily_unavailable",
};

export const dressOAuthError = (fault: Fault, requestId: string): unknown => ({
  error: BY_STATUS[fault.kind.status] ?? "invalid_request",
  error_description: fault.message,
  request_id: requestId,
});
