// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by `npm run generate`; not edited by hand.
/** Casemate models: every operation by its id. */
export interface Operations {
  /** Upload a model */
  "models.functions.create": {
    method: "POST";
    path: "/cpt/functions";
    body: Uint8Array;
    answers: {
      201: ModelFunction;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "request.malformed" | "request.media-type" | "request.too-large" | "catalogue.not-found" | "models.full";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Remove an alias; `default` stays */
  "models.aliases.delete": {
    method: "DELETE";
    path: "/cpt/function/:uuid/alias/:name";
    params: {
      uuid: string;
      name: string;
    };
    answers: {
      200: Record<string, number>;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found" | "models.not-owner" | "request.invalid";
  };
  /** Delete a model with all its versions */
  "models.functions.delete": {
    method: "DELETE";
    path: "/cpt/function/:uuid";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found" | "models.not-owner" | "function.deployed";
  };
  /** How many models there are, and how much they take */
  "models.functions.statistics": {
    method: "GET";
    path: "/cpt/functions/statistics";
    answers: {
      200: {
        Total: number;
        ByStatus: Record<string, number>;
        ByCatalogue: Record<string, number>;
        StorageBytes: number;
        /** Null: no limit */
        StorageBytesMax: number | null;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** One model */
  "models.functions.get": {
    method: "GET";
    path: "/cpt/function/:uuid";
    params: OfItem;
    query: {
      /** Answer when it has this status, or one of several with commas between, or `ended`; or at the timeout. */
      wait?: string;
      /** Seconds to wait; default 30. */
      timeout?: number;
    };
    answers: {
      200: ModelFunction;
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found";
  };
  /** What was found in the newest version, and each rule it breaks */
  "models.functions.validation": {
    method: "GET";
    path: "/cpt/function/:uuid/validation";
    params: OfItem;
    query: {
      Version?: number;
    };
    answers: {
      200: Validation;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found" | "function.not-read";
  };
  /** One version */
  "models.versions.get": {
    method: "GET";
    path: "/cpt/function/:uuid/version/:number";
    params: {
      uuid: string;
      number: string;
    };
    answers: {
      200: Version;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found";
  };
  /** Models that the caller may see */
  "models.functions.list": {
    method: "GET";
    path: "/cpt/functions";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      q?: string;
      Catalogue?: string;
      Customization?: string;
      Status?: "new" | "queued" | "processing" | "ok" | "error";
      Kind?: "detector" | "classifier" | "alarm" | "other";
      Tag?: string;
    };
    answers: {
      200: ModelFunction[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Versions of a model, newest first */
  "models.versions.list": {
    method: "GET";
    path: "/cpt/function/:uuid/versions";
    params: OfItem;
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: Version[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found";
  };
  /** Change what is said of a model; with a file, a new version of it */
  "models.functions.change": {
    method: "PATCH";
    path: "/cpt/function/:uuid";
    params: OfItem;
    body: Uint8Array;
    answers: {
      200: ModelFunction;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found" | "models.not-owner" | "request.precondition" | "request.too-large" | "catalogue.not-found" | "models.full";
  };
  /** Point an alias at a version */
  "models.aliases.put": {
    method: "PUT";
    path: "/cpt/function/:uuid/alias/:name";
    params: {
      uuid: string;
      name: string;
    };
    body: {
      Version: number;
    };
    answers: {
      200: Record<string, number>;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found" | "models.not-owner";
  };
  /** Upload a model (other spelling) */
  "models.functions.create.alias": {
    method: "POST";
    path: "/cpt/function";
    body: Uint8Array;
    answers: {
      201: ModelFunction;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "request.malformed" | "request.media-type" | "request.too-large" | "catalogue.not-found" | "models.full";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** One model (other spelling) */
  "models.functions.get.alias": {
    method: "GET";
    path: "/cpt/functions/:uuid";
    params: OfItem;
    query: {
      /** Answer when it has this status, or one of several with commas between, or `ended`; or at the timeout. */
      wait?: string;
      /** Seconds to wait; default 30. */
      timeout?: number;
    };
    answers: {
      200: ModelFunction;
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found";
  };
  /** Change what is said of a model; with a file, a new version of it (other spelling) */
  "models.functions.change.alias": {
    method: "PATCH";
    path: "/cpt/functions/:uuid";
    params: OfItem;
    body: Uint8Array;
    answers: {
      200: ModelFunction;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found" | "models.not-owner" | "request.precondition" | "request.too-large" | "catalogue.not-found" | "models.full";
  };
  /** Delete a model with all its versions (other spelling) */
  "models.functions.delete.alias": {
    method: "DELETE";
    path: "/cpt/functions/:uuid";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found" | "models.not-owner" | "function.deployed";
  };
  /** Cancel a conversion */
  "models.conversions.cancel": {
    method: "DELETE";
    path: "/cpt/conversion/:uuid";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "conversion.not-found" | "models.not-owner" | "conversion.over";
  };
  /** Progress as it happens (server-sent events) */
  "models.conversions.events": {
    method: "GET";
    path: "/cpt/conversion/:uuid/events";
    params: OfItem;
    answers: {
      200: string;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "conversion.not-found";
  };
  /** Convert the newest version, repaired first if options say how */
  "models.conversions.create": {
    method: "POST";
    path: "/cpt/function/:uuid/conversions";
    params: OfItem;
    body: {
      Targets: string[];
      Options?: ConversionOptions;
    };
    answers: {
      201: Conversion[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found" | "models.not-owner" | "function.not-read";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** The bytes of an artefact, or a range of them */
  "models.artifacts.content": {
    method: "GET";
    path: "/cpt/artifact/:uuid/content";
    params: OfItem;
    answers: {
      200: Uint8Array;
      206: Uint8Array;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.artifact-not-found" | "blob.range";
  };
  /** How far a conversion is */
  "models.conversions.get": {
    method: "GET";
    path: "/cpt/conversion/:uuid";
    params: OfItem;
    query: {
      /** Answer when it has this status, or one of several with commas between, or `ended`; or at the timeout. */
      wait?: string;
      /** Seconds to wait; default 30. */
      timeout?: number;
    };
    answers: {
      200: Conversion;
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "conversion.not-found";
  };
  /** Whether an artefact is there, and its size */
  "models.artifacts.head": {
    method: "HEAD";
    path: "/cpt/artifact/:uuid/content";
    params: OfItem;
    answers: {
      200: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.artifact-not-found" | "blob.range";
  };
  /** Take the oldest job of one of these targets */
  "models.conversions.lease": {
    method: "POST";
    path: "/cpt/conversions/lease";
    body: {
      Targets: string[];
    };
    answers: {
      200: {
        Conversion: Conversion;
        Source: {
          URL: string;
          SHA256: string;
          Size: number;
          MediaType: string;
        };
        /** For the header X-Lease */
        Lease: string;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
      };
      204: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Artefacts of the newest version */
  "models.artifacts.list": {
    method: "GET";
    path: "/cpt/function/:uuid/artifacts";
    params: OfItem;
    query: {
      Version?: number;
    };
    answers: {
      200: Artifact[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found";
  };
  /** Conversions of a model, newest first */
  "models.conversions.list": {
    method: "GET";
    path: "/cpt/function/:uuid/conversions";
    params: OfItem;
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: Conversion[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found";
  };
  /** Keys that sign artefacts */
  "models.keys": {
    method: "GET";
    path: "/cpt/keys";
    answers: {
      200: {
        keys: ({
          kty: string;
          crv: string;
          kid: string;
          x: string;
        })[];
      };
    };
    errors: "limits.rate";
  };
  /** Hand in what a leased job made */
  "models.conversions.artifact": {
    method: "PUT";
    path: "/cpt/conversion/:uuid/artifact";
    params: OfItem;
    body: Uint8Array;
    answers: {
      201: Artifact;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "conversion.not-found" | "conversion.lease" | "request.too-large" | "models.full";
  };
  /** Try a conversion again that failed or was cancelled */
  "models.conversions.retry": {
    method: "POST";
    path: "/cpt/conversion/:uuid/retry";
    params: OfItem;
    answers: {
      200: Conversion;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "conversion.not-found" | "models.not-owner" | "conversion.under-way";
  };
  /** Put a model into a catalogue (other spelling) */
  "models.catalogues.add": {
    method: "POST";
    path: "/cpt/catalogues/:uuid/functions";
    params: OfItem;
    body: {
      FunctionUUID: string;
    };
    answers: {
      200: Catalogue;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "catalogue.not-found" | "models.not-owner" | "function.not-found";
  };
  /** Make a catalogue */
  "models.catalogues.create": {
    method: "POST";
    path: "/cpt/catalogues";
    body: {
      Name: string;
      Visibility?: "private" | "organization" | "public";
      /** Who sees it besides its owner */
      Organisations?: string[];
    };
    answers: {
      201: Catalogue;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Delete a catalogue that is empty */
  "models.catalogues.delete": {
    method: "DELETE";
    path: "/cpt/catalogue/:uuid";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "catalogue.not-found" | "models.not-owner" | "catalogue.not-empty";
  };
  /** One catalogue, with the models in it */
  "models.catalogues.get": {
    method: "GET";
    path: "/cpt/catalogue/:uuid";
    params: OfItem;
    answers: {
      200: {
        UUID: string;
        Name: string;
        Visibility: "private" | "organization" | "public";
        Organisation: {
          UUID: string;
          Name: string;
        };
        Organisations: string[];
        FunctionCount: number;
        /** UTC, ISO 8601 */
        CreatedAt: string;
        /** UTC, ISO 8601 */
        UpdatedAt: string;
        Functions: ({
          UUID: string;
          Name: string;
          Status: string;
        })[];
      };
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "catalogue.not-found";
  };
  /** Catalogues that the caller may see */
  "models.catalogues.list": {
    method: "GET";
    path: "/cpt/catalogues";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      q?: string;
    };
    answers: {
      200: Catalogue[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Rename a catalogue, or show it to others */
  "models.catalogues.change": {
    method: "PATCH";
    path: "/cpt/catalogue/:uuid";
    params: OfItem;
    body?: {
      Name?: string;
      Visibility?: "private" | "organization" | "public";
      /** Who sees it besides its owner */
      Organisations?: string[];
    };
    answers: {
      200: Catalogue;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "catalogue.not-found" | "models.not-owner" | "organization.not-found" | "request.precondition";
  };
  /** Put a model into a catalogue */
  "models.catalogues.put": {
    method: "PUT";
    path: "/cpt/catalogue/:uuid/function/:function";
    params: {
      uuid: string;
      function: string;
    };
    answers: {
      200: Catalogue;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "catalogue.not-found" | "models.not-owner" | "function.not-found";
  };
  /** Take a model out of a catalogue */
  "models.catalogues.take": {
    method: "DELETE";
    path: "/cpt/catalogue/:uuid/function/:function";
    params: {
      uuid: string;
      function: string;
    };
    answers: {
      200: Catalogue;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "catalogue.not-found" | "models.not-owner" | "function.not-found";
  };
  /** One catalogue, with the models in it (other spelling) */
  "models.catalogues.get.alias": {
    method: "GET";
    path: "/cpt/catalogues/:uuid";
    params: OfItem;
    answers: {
      200: {
        UUID: string;
        Name: string;
        Visibility: "private" | "organization" | "public";
        Organisation: {
          UUID: string;
          Name: string;
        };
        Organisations: string[];
        FunctionCount: number;
        /** UTC, ISO 8601 */
        CreatedAt: string;
        /** UTC, ISO 8601 */
        UpdatedAt: string;
        Functions: ({
          UUID: string;
          Name: string;
          Status: string;
        })[];
      };
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "catalogue.not-found";
  };
  /** Rename a catalogue, or show it to others (other spelling) */
  "models.catalogues.change.alias": {
    method: "PATCH";
    path: "/cpt/catalogues/:uuid";
    params: OfItem;
    body?: {
      Name?: string;
      Visibility?: "private" | "organization" | "public";
      /** Who sees it besides its owner */
      Organisations?: string[];
    };
    answers: {
      200: Catalogue;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "catalogue.not-found" | "models.not-owner" | "organization.not-found" | "request.precondition";
  };
  /** Delete a catalogue that is empty (other spelling) */
  "models.catalogues.delete.alias": {
    method: "DELETE";
    path: "/cpt/catalogues/:uuid";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "catalogue.not-found" | "models.not-owner" | "catalogue.not-empty";
  };
  /** What is possible here */
  "models.configuration": {
    method: "GET";
    path: "/cpt/configuration";
    answers: {
      200: {
        Targets: string[];
        ExternalTargets: string[];
        MaxUploadBytes: number;
        MaxOpset: number;
        Postprocessors: string[];
        ResizeMethods: string[];
        ChainModes: string[];
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Measure a model here, or keep what was measured elsewhere */
  "models.benchmarks.create": {
    method: "POST";
    path: "/cpt/function/:uuid/benchmarks";
    params: OfItem;
    body?: {
      Artifact?: string;
      Hardware?: string;
      Runtime?: string;
      BatchSize?: number;
      P50?: number;
      P95?: number;
      P99?: number;
      PeakRSS?: number;
      LoadMs?: number;
      Samples?: number;
    };
    answers: {
      201: {
        UUID: string;
        Artifact: string | null;
        Hardware: string;
        Runtime: string;
        BatchSize: number;
        P50: number;
        P95: number;
        P99: number;
        PeakRSS: number;
        LoadMs: number;
        Samples: number;
        CreatedBy: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found" | "function.not-ready" | "models.not-owner" | "models.refused" | "models.unconfined";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Run a model once */
  "models.infer": {
    method: "POST";
    path: "/cpt/function/:uuid/infer";
    params: OfItem;
    query: {
      Threshold?: number;
      ResizeMethod?: "Letterbox" | "Stretch" | "Crop";
    };
    body: Uint8Array;
    answers: {
      200: {
        model_name: string;
        model_version: string;
        outputs: ({
          name: string;
          shape: number[];
          datatype: string;
          data: unknown[];
        })[];
        Detections: ({
          Class: string;
          Score: number;
          Box: number[];
        })[];
        TimingMs: Record<string, number>;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found" | "function.not-ready" | "models.refused" | "models.unconfined";
  };
  /** Models that a site may put into a pipeline */
  "models.available": {
    method: "GET";
    path: "/cpt/rpc/pipelines/available/:siteId";
    params: {
      siteId: string;
    };
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ModelFunction[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found";
  };
  /** Models that a site may put into a pipeline */
  "models.available.customization": {
    method: "GET";
    path: "/cpt/rpc/pipelines/available/:siteId/:customization";
    params: {
      siteId: string;
      customization: string;
    };
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ModelFunction[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found";
  };
  /** How fast a model was measured to be */
  "models.benchmarks.list": {
    method: "GET";
    path: "/cpt/function/:uuid/benchmarks";
    params: OfItem;
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ({
        UUID: string;
        Artifact: string | null;
        Hardware: string;
        Runtime: string;
        BatchSize: number;
        P50: number;
        P95: number;
        P99: number;
        PeakRSS: number;
        LoadMs: number;
        Samples: number;
        CreatedBy: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "function.not-found";
  };
}

/** What an answer of status 400 and above holds. */
export type Failure = {
  Message: string;
  Field?: {
    Name: string;
    Message: string;
  };
  AuthorizationInvalid?: boolean;
  UUID?: string;
  /** Stable; of a closed vocabulary */
  Code: string;
  RequestID: string;
};

export interface Artifact {
  UUID: string;
  MediaType: string;
  URL: string;
  SHA256: string;
  Size: number;
  /** Ed25519 over what GET /cpt/keys says, base64 */
  Signature: string;
  KeyID: string;
  Target: string;
  Version: number;
  Status: "ok";
  Deviation: Deviation | null;
  /** UTC, ISO 8601 */
  CreatedAt: string;
}

export interface Catalogue {
  UUID: string;
  Name: string;
  Visibility: "private" | "organization" | "public";
  Organisation: {
    UUID: string;
    Name: string;
  };
  Organisations: string[];
  FunctionCount: number;
  /** UTC, ISO 8601 */
  CreatedAt: string;
  /** UTC, ISO 8601 */
  UpdatedAt: string;
}

export interface Conversion {
  UUID: string;
  Function: string;
  Version: number;
  Target: string;
  Options: ConversionOptions;
  Status: "queued" | "processing" | "ok" | "error" | "cancelled";
  Progress: number;
  Log: string;
  Rules: ({
    Id: string;
    Level: "error" | "warning" | "info";
    Message: string;
  })[];
  StartedAt: string | null;
  FinishedAt: string | null;
  Artifact: Artifact | null;
}

export interface ConversionOptions {
  level?: "basic" | "extended";
  scheme?: "weight-only";
  freeze?: Record<string, number>;
  renames?: Record<string, string>;
}

export interface Deviation {
  MaxAbsolute: number | null;
  MaxRelative: number | null;
  Mismatches: number;
  Samples: number;
}

export interface Download {
  UUID: string;
  MediaType: string;
  URL: string;
  SHA256: string;
  Size: number;
  /** Ed25519 over what GET /cpt/keys says, base64 */
  Signature: string;
  KeyID: string;
}

export interface InputDetails {
  channels?: number;
  height?: number;
  width?: number;
  means?: number[];
  /** The scale of each channel */
  vars?: number[];
  /** 0 = NCHW, 1 = NHWC */
  order?: number;
}

export interface ModelFunction {
  UUID: string;
  Name: string;
  Alias: string;
  Documentation: string;
  Customization: string;
  Kind: string;
  InputDriver: string;
  /** value = (pixel - mean) / scale */
  InputDriverDetails: InputDetails;
  OutputDriver: string;
  OutputDriverDetails: {
    postProcessing?: string;
  };
  NamedInput: ({
    Name: string;
    DataType: string;
    Shape: (number | string)[];
  })[];
  NamedOutput: ({
    Name: string;
    DataType: string;
    Shape: (number | string)[];
  })[];
  Classes: string[];
  EnableConversions: string[];
  Status: "new" | "queued" | "processing" | "ok" | "error";
  Code: {
    Status: string;
    CDNURI: string;
  };
  Downloads: Download[];
  Catalogues: ({
    UUID: string;
    Name: string;
  })[];
  Tags: string[];
  Version: number;
  Aliases: Record<string, number>;
  SourceName: string;
  SourceUrl: string;
  Organisation: {
    UUID: string;
    Name: string;
  };
  /** UTC, ISO 8601 */
  CreatedAt: string;
  /** UTC, ISO 8601 */
  UpdatedAt: string;
}

export interface OfItem {
  uuid: string;
}

export interface Reply {
  Message: string;
  UUID: string;
}

export interface Validation {
  Conforms: boolean;
  Rules: ({
    Id: string;
    Level: "error" | "warning" | "info";
    Message: string;
  })[];
  Opset: number | null;
  IRVersion: number | null;
  Producer: string;
  Operators: Record<string, number>;
  Parameters: number;
  Inputs: ({
    Name: string;
    DataType: string;
    Shape: (number | string)[];
  })[];
  Outputs: ({
    Name: string;
    DataType: string;
    Shape: (number | string)[];
  })[];
  Classes: string[];
  Repair: {
    Renames: Record<string, string>;
    Freeze: Record<string, number | null>;
  } | null;
}

export interface Version {
  Number: number;
  SHA256: string;
  Size: number;
  /** UTC, ISO 8601 */
  CreatedAt: string;
  CreatedBy: string;
  Validation: Validation | null;
  Notes: string;
}
