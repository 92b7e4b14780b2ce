// SPDX-License-Identifier: Apache-2.0
/** Manifests, their tags and their referrers. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import {
  Index,
  InRepository,
  MANIFEST_MAX,
  OCI_INDEX,
  OCI_MANIFEST,
  OfBlob,
  OfManifest,
} from "./vocabulary.ts";

const base = {
  surface: "registry",
  access: "key",
  tag: "Manifests",
  errors: ["identity.unauthorized", "registry.name-invalid", "registry.name-unknown", "limits.rate"],
} as const;
const writes = { ...base, scope: "registry:push" } as const;
const MANIFEST = "/v2/:name/manifests/:reference";
const page = {
  n: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000 })),
  last: Type.Optional(Type.String({ maxLength: 512 })),
};

export const checkRegistry = operation({
  ...base,
  id: "registry.check",
  tag: "Registry",
  method: "GET",
  path: "/v2/",
  summary: "Whether this is a registry, and the key is good",
  responses: { 200: { description: "Both", schema: Type.Object({}) } },
  errors: ["identity.unauthorized", "limits.rate"],
});

export const listRepositories = operation({
  ...base,
  id: "registry.repositories.list",
  tag: "Registry",
  method: "GET",
  path: "/v2/_catalog",
  summary: "Repositories of the account, in lexical order",
  query: Type.Object(page),
  responses: {
    200: { description: "Names", schema: Type.Object({ repositories: Type.Array(Type.String()) }) },
  },
  errors: ["identity.unauthorized", "limits.rate"],
});

export const headManifest = operation({
  ...base,
  id: "registry.manifests.head",
  method: "HEAD",
  path: MANIFEST,
  summary: "The digest and size of a manifest",
  params: OfManifest,
  responses: { 200: { description: "It is there" } },
});

export const getManifest = operation({
  ...base,
  id: "registry.manifests.get",
  method: "GET",
  path: MANIFEST,
  summary: "Read a manifest by tag or digest",
  params: OfManifest,
  responses: { 200: { description: "The bytes that were pushed", mediaType: OCI_MANIFEST } },
  errors: [...base.errors, "registry.manifest-unknown"],
});

export const putManifest = operation({
  ...writes,
  id: "registry.manifests.put",
  method: "PUT",
  path: MANIFEST,
  summary: "Push a manifest whose blobs are in the repository, and let a tag name it",
  params: OfManifest,
  bodyKind: "raw",
  bodyLimit: MANIFEST_MAX,
  responses: { 201: { description: "Docker-Content-Digest says its digest" } },
  errors: [
    ...base.errors,
    "request.too-large",
    "request.media-type",
    "blob.digest",
    "registry.manifest-invalid",
    "registry.manifest-blob-unknown",
    "registry.limit",
  ],
});

export const deleteManifest = operation({
  ...writes,
  id: "registry.manifests.delete",
  method: "DELETE",
  path: MANIFEST,
  summary: "Remove a tag, or a manifest with all its tags",
  params: OfManifest,
  responses: { 202: { description: "Removed" } },
  errors: [...base.errors, "registry.manifest-unknown"],
});

export const listTags = operation({
  ...base,
  id: "registry.tags.list",
  tag: "Tags",
  method: "GET",
  path: "/v2/:name/tags/list",
  summary: "Tags in lexical order",
  params: InRepository,
  query: Type.Object(page),
  responses: {
    200: {
      description: "Tags; Link names the next page",
      schema: Type.Object({ name: Type.String(), tags: Type.Array(Type.String()) }),
    },
  },
});

export const listReferrers = operation({
  ...base,
  id: "registry.referrers.list",
  tag: "Referrers",
  method: "GET",
  path: "/v2/:name/referrers/:digest",
  summary: "Manifests whose subject this digest is",
  params: OfBlob,
  query: Type.Object({
    artifactType: Type.Optional(Type.String({ maxLength: 255 })),
    last: Type.Optional(Type.String({ maxLength: 71 })),
  }),
  responses: { 200: { description: "An index of them", mediaType: OCI_INDEX, schema: Index } },
  errors: [...base.errors, "blob.digest"],
});
