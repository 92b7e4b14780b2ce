// SPDX-License-Identifier: Apache-2.0
/** Models, which this API calls functions: uploaded, listed, changed, with versions and aliases. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation, spelled } from "../operation.ts";
import { WAIT } from "../waiting.ts";
import {
  KINDS,
  ModelFunction,
  OfItem,
  Reply,
  STATUSES,
  UPLOAD_MAX,
  Uuid,
  Validation,
  Version,
} from "./vocabulary.ts";

const reads = { surface: "models", access: "bearer", scope: "models:read", tag: "Functions" } as const;
const writes = { ...reads, scope: "models:write" } as const;
const found = [...TOKEN_ERRORS, "function.not-found"] as const;
const changes = [...found, "models.not-owner"] as const;
/** Besides the file: boundaries, headers of parts, and `data`. */
const FORM_MAX = UPLOAD_MAX + 4 * 1024 * 1024;

export const listFunctions = operation({
  ...reads,
  id: "models.functions.list",
  method: "GET",
  path: "/cpt/functions",
  summary: "Models that the caller may see",
  query: Type.Object({
    ...Paging,
    q: Type.Optional(Type.String({ maxLength: 200 })),
    Catalogue: Type.Optional(Uuid),
    Customization: Type.Optional(Type.String({ maxLength: 100 })),
    Status: Type.Optional(Type.Enum([...STATUSES])),
    Kind: Type.Optional(Type.Enum([...KINDS])),
    Tag: Type.Optional(Type.String({ maxLength: 100 })),
  }),
  responses: { 200: { description: "Models", schema: Type.Array(ModelFunction) } },
  errors: TOKEN_ERRORS,
});

export const createFunction = operation({
  ...writes,
  id: "models.functions.create",
  method: "POST",
  path: "/cpt/functions",
  summary: "Upload a model",
  description:
    "multipart/form-data: `data` is JSON (Name, and what else is said of it), `file` the model, .onnx, .ort, .tflite or .zip. It is looked at afterwards; Status says how far that is, and `validation` what was found.",
  bodyKind: "bytes",
  bodyMediaType: "multipart/form-data",
  bodyLimit: FORM_MAX,
  responses: { 201: { description: "The model", schema: ModelFunction } },
  errors: [
    ...TOKEN_ERRORS,
    "request.malformed",
    "request.media-type",
    "request.too-large",
    "catalogue.not-found",
    "models.full",
  ],
  example: {
    curl: `curl -H "Authorization: Bearer $TOKEN" -F 'data={"Name":"Cats"};type=application/json' -F file=@cats.onnx $URL/cpt/functions`,
  },
  idempotent: true,
});

export const getFunction = operation({
  ...reads,
  id: "models.functions.get",
  method: "GET",
  path: "/cpt/function/:uuid",
  summary: "One model",
  params: OfItem,
  query: Type.Object(WAIT),
  responses: { 200: { description: "The model", schema: ModelFunction }, 304: { description: "As it was" } },
  errors: found,
});

export const patchFunction = operation({
  ...writes,
  id: "models.functions.change",
  method: "PATCH",
  path: "/cpt/function/:uuid",
  summary: "Change what is said of a model; with a file, a new version of it",
  description: "JSON, or multipart/form-data as at the upload, of which either part may be missing.",
  params: OfItem,
  bodyKind: "bytes",
  bodyMediaType: "multipart/form-data",
  bodyLimit: FORM_MAX,
  responses: { 200: { description: "The model", schema: ModelFunction } },
  errors: [...changes, "request.precondition", "request.too-large", "catalogue.not-found", "models.full"],
});

export const deleteFunction = operation({
  ...writes,
  id: "models.functions.delete",
  method: "DELETE",
  path: "/cpt/function/:uuid",
  summary: "Delete a model with all its versions",
  description:
    "Not while devices of its owner run it. What only devices of others run is withdrawn: nobody sees it any more, who runs it runs on, and it is deleted when nobody does, after 90 days at the latest.",
  params: OfItem,
  responses: { 200: { description: "It is gone", schema: Reply } },
  errors: [...changes, "function.deployed"],
});

export const functionStatistics = operation({
  ...reads,
  id: "models.functions.statistics",
  method: "GET",
  path: "/cpt/functions/statistics",
  summary: "How many models there are, and how much they take",
  responses: {
    200: {
      description: "Counts",
      schema: Type.Object({
        Total: Type.Integer(),
        ByStatus: Type.Record(Type.String(), Type.Integer()),
        ByCatalogue: Type.Record(Type.String(), Type.Integer()),
        StorageBytes: Type.Integer(),
        StorageBytesMax: Type.Union([Type.Integer(), Type.Null()], { description: "Null: no limit" }),
      }),
    },
  },
  errors: TOKEN_ERRORS,
});

export const getValidation = operation({
  ...reads,
  id: "models.functions.validation",
  method: "GET",
  path: "/cpt/function/:uuid/validation",
  summary: "What was found in the newest version, and each rule it breaks",
  params: OfItem,
  query: Type.Object({ Version: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })) }),
  responses: { 200: { description: "The report", schema: Validation } },
  errors: [...found, "function.not-read"],
});

export const listVersions = operation({
  ...reads,
  id: "models.versions.list",
  method: "GET",
  path: "/cpt/function/:uuid/versions",
  summary: "Versions of a model, newest first",
  params: OfItem,
  query: Type.Object(Paging),
  responses: { 200: { description: "Versions", schema: Type.Array(Version) } },
  errors: found,
});

const OfVersion = Type.Object({ uuid: Uuid, number: Type.String({ pattern: "^[1-9][0-9]{0,6}$" }) });
export const getVersion = operation({
  ...reads,
  id: "models.versions.get",
  method: "GET",
  path: "/cpt/function/:uuid/version/:number",
  summary: "One version",
  params: OfVersion,
  responses: { 200: { description: "The version", schema: Version } },
  errors: found,
});

const Aliases = Type.Record(Type.String(), Type.Integer());
const OfAlias = Type.Object({ uuid: Uuid, name: Type.String({ pattern: "^[A-Za-z0-9._-]{1,64}$" }) });
export const putAlias = operation({
  ...writes,
  id: "models.aliases.put",
  method: "PUT",
  path: "/cpt/function/:uuid/alias/:name",
  summary: "Point an alias at a version",
  params: OfAlias,
  body: Type.Object(
    { Version: Type.Integer({ minimum: 1, maximum: 1_000_000 }) },
    { additionalProperties: false },
  ),
  responses: { 200: { description: "All aliases", schema: Aliases } },
  errors: changes,
});

export const deleteAlias = operation({
  ...writes,
  id: "models.aliases.delete",
  method: "DELETE",
  path: "/cpt/function/:uuid/alias/:name",
  summary: "Remove an alias; `default` stays",
  params: OfAlias,
  responses: { 200: { description: "All aliases", schema: Aliases } },
  errors: [...changes, "request.invalid"],
});

export const OTHER_SPELLINGS = {
  createFunction: spelled(createFunction, "/cpt/function"),
  getFunction: spelled(getFunction, "/cpt/functions/:uuid"),
  patchFunction: spelled(patchFunction, "/cpt/functions/:uuid"),
  deleteFunction: spelled(deleteFunction, "/cpt/functions/:uuid"),
};
