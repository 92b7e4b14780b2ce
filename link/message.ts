// SPDX-License-Identifier: Apache-2.0
/**
 * What frames may say. Everything from the other side is parsed here, once; an unknown kind, an extra
 * member or a value out of range is a LinkFault and ends the connection. The attacker held off is a
 * host that was taken over and speaks to control, or a process that found its way to the socket.
 */
import { type Static, type TSchema, Type } from "typebox";
import { Compile } from "typebox/compile";
import { ChallengeWish } from "#contract/link/challenge.ts";
import { Desired, HostFacts, Observation, StreamRequest } from "#contract/link/machine.ts";
import { ResidueQuestion, Residues } from "#contract/link/residues.ts";
import type { Frame } from "./frame.ts";
import { CREDIT_BYTES, LINK_VERSION } from "./port.ts";

export class LinkFault extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const message = <K extends string, P extends Record<string, TSchema>>(t: K, members: P) =>
  Type.Object({ t: Type.Literal(t), ...members }, { additionalProperties: false });

const StreamId = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const ReportId = StreamId;

const End = Type.Union([
  Type.Object({ kind: Type.Literal("done"), trailer: Type.Unknown() }),
  Type.Object(
    { kind: Type.Literal("failed"), code: Type.String(), detail: Type.String() },
    { additionalProperties: false },
  ),
  Type.Object({ kind: Type.Literal("cancelled") }, { additionalProperties: false }),
]);

/** The first frame of a connection, before the versions are known to agree: only `v` may be relied on. */
const Hello = Type.Object({ t: Type.Literal("hello"), v: Type.Integer({ minimum: 1 }) });

const MESSAGES = {
  joined: message("joined", { facts: HostFacts }),
  welcome: message("welcome", { v: Type.Literal(LINK_VERSION) }),
  refused: message("refused", { code: Type.String(), detail: Type.String() }),
  facts: message("facts", { facts: HostFacts }),
  ping: message("ping", {}),
  /** `more`: the batch goes on in the next frame. */
  desired: message("desired", {
    batch: Type.Array(Desired),
    complete: Type.Boolean(),
    more: Type.Boolean(),
  }),
  observed: message("observed", { id: ReportId, observations: Type.Array(Observation) }),
  /** Answered like a report, by the same numbers. */
  challenge: message("challenge", { id: ReportId, wish: ChallengeWish }),
  /** Answered by `found` or `rejected`. */
  residues: message("residues", { id: ReportId, question: ResidueQuestion }),
  committed: message("committed", { id: ReportId }),
  found: message("found", { id: ReportId, residues: Residues }),
  rejected: message("rejected", { id: ReportId, code: Type.String() }),
  open: message("open", { s: StreamId, request: StreamRequest }),
  data: message("data", { s: StreamId, c: Type.Integer({ minimum: 0, maximum: 255 }) }),
  credit: message("credit", { s: StreamId, n: Type.Integer({ minimum: 1, maximum: CREDIT_BYTES }) }),
  finish: message("finish", { s: StreamId }),
  cancel: message("cancel", { s: StreamId }),
  end: message("end", { s: StreamId, end: End }),
};

type Messages = typeof MESSAGES;
export type Message = { [K in keyof Messages]: Static<Messages[K]> }[keyof Messages];

const checks = new Map(
  Object.entries(MESSAGES).map(([kind, schema]) => [kind, Compile(schema as TSchema)] as const),
);
const helloCheck = Compile(Hello);

export function parseMessage(frame: Frame): Message {
  const check = checks.get(frame.header.t);
  if (!check) throw new LinkFault("link.malformed", `unknown message ${frame.header.t.slice(0, 40)}`);
  const header: unknown = frame.header;
  if (!check.Check(header)) throw new LinkFault("link.malformed", `malformed ${frame.header.t}`);
  if (frame.payload.length > 0 && frame.header.t !== "data")
    throw new LinkFault("link.malformed", `bytes on ${frame.header.t}`);
  return header as Message;
}

export function parseHello(frame: Frame): { v: number } {
  const header: unknown = frame.header;
  if (!helloCheck.Check(header)) throw new LinkFault("link.malformed", "the first message is not a hello");
  return header;
}

/** A question that was answered with `committed` was not answered. */
export function requireResidues(answer: Residues | undefined): Residues {
  if (answer === undefined) throw new LinkFault("link.malformed", "control did not say what it found");
  return answer;
}
