// SPDX-License-Identifier: Apache-2.0
/**
 * What a workload's machine is started with when it attests itself: the launch manifest, made from the same words as the
 * document for containers is, and the same by everybody who has the compose file, the files and the names.
 */
import { createHash } from "node:crypto";
import type { LaunchPayload } from "#contract/link/payload.ts";
import { type LaunchManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import type { ComposePlan } from "./compose/check.ts";
import { decodeBase64 } from "./compose/files.ts";
import { registriesOf } from "./images.ts";
import type { Given } from "./payload.ts";

export interface LaunchOf {
  domain: string;
  custom: string | null;
  diskGb: number;
}

export interface Launch {
  manifest: Uint8Array;
  sha256: string;
}

const sha256 = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Of what was judged: the plan is that of the given compose file. */
export function launchOf(
  given: Pick<Given, "dockerCompose" | "files" | "publicService" | "publicPort" | "pins">,
  plan: Pick<ComposePlan, "images">,
  { domain, custom, diskGb }: LaunchOf,
): Launch {
  const pins = given.pins ?? {};
  const images = plan.images.flatMap(({ service, image, pinned }) => {
    const reference = Object.hasOwn(pins, image) ? pins[image]! : pinned ? image : null;
    return reference === null ? [] : [[service, reference] as const];
  });
  const manifest: LaunchManifest = {
    v: 1,
    compose: sha256(given.dockerCompose),
    files: Object.fromEntries(
      Object.entries(given.files).map(([name, body]) => [name, sha256(decodeBase64(body)!)]),
    ),
    domains: custom === null ? [domain] : [domain, custom],
    publicService: given.publicService,
    publicPort: given.publicPort,
    images: Object.fromEntries(images),
    stateDisk: diskGb > 0,
  };
  const bytes = manifestBytes(manifest);
  return { manifest: bytes, sha256: sha256(bytes) };
}

export const toLaunchPayload = (
  launch: Launch,
  image: string,
  given: Given,
  plan: Pick<ComposePlan, "images">,
): LaunchPayload => ({
  kind: "launch",
  manifest: Buffer.from(launch.manifest).toString("base64"),
  image,
  registries: [...new Set([...registriesOf(given.pins ?? {}), ...plan.images.flatMap(onLoopback)])].slice(
    0,
    DOORS_MAX,
  ),
});

/** On the host's loopback: from inside a machine there is no other way there than a door, which its operator allows or not. */
const onLoopback = ({ image }: { image: string }): string[] => {
  const server = image.split("/", 1)[0]!;
  return image.includes("/") && /^(127(\.[0-9]{1,3}){3}|localhost):[0-9]{1,5}$/.test(server) ? [server] : [];
};
const DOORS_MAX = 8;
