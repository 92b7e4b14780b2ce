// SPDX-License-Identifier: Apache-2.0
/**
 * The form of every answer: {request_id, correlation_id, data | error}. Source: the seed's conventions. What a client
 * sends to tell its calls apart is given back as it came; it is a stranger's text, and no name of anything here.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { ErrorCode, Fault } from "#contract/errors.ts";
import type { Envelope } from "../../http/server.ts";

const BY_STATUS: Record<number, string> = {
  400: "invalid_request",
  401: "unauthenticated",
  403: "forbidden",
  404: "not_found",
  405: "method_not_allowed",
  409: "conflict",
  413: "payload_too_large",
  415: "unsupported_media_type",
  429: "rate_limited",
  503: "unavailable",
  507: "unavailable",
};

/** In the seed's own words. */
const SENTENCES: Partial<Record<ErrorCode, string>> = {
  "identity.unauthorized": "missing or invalid Bearer token",
};

/** The member that a fault is about, where its code says so. */
const PARAM: Partial<Record<ErrorCode, string>> = { "instance.public-key": "public_key" };

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Bytes of a header that are UTF-8 are read as that; others as they stand. */
function correlationOf(headers: IncomingHttpHeaders): string | null {
  const given = headers["x-correlation-id"];
  if (typeof given !== "string") return null;
  try {
    return utf8.decode(Buffer.from(given, "latin1"));
  } catch {
    return given;
  }
}

export const envelope: Envelope = {
  requestId: (id) => id.replace(/^req_/, ""),
  wrap: (data, requestId, headers) => ({
    ...{ request_id: requestId, correlation_id: correlationOf(headers), data },
  }),
  headers: (headers) => {
    const given = headers["x-correlation-id"];
    return typeof given === "string" ? { "x-correlation-id": given } : {};
  },
};

export function dressError(fault: Fault, requestId: string, headers: IncomingHttpHeaders): unknown {
  const { field } = fault.details;
  const param = PARAM[fault.code] ?? (typeof field === "string" && field !== "" ? field : undefined);
  return {
    request_id: requestId,
    correlation_id: correlationOf(headers),
    error: {
      code: BY_STATUS[fault.kind.status] ?? "internal_error",
      message: SENTENCES[fault.code] ?? fault.message,
      ...(param !== undefined && { param }),
    },
  };
}
