// SPDX-License-Identifier: Apache-2.0
/**
 * How Intel calls the age of a platform's parts, and how the states of its three parts (processor, TDX
 * module, quoting enclave) make one. Intel, "Attestation library: TCB status".
 */

/** Best first. */
export const TCB_STATUSES = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
] as const;
export type TcbStatus = (typeof TCB_STATUSES)[number];

export const isTcbStatus = (text: unknown): text is TcbStatus => TCB_STATUSES.some((one) => one === text);

/** Of two parts of one platform. A part that is too old makes the whole too old, and keeps what it needs besides. */
export function converge(a: TcbStatus, b: TcbStatus): TcbStatus {
  const [better, worse] = TCB_STATUSES.indexOf(a) <= TCB_STATUSES.indexOf(b) ? [a, b] : [b, a];
  if (worse === "OutOfDate" && better.startsWith("Configuration")) return "OutOfDateConfigurationNeeded";
  if (worse === "ConfigurationNeeded" && better === "SWHardeningNeeded")
    return "ConfigurationAndSWHardeningNeeded";
  return worse;
}
