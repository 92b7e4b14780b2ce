// SPDX-License-Identifier: Apache-2.0
/**
 * The answer to one question, from zones that are ours and from nowhere else: we ask nobody, so nobody
 * can have us fetch or remember a lie.
 *
 *  A. An alias is followed only while its target is in a zone of ours, and a bounded number of times:
 *     aliases come from the database, and may point at each other.
 *  B. "No such name" and "no such record" carry the SOA, whose lifetime bounds how long they are
 *     remembered (RFC 2308). A name with names below it exists (RFC 8020).
 *  C. ANY gets one small record (RFC 8482): it was the question for those who want the largest answer.
 *  D. Names of an answer that are in the question are written as the question wrote them.
 */
import { RCODE, TYPE } from "./wire/codes.ts";
import { type DomainName, isWithin, parseName, plainText } from "./wire/domain-name.ts";
import type { Question } from "./wire/reader.ts";
import type { RecordData, ResourceRecord } from "./wire/writer.ts";
import type { Zone, Zones } from "./zones.ts";

export type LookupType = "A" | "AAAA" | "CNAME" | "TXT" | "ANY";

export type ZoneRecord = (
  | { type: "A" | "AAAA"; address: string }
  | { type: "CNAME"; target: string }
  | { type: "TXT"; texts: readonly string[] }
) & { ttlSeconds?: number };

/**
 * What is at a name (lower case, no dot at its end): null when neither it nor a name below it exists, the
 * empty list when it exists without such a record. The alias of a name is an answer to every type.
 */
export type Lookup = (name: string, type: LookupType) => Promise<readonly ZoneRecord[] | null>;

export interface Sections {
  rcode: number;
  authoritative: boolean;
  answers: ResourceRecord[];
  authorities: ResourceRecord[];
  /** May be left out where they do not fit. */
  additionals: ResourceRecord[];
}

const ALIASES_MAX = 8;
const LOOKUP_TYPES: Record<number, LookupType> = {
  [TYPE.A]: "A",
  [TYPE.AAAA]: "AAAA",
  [TYPE.CNAME]: "CNAME",
  [TYPE.TXT]: "TXT",
  [TYPE.ANY]: "ANY",
};
const NEVER: number[] = [TYPE.AXFR, TYPE.IXFR, TYPE.MAILA, TYPE.MAILB];

export interface Knowledge {
  zones: Zones;
  lookup: Lookup;
  serial(): Promise<number>;
}

export async function answer(knows: Knowledge, { name: asked, type }: Question): Promise<Sections> {
  const sections: Sections = {
    rcode: RCODE.NOERROR,
    authoritative: true,
    ...{ answers: [], authorities: [], additionals: [] },
  };
  let name = asked;
  let zone = knows.zones.find(name);
  if (zone === undefined || NEVER.includes(type))
    return { ...sections, rcode: RCODE.REFUSED, authoritative: false };

  for (let aliases = 0; zone !== undefined; aliases++) {
    const found: Found | null = await find(knows, zone, name, type);
    if (found === null || found.records.length === 0) {
      if (found === null) sections.rcode = RCODE.NXDOMAIN;
      sections.authorities.push(await soaOf(knows, zone, asked, zone.negativeTtlSeconds));
      return sections;
    }
    sections.answers.push(...found.records);
    if (type === TYPE.NS) sections.additionals.push(...serverAddresses(knows.zones, zone));
    if (found.alias === null || aliases === ALIASES_MAX) return sections;
    name = found.alias;
    zone = knows.zones.find(name);
  }
  return sections;
}

interface Found {
  records: ResourceRecord[];
  /** Where to go on. */
  alias: DomainName | null;
}

/** Null: there is no such name. */
async function find(knows: Knowledge, zone: Zone, name: DomainName, type: number): Promise<Found | null> {
  const apex = name.length === zone.origin.length;
  const record = (data: RecordData, ttlSeconds = zone.ttlSeconds): ResourceRecord => ({
    name,
    ttlSeconds,
    data,
  });
  const found = (...records: ResourceRecord[]): Found => ({ records, alias: null });
  if (apex && type === TYPE.SOA) return found(await soaOf(knows, zone, name, zone.ttlSeconds));
  if (apex && type === TYPE.NS)
    return found(...zone.nameServers.map((target) => record({ type: "NS", target })));

  const fixed = knows.zones.fixed(name);
  const text = plainText(name);
  const kept = text === null ? null : await knows.lookup(text, LOOKUP_TYPES[type] ?? "CNAME");
  if (fixed === null && kept === null) return null;
  if (type === TYPE.ANY) return found(record({ type: "HINFO", cpu: "RFC8482", os: "" }));

  const records = [
    ...(fixed ?? []).map((data) => record(data)),
    ...(kept ?? []).map((each) => record(dataOf(each), each.ttlSeconds)),
  ];
  const wanted = records.filter(({ data }) => TYPE[data.type] === type);
  if (wanted.length > 0) return found(...wanted);
  const alias = records.find(({ data }) => data.type === "CNAME");
  return alias?.data.type === "CNAME" ? { records: [alias], alias: alias.data.target } : found();
}

function dataOf(record: ZoneRecord): RecordData {
  if (record.type !== "CNAME") return record;
  const target = parseName(record.target);
  if (target === null) throw new Error("an alias to what is not a name");
  return { type: "CNAME", target };
}

/** RFC 2308, 3: with a negative answer it lives no longer than the answer itself. */
async function soaOf(
  knows: Knowledge,
  zone: Zone,
  asked: DomainName,
  ttlSeconds: number,
): Promise<ResourceRecord> {
  // D: also where only the end of the question is the zone's name.
  const name = isWithin(asked, zone.origin) ? asked.slice(asked.length - zone.origin.length) : zone.origin;
  const soa = { ...zone.soa, serial: await knows.serial() };
  return { name, ttlSeconds: Math.min(ttlSeconds, zone.ttlSeconds), data: { type: "SOA", soa } };
}

const serverAddresses = (zones: Zones, zone: Zone): ResourceRecord[] =>
  zone.nameServers.flatMap((name) =>
    (zones.fixed(name) ?? []).map((data) => ({ name, ttlSeconds: zone.ttlSeconds, data })),
  );
