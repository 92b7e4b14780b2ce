// SPDX-License-Identifier: Apache-2.0
/**
 * Errors of all surfaces that take access tokens, in the form of the original:
 * {Message, Field?, AuthorizationInvalid?, UUID?}, and ours: {Code, RequestID, Issues?}. A fault's details `field` and
 * `uuid` become the members of that name.
 */
import type { Fault } from "#contract/errors.ts";

export function dressNxError(fault: Fault, requestId: string): unknown {
  const { field, uuid } = fault.details;
  return {
    Message: fault.message,
    ...(typeof field === "string" && field !== "" && { Field: { Name: field, Message: fault.message } }),
    ...(fault.kind.status === 401 && { AuthorizationInvalid: true }),
    ...(typeof uuid === "string" && { UUID: uuid }),
    // All that is wrong, each with where it stands.
    ...(fault.issues !== undefined && { Issues: fault.issues }),
    Code: fault.code,
    RequestID: requestId,
  };
}
