// SPDX-License-Identifier: Apache-2.0
/**
 * One operation of a surface, written once. Routes, validation, OpenAPI, SDK types and the test that
 * walks every operation all come from these values.
 */
import type { Static, TObject, TSchema } from "typebox";
import type { ErrorCode } from "./errors.ts";

export type Surface =
  | "sessions"
  | "workloads"
  | "instances"
  | "inference"
  | "platform"
  | "registry"
  | "oauth"
  | "identity"
  | "models"
  | "devices";
/**
 * Who may call it: `key` is a key of this surface, `account` a key of any surface that was not narrowed,
 * `admin` the operator's, `either` `key` or `admin`, `host` a host's own key, `hostOrAdmin` that or the
 * operator's, `server` an edge server's own key, `serverOrAnyone` that or none at all, `bearer` an access token of ours, acting for whom its headers say, `public` anyone (limited by
 * address).
 */
export type Access =
  | "public"
  | "key"
  | "account"
  | "admin"
  | "either"
  | "host"
  | "hostOrAdmin"
  | "server"
  | "serverOrAnyone"
  | "bearer"
  | "signed";
export type BodyKind = "json" | "bytes" | "none" | "raw";

export interface Operation {
  id: string;
  surface: Surface;
  method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With `:name` parameters; a last `*` takes the rest of the path. On the registry surface `:name` spans slashes. */
  path: string;
  access: Access;
  /**
   * The scope a key needs; a key made for the surface has all of that surface's scopes unless narrowed. Of
   * `bearer` operations what the caller must be allowed in the name of whom they act for.
   */
  scope?: string;
  tag: string;
  summary: string;
  description?: string;
  params?: TObject;
  query?: TObject;
  body?: TSchema;
  bodyKind: BodyKind;
  /** What the document says a body is, where its kind does not. */
  bodyMediaType?: string;
  /** Bytes; larger is 413. */
  bodyLimit: number;
  /** Status → schema of a success. */
  responses: Record<number, { description: string; schema?: TSchema; mediaType?: string }>;
  errors: readonly ErrorCode[];
  /** Takes Idempotency-Key. */
  idempotent: boolean;
  /** Adds nothing to the database although its method could: answered also when there is no room. */
  storesNothing?: true;
  /** Requests per minute and address, for public operations and who needs no key. */
  perAddressRpm?: number;
  example?: { body?: unknown; curl?: string };
}

export const MEBIBYTE = 1024 * 1024;

type Optional = "bodyKind" | "bodyLimit" | "errors" | "idempotent";

export function operation<const O extends Omit<Operation, Optional> & Partial<Pick<Operation, Optional>>>(
  given: O,
) {
  const bodyKind: BodyKind = given.bodyKind ?? (given.body === undefined ? "none" : "json");
  return { bodyLimit: MEBIBYTE, errors: [], idempotent: false, ...given, bodyKind } as O &
    Pick<Operation, Optional>;
}

/** The same operation under another spelling that clients use. */
export const spelled = <O extends Operation & { params?: TObject }>(one: O, path: string): O => ({
  ...one,
  id: `${one.id}.alias`,
  path,
  summary: `${one.summary} (other spelling)`,
});

export type BodyOf<O extends { body?: TSchema }> = O extends { body: infer B extends TSchema }
  ? Static<B>
  : undefined;
export type QueryOf<O extends { query?: TObject }> = O extends { query: infer Q extends TObject }
  ? Static<Q>
  : Record<string, never>;
