// SPDX-License-Identifier: Apache-2.0
/** Catalogues: named sets of models, shown to whom their organization wants. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation, spelled } from "../operation.ts";
import { Catalogue, Name, OfItem, Reply, Uuid, VISIBILITIES } from "./vocabulary.ts";

const reads = { surface: "models", access: "bearer", scope: "models:read", tag: "Catalogues" } as const;
const writes = { ...reads, scope: "models:write" } as const;
const changes = [...TOKEN_ERRORS, "catalogue.not-found", "models.not-owner"] as const;
const shown = {
  Visibility: Type.Optional(Type.Enum([...VISIBILITIES])),
  Organisations: Type.Optional(
    Type.Array(Uuid, { maxItems: 1000, description: "Who sees it besides its owner" }),
  ),
};

const CatalogueWithFunctions = Type.Object({
  ...Catalogue.properties,
  Functions: Type.Array(Type.Object({ UUID: Uuid, Name: Type.String(), Status: Type.String() })),
});

export const listCatalogues = operation({
  ...reads,
  id: "models.catalogues.list",
  method: "GET",
  path: "/cpt/catalogues",
  summary: "Catalogues that the caller may see",
  query: Type.Object({ ...Paging, q: Type.Optional(Type.String({ maxLength: 200 })) }),
  responses: { 200: { description: "Catalogues", schema: Type.Array(Catalogue) } },
  errors: TOKEN_ERRORS,
});

export const createCatalogue = operation({
  ...writes,
  id: "models.catalogues.create",
  method: "POST",
  path: "/cpt/catalogues",
  summary: "Make a catalogue",
  body: Type.Object({ Name, ...shown }, { additionalProperties: false }),
  responses: { 201: { description: "The catalogue", schema: Catalogue } },
  errors: [...TOKEN_ERRORS, "organization.not-found"],
  idempotent: true,
  example: { body: { Name: "Traffic", Visibility: "private" } },
});

export const getCatalogue = operation({
  ...reads,
  id: "models.catalogues.get",
  method: "GET",
  path: "/cpt/catalogue/:uuid",
  summary: "One catalogue, with the models in it",
  description:
    "`Functions` has those that the caller may see, by name, up to 1000; `GET /cpt/functions?Catalogue=` pages through all.",
  params: OfItem,
  responses: {
    200: { description: "The catalogue", schema: CatalogueWithFunctions },
    304: { description: "As it was" },
  },
  errors: [...TOKEN_ERRORS, "catalogue.not-found"],
});

export const patchCatalogue = operation({
  ...writes,
  id: "models.catalogues.change",
  method: "PATCH",
  path: "/cpt/catalogue/:uuid",
  summary: "Rename a catalogue, or show it to others",
  params: OfItem,
  body: Type.Object({ Name: Type.Optional(Name), ...shown }, { additionalProperties: false }),
  responses: { 200: { description: "The catalogue", schema: Catalogue } },
  errors: [...changes, "organization.not-found", "request.precondition"],
});

export const deleteCatalogue = operation({
  ...writes,
  id: "models.catalogues.delete",
  method: "DELETE",
  path: "/cpt/catalogue/:uuid",
  summary: "Delete a catalogue that is empty",
  params: OfItem,
  responses: { 200: { description: "It is gone", schema: Reply } },
  errors: [...changes, "catalogue.not-empty"],
});

const OfBoth = Type.Object({ uuid: Uuid, function: Uuid });
const placing = {
  ...writes,
  responses: { 200: { description: "The catalogue", schema: Catalogue } },
} as const;

export const putInCatalogue = operation({
  ...placing,
  id: "models.catalogues.put",
  method: "PUT",
  path: "/cpt/catalogue/:uuid/function/:function",
  summary: "Put a model into a catalogue",
  params: OfBoth,
  errors: [...changes, "function.not-found"],
});

export const takeFromCatalogue = operation({
  ...placing,
  id: "models.catalogues.take",
  method: "DELETE",
  path: "/cpt/catalogue/:uuid/function/:function",
  summary: "Take a model out of a catalogue",
  params: OfBoth,
  errors: [...changes, "function.not-found"],
});

export const addToCatalogue = operation({
  ...placing,
  id: "models.catalogues.add",
  method: "POST",
  path: "/cpt/catalogues/:uuid/functions",
  summary: "Put a model into a catalogue (other spelling)",
  params: OfItem,
  body: Type.Object({ FunctionUUID: Uuid }, { additionalProperties: false }),
  errors: [...changes, "function.not-found"],
});

export const OTHER_SPELLINGS = {
  getCatalogue: spelled(getCatalogue, "/cpt/catalogues/:uuid"),
  patchCatalogue: spelled(patchCatalogue, "/cpt/catalogues/:uuid"),
  deleteCatalogue: spelled(deleteCatalogue, "/cpt/catalogues/:uuid"),
};
