// SPDX-License-Identifier: Apache-2.0
/**
 * A manifest as its sender wrote it, read once and judged. The attacker is whoever pushes: what a
 * manifest names is fetched by the engines of hosts, so it names nothing but blobs of this registry.
 */
import { Fault } from "#contract/errors.ts";
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from "#contract/registry/vocabulary.ts";
import { isDigest } from "../../blobs/digest.ts";
import type { Digest } from "../../blobs/port.ts";

export interface Part {
  digest: Digest;
  sizeBytes: number;
}

export interface ManifestDocument {
  mediaType: string;
  /** Blobs that must be in the repository, each once. */
  blobs: Part[];
  /** Manifests that must be in the repository, each once. */
  manifests: Part[];
  subject: Digest | null;
  artifactType: string | null;
  annotations: Record<string, string> | null;
}

const PARTS_MAX = 1_000;
/** Annotations are shown in lists of referrers, many at a time. */
const ANNOTATIONS_MAX = 64 * 1024;
const DEPTH_MAX = 32;
const INDEXES = [OCI_INDEX, DOCKER_LIST];
const IMAGES = [OCI_MANIFEST, DOCKER_MANIFEST];

export function readManifest(bytes: Buffer, contentType: string | undefined): ManifestDocument {
  const mediaType = (contentType ?? "").split(";")[0]!.trim();
  const isIndex = INDEXES.includes(mediaType);
  if (!isIndex && !IMAGES.includes(mediaType))
    throw new Fault("request.media-type", { expected: [...IMAGES, ...INDEXES].join(", ") });
  const document = parse(bytes);
  if (document.schemaVersion !== 2) throw invalid("schemaVersion must be 2");
  if (document.mediaType !== undefined && document.mediaType !== mediaType)
    throw invalid("mediaType is another than the request's Content-Type");
  const subject = document.subject === undefined ? null : partOf(document.subject, "subject").digest;
  const config = isIndex ? null : partOf(document.config, "config");
  return {
    mediaType,
    blobs: isIndex ? [] : distinct([config!, ...partsOf(document.layers, "layers")]),
    manifests: isIndex ? distinct(partsOf(document.manifests, "manifests")) : [],
    subject,
    artifactType: textOf(document.artifactType, "artifactType") ?? mediaTypeOf(document.config),
    annotations: annotationsOf(document.annotations, subject !== null),
  };
}

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function parse(bytes: Buffer): Json {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw invalid("it is not JSON");
  }
  if (!isObject(document)) throw invalid("it is not an object");
  refuseDepth(document);
  return document;
}

function refuseDepth(document: unknown): void {
  let level = [document];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEPTH_MAX) throw invalid(`it is nested deeper than ${DEPTH_MAX}`);
    level = level.flatMap((each) => (typeof each === "object" && each !== null ? Object.values(each) : []));
  }
}

function partsOf(value: unknown, path: string): Part[] {
  if (!Array.isArray(value)) throw invalid(`${path} must be a list`);
  if (value.length > PARTS_MAX) throw invalid(`${path} can have ${PARTS_MAX} entries at most`);
  return value.map((each, at) => partOf(each, `${path}.${at}`));
}

function partOf(value: unknown, path: string): Part {
  if (!isObject(value)) throw invalid(`${path} must be a descriptor`);
  const { digest, size, urls, mediaType } = value;
  if (typeof digest !== "string" || !isDigest(digest)) throw invalid(`${path}.digest must be sha256:…`);
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw invalid(`${path}.size must be a size`);
  if (typeof mediaType !== "string" || mediaType.length > 255) throw invalid(`${path}.mediaType is missing`);
  // An engine may fetch from there instead, from where it stands.
  if (Array.isArray(urls) ? urls.length > 0 : urls !== undefined && urls !== null)
    throw invalid(`${path}.urls: what an image consists of is pushed here, and fetched from nowhere else`);
  return { digest, sizeBytes: size as number };
}

function distinct(parts: Part[]): Part[] {
  const bySize = new Map<Digest, Part>();
  for (const part of parts) {
    const known = bySize.get(part.digest);
    if (known !== undefined && known.sizeBytes !== part.sizeBytes)
      throw invalid(`${part.digest} is given two sizes`);
    bySize.set(part.digest, part);
  }
  return [...bySize.values()];
}

function textOf(value: unknown, path: string): string | null {
  if (value === undefined || value === null || value === "") return null;
  if (typeof value !== "string" || value.length > 255 || value.includes("\0"))
    throw invalid(`${path} must be a media type`);
  return value;
}

const mediaTypeOf = (config: unknown): string | null =>
  isObject(config) ? textOf(config.mediaType, "config.mediaType") : null;

function annotationsOf(value: unknown, shown: boolean): Record<string, string> | null {
  if (value === undefined || value === null) return null;
  if (!isObject(value) || Object.values(value).some((each) => typeof each !== "string"))
    throw invalid("annotations must be texts by name");
  if (!shown) return null;
  const text = JSON.stringify(value);
  if (text.length > ANNOTATIONS_MAX) throw invalid(`annotations are larger than ${ANNOTATIONS_MAX} bytes`);
  if (text.includes("\\u0000")) throw invalid("annotations hold a NUL");
  return value as Record<string, string>;
}

const invalid = (what: string) =>
  new Fault("registry.manifest-invalid", { detail: `The manifest is refused: ${what}.` });
