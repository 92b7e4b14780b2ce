// SPDX-License-Identifier: Apache-2.0
/**
 * Compose's variables in a value: `$NAME`, `${NAME}`, with `:-` `-` (default), `:+` `+` (instead),
 * `:?` `?` (required), nested in those, and `$$` for one dollar sign.
 *
 * Docker would do this itself, after the checks, with whatever its process's environment holds. So
 * that no port and no path changes its meaning behind the checks' back, it is done here, once, and
 * Docker is given text in which every dollar sign is escaped.
 */
export interface Interpolated {
  text: string;
  /** Names that had no value and became nothing. */
  unset: string[];
  /** Names that were asked for. */
  used: string[];
}

/** A default in a default in a default … */
const NESTED_MAX = 8;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;

class Refusal {
  readonly sentence: string;
  constructor(sentence: string) {
    this.sentence = sentence;
  }
}

/** How many characters all of a document's values may have together once variables are replaced. */
export interface Allowance {
  left: number;
}

export function interpolate(
  template: string,
  lookup: (name: string) => string | undefined,
  allowance: Allowance,
): Interpolated | { refusal: string } {
  const found: Interpolated = { text: "", unset: [], used: [] };
  try {
    found.text = expand(template, lookup, allowance, found, 0);
    return found;
  } catch (refusal) {
    if (refusal instanceof Refusal) return { refusal: refusal.sentence };
    throw refusal;
  }
}

function expand(
  template: string,
  lookup: (name: string) => string | undefined,
  allowance: Allowance,
  found: Interpolated,
  depth: number,
): string {
  if (depth > NESTED_MAX) throw new Refusal(`Variables are nested deeper than ${NESTED_MAX}.`);
  let out = "";
  const put = (text: string) => {
    allowance.left -= text.length;
    if (allowance.left < 0) throw new Refusal("With its variables replaced the document is too large.");
    out += text;
  };
  for (let at = 0; ; ) {
    const dollar = template.indexOf("$", at);
    put(template.slice(at, dollar < 0 ? undefined : dollar));
    if (dollar < 0) return out;
    const next = template[dollar + 1];
    if (next === "$") {
      put("$");
      at = dollar + 2;
      continue;
    }
    const braced = next === "{";
    const start = dollar + (braced ? 2 : 1);
    const name = nameAt(template, start);
    found.used.push(name);
    const value = lookup(name);
    if (!braced) {
      if (value === undefined) found.unset.push(name);
      put(value ?? "");
      at = start + name.length;
      continue;
    }
    const end = closingBrace(template, start);
    const rest = template.slice(start + name.length, end);
    at = end + 1;
    if (rest === "") {
      if (value === undefined) found.unset.push(name);
      put(value ?? "");
      continue;
    }
    const operator = /^:?[-+?]/.exec(rest)?.[0];
    if (operator === undefined) throw new Refusal(malformed());
    const word = rest.slice(operator.length);
    // With a colon, an empty value counts as none.
    const present = value !== undefined && (!operator.startsWith(":") || value !== "");
    const deeper = () => expand(word, lookup, allowance, found, depth + 1);
    if (operator.endsWith("+")) out += present ? deeper() : "";
    else if (present) put(value);
    else if (operator.endsWith("-")) out += deeper();
    else throw new Refusal(`The variable ${name} is required and has no value.`);
  }
}

function nameAt(template: string, at: number): string {
  NAME.lastIndex = at;
  const name = NAME.exec(template)?.[0];
  if (name === undefined) throw new Refusal(malformed());
  return name;
}

/** Only `${` opens: a default may hold a lone `{`, and ends at the first `}` as it does for Docker. */
function closingBrace(template: string, start: number): number {
  let open = 1;
  for (let at = start; at < template.length; at++) {
    if (template[at] === "}" && --open === 0) return at;
    if (template[at] !== "$") continue;
    if (template[at + 1] === "{") open++;
    if (template[at + 1] === "{" || template[at + 1] === "$") at++;
  }
  throw new Refusal(malformed());
}

const malformed = () =>
  // biome-ignore lint/suspicious/noTemplateCurlyInString: compose's variables, not ours
  "This is no variable that can be replaced; write $NAME or ${NAME}, and $$ for a dollar sign.";
