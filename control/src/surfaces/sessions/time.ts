// SPDX-License-Identifier: Apache-2.0
/** Whole seconds, UTC, no fraction: jq's fromdateiso8601 refuses fractions. */
export const wireTime = (instant: Date): string => `${instant.toISOString().slice(0, 19)}Z`;
