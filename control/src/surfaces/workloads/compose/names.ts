// SPDX-License-Identifier: Apache-2.0
/**
 * Names. A tenant who names a service, an alias or a label like one of the platform's own would
 * answer for the sidecar that speaks for the machine, or claim another machine's containers.
 */
import type { Json, Place } from "./place.ts";

const RESERVED_SERVICES = new Set(["nilcc-attester", "nilcc-proxy"]);
const HOSTNAME = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const VOLUME_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;
export const NAME_RULE =
  "A name here starts with a letter or digit, has only letters, digits, `.`, `_`, `-`, and is 63 characters at most.";
export const isName = (name: string) => VOLUME_NAME.test(name);

export function isReservedService(name: string): boolean {
  const lower = name.toLowerCase();
  return RESERVED_SERVICES.has(lower) || lower === "casemate" || lower.startsWith("casemate-");
}

/** A name under which others find a container. */
export function readHostname(at: Place): string | undefined {
  const name = at.matching(HOSTNAME, "This must be a host name.");
  if (name === undefined || !isReservedService(name)) return name;
  return at.refuse("This name is reserved for the platform.");
}

/** A service of this document, by its name. */
export function readServiceName(at: Place): string | undefined {
  const name = at.string();
  if (name === undefined || at.sheet.declared.services.has(name)) return name;
  return at.refuse("There is no service of this name in the document.");
}

/** `service` or `service:alias`. */
export function readLink(at: Place): string | undefined {
  const text = at.string();
  if (text === undefined) return undefined;
  const [service = "", alias, ...more] = text.split(":");
  if (!at.sheet.declared.services.has(service) || more.length > 0) {
    return at.refuse("A link names a service of this document, as service or service:alias.");
  }
  if (alias !== undefined && (!HOSTNAME.test(alias) || isReservedService(alias))) {
    return at.refuse("The alias of a link must be a host name that is not reserved.");
  }
  return text;
}

const LABEL_VALUE_MAX = 16_384;

/** `{name: value}` or `["name=value"]`; always given to Docker as a map. */
export function readLabels(at: Place): Json | undefined {
  return readPairs(at, (member, name, value) => {
    const lower = name.toLowerCase();
    if (/^(?:com\.docker|casemate|io\.casemate|nilcc)(?:\.|$)/.test(lower)) {
      return member.refuse("Labels of this prefix are the platform's own.");
    }
    if (!/^[\x21-\x7e]{1,256}$/.test(name))
      return member.refuse("A label's name has printable characters only.");
    if ((value ?? "").length > LABEL_VALUE_MAX) {
      return member.refuse(`A label's value is longer than ${LABEL_VALUE_MAX} characters.`);
    }
    return value ?? "";
  });
}

/**
 * The environment of a container. A name without a value takes the machine's; where there is none,
 * the container has none either. Docker would look in the environment of its own process.
 */
export function readEnvironment(at: Place): Json | undefined {
  return readPairs(at, (member, name, value) => {
    if (!/^[\x21-\x7e]{1,256}$/.test(name)) {
      return member.refuse("The name of a variable has printable characters only, without spaces.");
    }
    if (value !== undefined) return value;
    const given = member.sheet.lookup(name);
    if (given === undefined) member.warn("This variable has no value here and none was given.");
    else member.sheet.allowance.left -= given.length;
    return given;
  });
}

type ReadPair = (member: Place, name: string, value: string | undefined) => string | undefined;

function readPairs(at: Place, read: ReadPair): { [name: string]: Json } | undefined {
  const out: { [name: string]: Json } = {};
  const put = (member: Place, name: string, given: string | undefined) => {
    if (name.includes("$") || name.includes("=")) {
      member.refuse("A name can hold neither a dollar sign nor an equals sign.");
      return;
    }
    // Plain assignment to this one key would set the prototype.
    if (name === "__proto__" || name === "constructor" || name === "prototype" || name === "<<") {
      member.refuse("A key of this name is not allowed.");
      return;
    }
    const value = read(member, name, given);
    if (value === undefined) return;
    out[name] = value;
  };
  if (at.item.kind === "map") {
    for (const [name, member] of at.members() ?? []) {
      if (member.empty) put(member, name, undefined);
      else {
        const value = member.scalar();
        if (value !== undefined) put(member, name, value);
      }
    }
    return out;
  }
  if (at.item.kind !== "list") return at.refuse("This must be a map, or a list of name=value.");
  for (const element of at.elements() ?? []) {
    const text = element.string();
    if (text === undefined) continue;
    const equals = text.indexOf("=");
    if (equals < 0) put(element, text, undefined);
    else put(element, text.slice(0, equals), text.slice(equals + 1));
  }
  return out;
}
