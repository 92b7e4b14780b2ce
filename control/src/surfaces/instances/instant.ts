// SPDX-License-Identifier: Apache-2.0
/** To the second, rounded down: nothing is said to have happened before it did. */
export const instant = (at: Date) => `${at.toISOString().slice(0, 19)}Z`;
