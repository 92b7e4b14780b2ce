// SPDX-License-Identifier: Apache-2.0
/**
 * A domain name as its labels, the most specific first; the root is the empty list. A label is a string
 * of one character per octet. On the wire a label may hold any octet, a dot among them, so a name is
 * never kept as text with dots: "a.b" in one label would become somebody else's name.
 */
export type DomainName = readonly string[];

/** Octets on the wire, with the lengths and the root. */
export const NAME_BYTES_MAX = 255;
export const LABEL_BYTES_MAX = 63;

const PLAIN = /^[a-z0-9_-]+$/;

/** A name as people write it, of letters, digits, `-` and `_`; null when it is not one. */
export function parseName(text: string): DomainName | null {
  const labels = text.replace(/\.$/, "").split(".");
  const fits = labels.every((label) => PLAIN.test(label.toLowerCase()) && label.length <= LABEL_BYTES_MAX);
  return fits && wireLength(labels) <= NAME_BYTES_MAX ? labels : null;
}

export function requireName(text: string): DomainName {
  const name = parseName(text);
  if (name === null) throw new Error(`${JSON.stringify(text)} is not a domain name`);
  return name;
}

/** The mailbox in the form that an SOA wants: what stands before the @ is one label, dots and all. */
export function mailboxName(contact: string): DomainName {
  const [local, domain, ...more] = contact.split("@");
  if (domain === undefined) return requireName(contact);
  if (more.length > 0 || !/^[\x21-\x7e]{1,63}$/.test(local!))
    throw new Error(`${JSON.stringify(contact)} is not a mailbox`);
  return [local!, ...requireName(domain)];
}

/** Lower case text with dots, or null for a name with a label that no name of ours has. */
export function plainText(name: DomainName): string | null {
  const lower = name.map((label) => label.toLowerCase());
  return lower.every((label) => PLAIN.test(label)) ? lower.join(".") : null;
}

/** Equal for equal names, whatever their case. Lengths keep `a.b` apart from a label with a dot in it. */
export const keyOf = (name: DomainName): string =>
  name
    .map((label) => `${label.length}:${label.replace(/[A-Z]/g, (letter) => letter.toLowerCase())}`)
    .join("");

export const isWithin = (name: DomainName, zone: DomainName): boolean =>
  name.length >= zone.length && keyOf(name.slice(name.length - zone.length)) === keyOf(zone);

export const wireLength = (name: DomainName): number =>
  name.reduce((sum, label) => sum + 1 + label.length, 1);
