// SPDX-License-Identifier: Apache-2.0
/** Words of the registry surface. Source: OCI Distribution Specification 1.1, and Docker's names of media types. */
import { Type } from "typebox";

export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
export const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";

/** Bytes of a manifest; larger ones the specification lets a registry refuse. */
export const MANIFEST_MAX = 4 * 1024 * 1024;
/** A blob is bounded by what its account may store. */
export const BLOB_MAX = Number.MAX_SAFE_INTEGER;
export const NAME_MAX = 255;

const PART = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
export const REPOSITORY = new RegExp(`^${PART}(?:/${PART})*$`);
export const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
export const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** What a path names, as text: each is judged by the operation, since each has an error of its own. */
const Part = Type.String({ maxLength: 512 });
export const InRepository = Type.Object({ name: Part });
export const OfBlob = Type.Object({ name: Part, digest: Part });
export const OfUpload = Type.Object({ name: Part, upload: Part });
export const OfManifest = Type.Object({ name: Part, reference: Part });

const Descriptor = Type.Object({
  mediaType: Type.String(),
  digest: Type.String(),
  size: Type.Integer(),
  artifactType: Type.Optional(Type.String()),
  annotations: Type.Optional(Type.Record(Type.String(), Type.String())),
});
export const Index = Type.Object({
  schemaVersion: Type.Literal(2),
  mediaType: Type.Literal(OCI_INDEX),
  manifests: Type.Array(Descriptor),
});

export const ErrorBody = Type.Object({
  errors: Type.Array(
    Type.Object({
      code: Type.String({ pattern: "^[A-Z_]+$" }),
      message: Type.String(),
      detail: Type.Object({ requestId: Type.String() }),
    }),
  ),
});
