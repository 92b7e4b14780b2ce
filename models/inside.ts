// SPDX-License-Identifier: Apache-2.0
/** Where the child finds what it was given, and puts what it makes; all of them files that are there. */
export const INSIDE = {
  input: "/job/input",
  /** A second file to compare with, or an image. */
  other: "/job/other",
  /** Taken out of an archive, or repaired. */
  model: "/job/model",
  scratch: "/job/scratch",
  out: "/job/out",
} as const;
