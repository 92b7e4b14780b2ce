// SPDX-License-Identifier: Apache-2.0
/**
 * What work costs this process, in milliseconds of processor: for claims that something hostile is dealt with
 * cheaply. The clock on the wall would also count what other programs of a busy machine take.
 */
export function cpuMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
