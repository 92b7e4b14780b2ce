// SPDX-License-Identifier: Apache-2.0
/** What anyone may know of the hosts: the certificates, and whether there are any. */
import { Fault } from "#contract/errors.ts";
import type {
  caCertificate,
  guestImage as guestImageOperation,
  guestImageTransparency as guestImageTransparencyOperation,
  health as healthOperation,
} from "#contract/workloads/workloads.ts";
import { isLogged } from "../../core/attestation/index.ts";
import { findInclusion } from "../../core/log/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { inclusionAnswer } from "../../http/inclusion.ts";
import type { Deps } from "./deps.ts";

/** A host without root is set up for sessions only and says nothing of containers. */
const NONE = "no host here runs containers: they need one that runs as root, beside a Docker engine";

export async function ca({ fleet }: Pick<Deps, "fleet">, _call: Call<typeof caCertificate>): Promise<Answer> {
  const all = new Set(
    fleet.facts().flatMap(({ ingress }) => (ingress === undefined ? [] : [ingress.caPem.trim()])),
  );
  return { status: 200, bytes: Buffer.from([...all, ""].join("\n")), mediaType: "application/x-pem-file" };
}

/** The last of each chain: what a host's machines' TPMs all stand under. */
export async function tpmRoots({ fleet }: Pick<Deps, "fleet">): Promise<Answer> {
  const roots = fleet
    .facts()
    .flatMap(({ drivers }) => drivers.flatMap(({ endorsers }) => endorsers?.at(-1) ?? []));
  const pem = [...new Set(roots)].map(
    (der) =>
      `-----BEGIN CERTIFICATE-----\n${der.replace(/.{64}(?=.)/g, "$&\n")}\n-----END CERTIFICATE-----\n`,
  );
  return { status: 200, bytes: Buffer.from(pem.join("")), mediaType: "application/x-pem-file" };
}

/** There is no secret in an image: everybody who judges a machine needs to know what it was made from. */
export async function guestImage(
  { guestImages }: Pick<Deps, "guestImages">,
  { params }: Call<typeof guestImageOperation>,
): Promise<Answer> {
  const image = guestImages.ofHash(params.sha256);
  if (image === null) throw new Fault("guest-image.not-found");
  return { status: 200, bytes: Buffer.from(image.text()), mediaType: "application/json" };
}

/** Asked for one that is in the log and in no folder here any more, too: what was used is what the reader asks about. */
export async function guestImageTransparency(
  { db, guestImages }: Pick<Deps, "db" | "guestImages">,
  { params, query }: Call<typeof guestImageTransparencyOperation>,
): Promise<Answer> {
  const found = await findInclusion(db.soft, { image: params.sha256 }, query);
  if (
    found === "pending" &&
    guestImages.ofHash(params.sha256) === null &&
    !(await isLogged(db.soft, params.sha256))
  )
    throw new Fault("guest-image.not-found");
  return inclusionAnswer(found);
}

export async function health(
  { fleet }: Pick<Deps, "fleet">,
  _call: Call<typeof healthOperation>,
): Promise<Answer> {
  const kept = fleet
    .facts()
    .flatMap(({ drivers }) => drivers.filter(({ isolation }) => isolation !== "process"));
  const ready = kept.filter((driver) => driver.ready);
  return {
    status: 200,
    body: {
      status: "ok",
      hosts: fleet.held().length,
      isolations: [...new Set(ready.map(({ isolation }) => isolation))],
      missing: kept.length === 0 ? [NONE] : [...new Set(kept.flatMap(({ missing }) => missing ?? []))],
    },
  };
}
