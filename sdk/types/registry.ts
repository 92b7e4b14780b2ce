// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by `npm run generate`; not edited by hand.
/** Casemate registry: every operation by its id. */
export interface Operations {
  /** Whether this is a registry, and the key is good */
  "registry.check": {
    method: "GET";
    path: "/v2/";
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "limits.rate";
  };
  /** Repositories of the account, in lexical order */
  "registry.repositories.list": {
    method: "GET";
    path: "/v2/_catalog";
    query: {
      n?: number;
      last?: string;
    };
    answers: {
      200: {
        repositories: string[];
      };
    };
    errors: "identity.unauthorized" | "limits.rate";
  };
  /** The digest and size of a manifest */
  "registry.manifests.head": {
    method: "HEAD";
    path: "/v2/:name/manifests/:reference";
    params: OfManifest;
    answers: {
      200: undefined;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate";
  };
  /** Read a manifest by tag or digest */
  "registry.manifests.get": {
    method: "GET";
    path: "/v2/:name/manifests/:reference";
    params: OfManifest;
    answers: {
      200: unknown;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "registry.manifest-unknown";
  };
  /** Push a manifest whose blobs are in the repository, and let a tag name it */
  "registry.manifests.put": {
    method: "PUT";
    path: "/v2/:name/manifests/:reference";
    params: OfManifest;
    body: Uint8Array;
    answers: {
      201: undefined;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "request.too-large" | "request.media-type" | "blob.digest" | "registry.manifest-invalid" | "registry.manifest-blob-unknown" | "registry.limit";
  };
  /** Remove a tag, or a manifest with all its tags */
  "registry.manifests.delete": {
    method: "DELETE";
    path: "/v2/:name/manifests/:reference";
    params: OfManifest;
    answers: {
      202: undefined;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "registry.manifest-unknown";
  };
  /** Tags in lexical order */
  "registry.tags.list": {
    method: "GET";
    path: "/v2/:name/tags/list";
    params: InRepository;
    query: {
      n?: number;
      last?: string;
    };
    answers: {
      200: {
        name: string;
        tags: string[];
      };
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate";
  };
  /** Manifests whose subject this digest is */
  "registry.referrers.list": {
    method: "GET";
    path: "/v2/:name/referrers/:digest";
    params: OfBlob;
    query: {
      artifactType?: string;
      last?: string;
    };
    answers: {
      200: Index;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "blob.digest";
  };
  /** Whether a blob is there, and its size */
  "registry.blobs.head": {
    method: "HEAD";
    path: "/v2/:name/blobs/:digest";
    params: OfBlob;
    answers: {
      200: undefined;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate";
  };
  /** Read a blob, or a range of it */
  "registry.blobs.get": {
    method: "GET";
    path: "/v2/:name/blobs/:digest";
    params: OfBlob;
    answers: {
      200: Uint8Array;
      206: Uint8Array;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "blob.digest" | "registry.blob-unknown" | "blob.range";
  };
  /** Remove a blob that no manifest needs */
  "registry.blobs.delete": {
    method: "DELETE";
    path: "/v2/:name/blobs/:digest";
    params: OfBlob;
    answers: {
      202: undefined;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "blob.digest" | "registry.blob-unknown" | "registry.blob-in-use";
  };
  /** Begin an upload, push a whole blob, or mount one of another repository of the account */
  "registry.uploads.start": {
    method: "POST";
    path: "/v2/:name/blobs/uploads/";
    params: InRepository;
    query: {
      digest?: string;
      mount?: string;
      from?: string;
    };
    body: Uint8Array;
    answers: {
      201: undefined;
      202: undefined;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "blob.digest" | "registry.limit";
  };
  /** How far an upload came */
  "registry.uploads.get": {
    method: "GET";
    path: "/v2/:name/blobs/uploads/:upload";
    params: OfUpload;
    answers: {
      204: undefined;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "blob.upload-unknown";
  };
  /** Append to an upload */
  "registry.uploads.append": {
    method: "PATCH";
    path: "/v2/:name/blobs/uploads/:upload";
    params: OfUpload;
    body: Uint8Array;
    answers: {
      202: undefined;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "blob.upload-unknown" | "registry.upload-invalid" | "blob.upload-busy" | "blob.size" | "blob.range" | "registry.limit";
  };
  /** End an upload, perhaps with its last piece */
  "registry.uploads.finish": {
    method: "PUT";
    path: "/v2/:name/blobs/uploads/:upload";
    params: OfUpload;
    query: {
      digest?: string;
    };
    body: Uint8Array;
    answers: {
      201: undefined;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "blob.upload-unknown" | "registry.upload-invalid" | "blob.upload-busy" | "blob.size" | "blob.range" | "registry.limit" | "blob.digest";
  };
  /** Give an upload up */
  "registry.uploads.delete": {
    method: "DELETE";
    path: "/v2/:name/blobs/uploads/:upload";
    params: OfUpload;
    answers: {
      204: undefined;
    };
    errors: "identity.unauthorized" | "registry.name-invalid" | "registry.name-unknown" | "limits.rate" | "blob.upload-unknown";
  };
}

/** What an answer of status 400 and above holds. */
export type Failure = ErrorBody;

export interface ErrorBody {
  errors: ({
    code: string;
    message: string;
    detail: {
      requestId: string;
    };
  })[];
}

export interface InRepository {
  name: string;
}

export interface Index {
  schemaVersion: 2;
  mediaType: "application/vnd.oci.image.index.v1+json";
  manifests: ({
    mediaType: string;
    digest: string;
    size: number;
    artifactType?: string;
    annotations?: Record<string, string>;
  })[];
}

export interface OfBlob {
  name: string;
  digest: string;
}

export interface OfManifest {
  name: string;
  reference: string;
}

export interface OfUpload {
  name: string;
  upload: string;
}
