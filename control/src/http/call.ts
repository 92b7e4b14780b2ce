// SPDX-License-Identifier: Apache-2.0
/** What an operation is called with and what it answers; nothing of the HTTP library passes this line. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import type { RawBuilder } from "kysely";
import type { Static, TObject } from "typebox";
import type { BodyOf, Operation, QueryOf } from "#contract/operation.ts";
import type { Account, Actor, Principal } from "../core/identity/index.ts";

export interface Call<O extends Operation = Operation> {
  requestId: string;
  /** Whose idempotency keys count: an account, one actor in it, or the operator, who has none. */
  owner: string;
  /** Throws for public and admin operations: they have no account. */
  account: Account;
  /** Who acts, and for whom, on `bearer` operations; throws on others. `account` is that party's. */
  actor: Actor;
  principal: Principal | null;
  params: O extends { params: infer P extends TObject } ? Static<P> : Record<string, never>;
  query: QueryOf<O>;
  body: BodyOf<O>;
  /** The untouched bytes, for `raw` operations. */
  raw: Buffer;
  /** The body as it arrives, for `bytes` operations. */
  stream: Readable;
  /** The same as the parts of a form; throws when it is none. A file must be read before the next part comes. */
  parts(): AsyncIterable<FormPart>;
  headers: IncomingHttpHeaders;
  address: string;
  /**
   * Clause `once` of a statement: it has a row unless this very request was in effect before, by its
   * Idempotency-Key. For what must not happen twice, whatever dies in between.
   */
  once: RawBuilder<unknown>;
  /** Random, and the same when this very request is taken up after its process died; null without a key. */
  seed: Buffer | null;
  /** It died after `once`: what it made has the ids of this seed (idempotency.ts), and is only to be shown. */
  inEffect: boolean;
  /** What was in effect is so no more: who comes with this key does it anew. */
  undone(): Promise<void>;
  /** The database's clock when the caller was recognised. */
  now: Date;
  /** Aborted when the client goes away. */
  signal: AbortSignal;
  /** What the route's `ahead` was answered. */
  ahead?: Promise<unknown> | undefined;
}

export type FormPart =
  | { type: "field"; fieldname: string; value: unknown }
  | { type: "file"; fieldname: string; filename: string; file: Readable };

export type Answer = { status: number; headers?: Record<string, string> } & (
  | { body?: unknown; bytes?: undefined; events?: undefined; download?: undefined; writes?: undefined }
  | { bytes: Uint8Array; mediaType: string }
  /** Server-sent events: the generator is closed when the client goes. */
  | { events: AsyncGenerator<ServerEvent> }
  /** Bytes as they come; what has been sent cannot be taken back, so a failure cuts the connection. */
  | { download: AsyncIterable<Uint8Array>; mediaType: string }
  /** A library of its own writes all of the answer, the status too. */
  | { writes: (request: IncomingMessage, reply: ServerResponse) => Promise<void> }
);

export interface ServerEvent {
  id?: string;
  event: string;
  data: unknown;
}

export interface Route {
  operation: Operation;
  handle(call: Call): Promise<Answer>;
  /**
   * A look-up that needs nothing but the path, asked in the same breath as who the caller is. Whoever
   * is not recognised is refused without its answer, and may have made us ask.
   */
  ahead?(params: unknown): Promise<unknown>;
}

/** Binds an operation to its handler with the types of the contract. */
export const route = <O extends Operation>(
  operation: O,
  handle: (call: Call<O>) => Promise<Answer>,
  ahead?: (params: unknown) => Promise<unknown>,
): Route => ({
  operation,
  handle: handle as unknown as Route["handle"],
  ...(ahead !== undefined && { ahead }),
});
