// SPDX-License-Identifier: Apache-2.0
/**
 * Which addresses a stranger may make us speak to. The attacker names the target (a webhook, a
 * registry, a domain) and wants what only we can reach: a database on loopback, a neighbour's machine,
 * the cloud's metadata service. What is not known to be the public internet is refused: in IPv6 only
 * the global block is open, so that what is assigned tomorrow is closed until somebody opens it.
 */
import { isIP } from "node:net";

/** 4 or 16 octets; null for what is no address. One with a zone (`%eth0`) is none: it names an interface. */
export function addressBytes(text: string): Buffer | null {
  const family = text.includes("%") ? 0 : isIP(text);
  if (family === 4) return Buffer.from(text.split(".").map(Number));
  if (family !== 6) return null;
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const [a, b, c, d] = (dotted?.slice(2) ?? []).map(Number);
  const hex = dotted ? `${dotted[1]}${((a! << 8) | b!).toString(16)}:${((c! << 8) | d!).toString(16)}` : text;
  const [left = "", right] = hex.split("::");
  const groups = (part: string) =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const [head, tail] = [groups(left), groups(right ?? "")];
  const all = [...head, ...new Array(8 - head.length - tail.length).fill(0), ...tail];
  return Buffer.from(all.flatMap((group: number) => [group >> 8, group & 0xff]));
}

export interface Block {
  bytes: Buffer;
  bits: number;
}

/** `10.0.0.0/8`, `fd00::/8`, or one address. Throws: blocks come from the operator's configuration. */
export function parseBlock(text: string): Block {
  const [address = "", length, ...more] = text.split("/");
  const bytes = addressBytes(address);
  const bits =
    length === undefined ? (bytes?.length ?? 0) * 8 : /^\d{1,3}$/.test(length) ? Number(length) : -1;
  if (bytes === null || more.length > 0 || bits < 0 || bits > bytes.length * 8)
    throw new Error(`${JSON.stringify(text)} is not a block of addresses`);
  return { bytes, bits };
}

export function isInBlock(address: Buffer, { bytes, bits }: Block): boolean {
  if (address.length !== bytes.length) return false;
  const whole = bits >> 3;
  const rest = bits & 7;
  if (!address.subarray(0, whole).equals(bytes.subarray(0, whole))) return false;
  return rest === 0 || (address[whole]! ^ bytes[whole]!) >> (8 - rest) === 0;
}

const CLOSED = [
  "0.0.0.0/8", // "this host": on Linux 0.0.0.0 is loopback
  "10.0.0.0/8",
  "100.64.0.0/10", // carrier-grade NAT, and where some clouds keep services
  "127.0.0.0/8",
  "169.254.0.0/16", // link-local: the metadata service of most clouds
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24", // 6to4 relays
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4", // reserved, and broadcast
  "2001::/23", // Teredo and others that carry an IPv4 address or are no hosts
  "2001:db8::/32",
  "2002::/16", // 6to4: carries an IPv4 address
  "3fff::/20",
  "5f00::/16",
].map(parseBlock);
const GLOBAL_V6 = parseBlock("2000::/3");

/** The IPv4 address is in the last four octets, and a packet to these ends there. */
const CARRIERS = ["::ffff:0:0/96", "64:ff9b::/96"].map(parseBlock);

/** May a caller's wish lead here? `allowed` are the operator's exceptions, for an IPv4 address inside too. */
export function isOpen(text: string, allowed: readonly Block[]): boolean {
  const bytes = addressBytes(text);
  if (bytes === null) return false;
  const carried = CARRIERS.some((block) => isInBlock(bytes, block)) ? bytes.subarray(12) : null;
  if (allowed.some((block) => isInBlock(bytes, block) || (carried !== null && isInBlock(carried, block))))
    return true;
  if (carried !== null) return isPublic(carried);
  return isPublic(bytes);
}

const isPublic = (bytes: Buffer): boolean =>
  (bytes.length === 4 || isInBlock(bytes, GLOBAL_V6)) && !CLOSED.some((block) => isInBlock(bytes, block));

/** Who is counted as one: a /24 or a /56, what one customer of a network commonly has. */
export function prefixOf(address: string): string {
  const bytes = addressBytes(address.split("%")[0]!);
  if (bytes === null) return "unknown";
  const mapped = bytes.length === 16 && isInBlock(bytes, CARRIERS[0]!);
  return (mapped ? bytes.subarray(12, 15) : bytes.subarray(0, bytes.length === 4 ? 3 : 7)).toString("hex");
}
