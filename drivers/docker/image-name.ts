// SPDX-License-Identifier: Apache-2.0
/**
 * Names of images, always whole: `caddy:2` becomes `docker.io/library/caddy:2`. A short name may also
 * be read as the beginning of an image's id, and by an id a client could run what another client
 * pulled with a password.
 */
import { refuse } from "./refuse.ts";

export interface ImageName {
  /** With registry, and tag or digest. */
  full: string;
  /** As people write it, for progress: `caddy:2`. */
  short: string;
  registry: string;
  /** Registry and path, without tag and digest. */
  repository: string;
}

const DEFAULT_REGISTRY = "docker.io";
const PATH = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const HOST = /^[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d{1,5})?$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

export function parseImage(text: string, path: string): ImageName {
  const no = () => refuse(`${path}.image`, "is not the name of an image");
  if (text.length > 512) no();
  const [name, digest, ...more] = text.split("@") as [string, string | undefined];
  if (more.length > 0 || (digest !== undefined && !DIGEST.test(digest))) no();
  const colon = name.lastIndexOf(":");
  const tagged = colon > name.lastIndexOf("/");
  const tag = tagged ? name.slice(colon + 1) : null;
  const untagged = tagged ? name.slice(0, colon) : name;
  const slash = untagged.indexOf("/");
  const first = untagged.slice(0, Math.max(slash, 0));
  const hasHost = slash > 0 && (/[.:]/.test(first) || first === "localhost");
  const registry = hasHost ? first : DEFAULT_REGISTRY;
  const rest = hasHost ? untagged.slice(slash + 1) : untagged;
  if (!HOST.test(registry) || !PATH.test(rest) || (tag !== null && !TAG.test(tag))) no();
  // `sha256:…` and 64 hexadecimal digits are ids.
  if (!hasHost && (/^[0-9a-f]{64}$/.test(rest) || (rest === "sha256" && tag !== null))) no();
  const official = registry === DEFAULT_REGISTRY && !rest.includes("/");
  const repository = `${registry}/${official ? `library/${rest}` : rest}`;
  const version = digest === undefined ? `:${tag ?? "latest"}` : `${tag === null ? "" : `:${tag}`}@${digest}`;
  return { full: repository + version, short: text, registry: registryKey(registry), repository };
}

/** One name for what people write in many ways: `https://index.docker.io/v1/` is `docker.io`. */
export function registryKey(server: string): string {
  const host = server
    .replace(/^https?:\/\//, "")
    .split("/")[0]!
    .toLowerCase();
  return ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", ""].includes(host)
    ? DEFAULT_REGISTRY
    : host;
}
