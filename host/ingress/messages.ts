// SPDX-License-Identifier: Apache-2.0
/**
 * What the host and its ingress process say to each other: lines of JSON, orders on the process's
 * standard input, words on its output. The process speaks to strangers all day, so the host takes its
 * words as a stranger's: closed schemas, bounded lines. Orders are the host's and taken as they are. The
 * process imports nothing but types from here: the schemas' library is not among what it can read.
 */
import { type Static, Type } from "typebox";
import { Compile } from "typebox/compile";
import type { Limits } from "./limits.ts";
import type { IngressRoute } from "./routes.ts";

/** A certificate and its key, as the process serves them. */
export interface ServedLeaf {
  keyPem: string;
  /** With what leads to its root, when a client needs that. */
  certificatePem: string;
  notAfterMs: number;
  /** The host is asked again from then on, by the wall clock. */
  freshUntilMs: number;
}

/** What a stranger asks of `/nilcc`; `url` is the path as resolved, so that there is one spelling to look for. */
export interface AttesterAsk {
  domain: string;
  method: string;
  url: string;
}

export interface AttesterAnswer {
  status: number;
  contentType: string;
  body: string;
}

export type Order =
  | {
      op: "open";
      host: string;
      httpPort: number;
      httpsPort: number;
      limits: Limits;
      routes: readonly IngressRoute[];
    }
  | { op: "routes"; id: number; routes: readonly IngressRoute[] }
  /** Null: there is none, or it could not be made. */
  | { op: "leaf"; id: number; leaf: ServedLeaf | null }
  /** The host has another one for this domain now. */
  | { op: "renewed"; domain: string }
  /** Null: nobody ordered anything with this token. */
  | { op: "proved"; id: number; proof: string | null }
  | { op: "attested"; id: number; answer: AttesterAnswer | null };

/** What the process may have written into the host's log. */
const EVENTS = ["ingress.machine-unreachable", "ingress.attester-failed"] as const;
export type IngressEvent = (typeof EVENTS)[number];

const closed = <P extends Parameters<typeof Type.Object>[0]>(members: P) =>
  Type.Object(members, { additionalProperties: false });
const Id = Type.Integer({ minimum: 0 });
const Port = Type.Integer({ minimum: 1, maximum: 65_535 });
const Domain = Type.String({ maxLength: 253 });
const Short = Type.String({ maxLength: 1_000 });

const Word = Type.Union([
  closed({ said: Type.Literal("listening"), httpPort: Port, httpsPort: Port }),
  closed({ said: Type.Literal("deaf"), why: Short }),
  closed({ said: Type.Literal("routes"), id: Id }),
  closed({ said: Type.Literal("leaf"), id: Id, domain: Domain }),
  closed({
    said: Type.Literal("prove"),
    id: Id,
    domain: Domain,
    token: Type.String({ pattern: "^[A-Za-z0-9_-]{1,256}$" }),
  }),
  closed({
    said: Type.Literal("attest"),
    id: Id,
    ask: closed({ domain: Domain, method: Short, url: Type.String({ maxLength: 32 * 1024 }) }),
  }),
  closed({
    said: Type.Literal("event"),
    event: Type.Enum([...EVENTS]),
    facts: Type.Record(Type.String({ maxLength: 32 }), Short, { maxProperties: 4 }),
  }),
]);
export type Word = Static<typeof Word>;
const word = Compile(Word);

/** Throws when it is nothing that the process has to say. */
export function parseWord(line: string): Word {
  const said: unknown = JSON.parse(line);
  if (!word.Check(said)) throw new Error("not a word of the ingress");
  return said;
}
