// SPDX-License-Identifier: Apache-2.0
/** Where the child finds what it was given, and puts what it makes; all of them files that are there. */
export const INSIDE = {
  input: "/work/input",
  /** A second file to compare with, or an image. */
  other: "/work/other",
  /** Taken out of an archive, or repaired. */
  model: "/work/model",
  scratch: "/work/scratch",
  out: "/work/out",
} as const;
