// SPDX-License-Identifier: Apache-2.0
/**
 * A checked document as the text that Docker reads: JSON, which is YAML 1.2 and 1.1 at once, except for
 * a handful of characters that JSON leaves as they are and YAML takes for line breaks or refuses.
 */
const APART = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g;

export function composeText(document: Readonly<Record<string, unknown>>): string {
  return `${JSON.stringify(document).replace(APART, escaped)}\n`;
}

const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
