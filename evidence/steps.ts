// SPDX-License-Identifier: Apache-2.0
/**
 * A step is one question with its answer in words. The document has every step that was asked, whatever
 * became of the others, so that a reader of a refusal sees all that is wrong and all that is not.
 * A step that could not be made has not passed.
 */
export interface Step {
  name: string;
  ok: boolean;
  /** A sentence for a person. It holds nothing that was not checked for being printable. */
  detail: string;
}

/** What was not asked, and what it leaves open. */
export interface Unasked {
  name: string;
  detail: string;
}

/** Thrown inside a step: the answer is no, and why. */
export class StepFault extends Error {}

/** Thrown where a step needs what an earlier one could not give. */
export class StepBlocked extends Error {}

export async function makeStep(name: string, judge: () => string | Promise<string>): Promise<Step> {
  try {
    return { name, ok: true, detail: await judge() };
  } catch (fault) {
    // Total: a verifier that ends in an exception would leave the decision to whoever catches it.
    const known = fault instanceof StepFault || fault instanceof StepBlocked;
    return { name, ok: false, detail: known ? fault.message : "The step could not be made." };
  }
}

export function requireStep(holds: boolean, detail: string): asserts holds {
  if (!holds) throw new StepFault(detail);
}

export function needed<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new StepBlocked(`Could not be made: ${what}.`);
  return value;
}
