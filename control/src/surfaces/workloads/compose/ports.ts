// SPDX-License-Identifier: Apache-2.0
/**
 * Ports. 80 and 443 of a machine belong to its ingress, which serves the attestation report beside the
 * payload: a container that took them could answer for the attester. A host address would choose among
 * interfaces that the tenant is not told of.
 */
import { type Json, type Place, table } from "./place.ts";

const RESERVED: readonly number[] = [80, 443];
/** Docker keeps a rule, and perhaps a process, for each. */
export const PUBLISHED_MAX = 100;
const RANGE = /^(\d{1,5})(?:-(\d{1,5}))?$/;

interface Range {
  from: number;
  to: number;
}

function parseRange(text: string): Range | null {
  const found = RANGE.exec(text);
  if (found === null) return null;
  const from = Number(found[1]);
  const to = Number(found[2] ?? found[1]);
  return from >= 1 && to <= 65535 && from <= to ? { from, to } : null;
}

const written = ({ from, to }: Range) => (from === to ? String(from) : `${from}-${to}`);
const size = ({ from, to }: Range) => to - from + 1;
const RULE = "A port is written as published:target, such as 8081:80, with ports from 1 to 65535.";

/** Short and long form; given to Docker in the short one. */
export function readPort(at: Place): Json | undefined {
  return at.item.kind === "map" ? readLong(at) : readShort(at);
}

function readShort(at: Place): string | undefined {
  const text = at.scalar();
  if (text === undefined) return undefined;
  const [ports = "", protocol = "tcp", ...more] = text.split("/");
  const parts = ports.split(":");
  if (more.length > 0 || (protocol !== "tcp" && protocol !== "udp")) {
    return at.refuse("The protocol of a port is tcp or udp.");
  }
  if (parts.length > 2) return at.refuse("A port cannot be bound to an address of the host.");
  const target = parseRange(parts.at(-1)!);
  const published = parts.length === 2 ? parseRange(parts[0]!) : undefined;
  if (target === null || published === null) return at.refuse(RULE);
  return publish(at, published, target, protocol);
}

const LONG = table<(at: Place) => Json | undefined>({
  target: (at) => at.number({ min: 1, max: 65535 }),
  published: (at) => at.scalar(),
  protocol: (at) => at.oneOf("tcp", "udp"),
  mode: (at) => at.oneOf("host", "ingress"),
  name: (at) => at.string(),
  app_protocol: (at) => at.string(),
});
const LONG_REFUSED = table({ host_ip: "A port cannot be bound to an address of the host." });

function readLong(at: Place): string | undefined {
  const before = at.sheet.findings.violations.length;
  const port = at.fields(LONG, LONG_REFUSED);
  if (port === undefined || at.sheet.findings.violations.length > before) return undefined;
  if (port.target === undefined) return at.refuse("A port needs a target.");
  const target = { from: Number(port.target), to: Number(port.target) };
  const published = port.published === undefined ? undefined : parseRange(String(port.published));
  if (published === null) return at.refuse(RULE);
  return publish(at, published, target, String(port.protocol ?? "tcp"));
}

function publish(
  at: Place,
  published: Range | undefined,
  target: Range,
  protocol: string,
): string | undefined {
  for (const port of RESERVED) {
    if (published && published.from <= port && port <= published.to) {
      return at.refuse(
        "Ports 80 and 443 are the platform's; name the container's port as the public one instead.",
      );
    }
  }
  if (published && size(published) !== size(target) && size(target) !== 1) {
    return at.refuse("Both ranges of a port must have the same length.");
  }
  at.sheet.published += size(target);
  if (at.sheet.published > PUBLISHED_MAX) {
    return at.refuse(`A document can publish ${PUBLISHED_MAX} ports at most.`);
  }
  return `${published ? `${written(published)}:` : ""}${written(target)}/${protocol}`;
}

/** A port that other services may know of. */
export function readExposed(at: Place): string | undefined {
  const text = at.scalar();
  if (text === undefined) return undefined;
  const [ports = "", protocol, ...more] = text.split("/");
  const range = parseRange(ports);
  const known = protocol === undefined || protocol === "tcp" || protocol === "udp";
  if (range === null || !known || more.length > 0) {
    return at.refuse("This must be a port, or a range of ports, perhaps with /tcp or /udp.");
  }
  at.sheet.published += size(range);
  if (at.sheet.published > PUBLISHED_MAX)
    return at.refuse(`A document can name ${PUBLISHED_MAX} ports at most.`);
  return `${written(range)}${protocol === undefined ? "" : `/${protocol}`}`;
}
