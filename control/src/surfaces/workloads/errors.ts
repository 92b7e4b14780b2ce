// SPDX-License-Identifier: Apache-2.0
/** Errors in the workloads format: {ts, error, kind, issues?, requestId}. Source: the contract's list of kinds. */
import type { ErrorCode, Fault } from "#contract/errors.ts";

const BY_CODE: Partial<Record<ErrorCode, string>> = {
  "request.malformed": "MALFORMED_REQUEST",
  "workload.compose": "DOCKER_COMPOSE",
  "workload.tier": "INVALID_WORKLOAD_TIER",
  "workload.reserved-variable": "RESERVED_ENVIRONMENT_VARIABLE",
  "workload.domain-exists": "DOMAIN_EXISTS",
  "workload.limit": "RESOURCE_LIMIT",
  "host.has-workloads": "METAL_INSTANCE_MANAGING_WORKLOADS",
  "artifact.not-semver": "ARTIFACT_VERSION_NOT_SEMVER",
  "artifact.not-found": "ARTIFACT_VERSION_DOES_NOT_EXIST",
  "artifact.image-altered": "ARTIFACT_VERSION_DOES_NOT_EXIST",
};

const BY_STATUS: Record<number, string> = {
  400: "INVALID_PAYLOAD",
  401: "UNAUTHORIZED",
  403: "UNAUTHORIZED",
  404: "NOT_FOUND",
  405: "METHOD_NOT_ALLOWED",
  409: "ALREADY_EXISTS",
  412: "NOT_ENOUGH_CREDITS",
  413: "PAYLOAD_TOO_LARGE",
  415: "UNSUPPORTED_MEDIA_TYPE",
  429: "RATE_LIMITED",
  503: "NOT_ENOUGH_RESOURCES",
};

export function dressError(fault: Fault, requestId: string): unknown {
  return {
    ts: new Date().toISOString(),
    error: fault.message,
    kind: BY_CODE[fault.code] ?? BY_STATUS[fault.kind.status] ?? "INTERNAL",
    ...(fault.issues === undefined ? {} : { issues: fault.issues }),
    requestId,
  };
}
