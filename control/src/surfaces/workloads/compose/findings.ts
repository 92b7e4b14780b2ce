// SPDX-License-Identifier: Apache-2.0
/**
 * What was found wrong, with where it stands in the client's text. Messages name the member and the
 * rule and never a value: after interpolation a value may hold a secret of the environment, and
 * messages are logged and answered.
 */
export interface Violation {
  /** `services.api.ports[0]`; empty for the text as a whole. */
  path: string;
  /** 1-based, in the client's text. */
  line: number;
  message: string;
}

/** A text of one mebibyte can be wrong in a hundred thousand places; nobody reads more than these. */
export const FINDINGS_MAX = 200;

export class Findings {
  readonly violations: Violation[] = [];
  readonly warnings: Violation[] = [];

  refuse(path: string, line: number, message: string): void {
    add(this.violations, { path, line, message });
  }

  warn(path: string, line: number, message: string): void {
    add(this.warnings, { path, line, message });
  }
}

function add(to: Violation[], finding: Violation): void {
  if (to.length < FINDINGS_MAX) to.push(finding);
  else if (to.length === FINDINGS_MAX) {
    to.push({ path: "", line: finding.line, message: "There is more; only the first findings are listed." });
  }
}

const PLAIN_KEY = /^[A-Za-z0-9_-]{1,80}$/;

/** The path of a member. A key that could be mistaken for punctuation is quoted, a long one is cut. */
export function memberPath(parent: string, key: string): string {
  if (PLAIN_KEY.test(key)) return parent === "" ? key : `${parent}.${key}`;
  return `${parent}[${JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}…` : key)}]`;
}
