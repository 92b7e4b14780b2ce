// SPDX-License-Identifier: Apache-2.0
/** Thrown in the child when it cannot go on with the file it was given: the file's fault, told as rules. */
import type { Rule } from "../job.ts";

export class Refusal extends Error {
  readonly rules: Rule[];

  constructor(rules: Rule[]) {
    super(rules[0]?.Message ?? "refused");
    this.rules = rules;
  }
}

export const rule = (Level: Rule["Level"], Id: string, message: string): Rule => ({
  Id,
  Level,
  Message: message.slice(0, 1000),
});

export const refuse = (id: string, message: string): never => {
  throw new Refusal([rule("error", id, message)]);
};
