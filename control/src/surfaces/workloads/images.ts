// SPDX-License-Identifier: Apache-2.0
/**
 * Images of this installation's own registry. Their tags are read once, when a workload is given them,
 * and a host is told the digest: what runs later is what was there then, whoever moves the tag meanwhile.
 * Who read which tag, as what, and when, is an event and in the journal.
 */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { resolveImage } from "../../core/images/index.ts";
import type { ComposePlan } from "./compose/check.ts";
import type { Deps } from "./deps.ts";

/** Name as the compose file has it → the same image by its digest. */
export type Pins = Record<string, string>;

export interface Resolution {
  image: string;
  digest: string;
}

/** Reads what `known` does not know yet; refuses what is not there, with all places where it is named. */
export async function pinImages(
  { db, registryHost }: Pick<Deps, "db" | "registryHost">,
  account: string,
  { images }: ComposePlan,
  known: Pins = {},
): Promise<{ pins: Pins; resolved: Resolution[] }> {
  const pins: Pins = {};
  const resolved: Resolution[] = [];
  const issues: { path: string; message: string }[] = [];
  const registry = registryHost();
  for (const { service, image } of images) {
    const before = Object.hasOwn(pins, image) ? pins[image] : known[image];
    if (before !== undefined) {
      pins[image] = before;
      continue;
    }
    const found = await resolveImage(db.run, { account, registry, image });
    if (found === "elsewhere") continue;
    if (found === "missing") {
      issues.push({
        path: `services.${service}.image`,
        message: "There is no such image in your repositories here.",
      });
      continue;
    }
    pins[image] = found.pinned;
    resolved.push({ image, digest: found.digest });
  }
  if (issues.length > 0)
    throw new Fault("workload.compose", { detail: `${issues[0]!.path}: ${issues[0]!.message}` }, { issues });
  return { pins, resolved };
}

/** The checked document with the digests in it. */
export function withPins(document: Readonly<Record<string, unknown>>, pins: Pins): Record<string, unknown> {
  const services = Object.entries(document.services as Record<string, { image?: string }>).map(
    ([name, service]) => {
      const pin =
        service.image !== undefined && Object.hasOwn(pins, service.image) ? pins[service.image] : undefined;
      return [name, pin === undefined ? service : { ...service, image: pin }] as const;
    },
  );
  return { ...document, services: Object.fromEntries(services) };
}

/** The registries that a host needs a key for. */
export const registriesOf = (pins: Pins): string[] => [
  ...new Set(Object.values(pins).map((pinned) => pinned.split("/")[0]!)),
];

/** What the journal and the events say of it: `by` is the key's id. */
export const resolutionPayload = (resolved: readonly Resolution[], by: string): Record<string, unknown> =>
  resolved.length === 0 ? {} : { images: resolved, by };

/** Rows of `workload_events` for a workload whose id is the one row of the clause `subject`, to be inserted. */
export const resolutionEvents = (
  subject: RawBuilder<unknown>,
  resolved: readonly Resolution[],
  by: string,
): RawBuilder<unknown> => sql`
  select s.id, 'imageResolved', jsonb_build_object(
    'message', i.image || ' is ' || i.digest, 'image', i.image, 'digest', i.digest, 'by', ${by}::text)
  from ${subject} s, jsonb_to_recordset(${JSON.stringify(resolved)}::jsonb) as i (image text, digest text)`;
