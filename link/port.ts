// SPDX-License-Identifier: Apache-2.0
/**
 * The link port: three kinds of traffic between control and its hosts. `desired` goes down and is
 * pulled by generation; `observed` comes up, repeated until acknowledged; `stream` carries bytes
 * both ways for one piece of work on a live machine.
 *
 * What every implementation keeps:
 *  A. Every message is serialised, in-process too: no object is shared across the link.
 *  B. A chunk is at most CHUNK_MAX bytes and a frame at most FRAME_MAX; a larger one ends the connection.
 *  C. A sender never has more than CREDIT_BYTES unread by the other side; a slow reader slows the writer.
 *  D. Every stream ends in exactly one terminal frame, also when the connection drops (`lost`).
 *  E. `report` resolves only when control has committed what was reported; otherwise it rejects and
 *     the host says it again.
 *     The same holds of `publish`, which stands in no order with reports; nor does `findResidues`, which
 *     commits nothing.
 *  F. Desired state is level-triggered: a batch may be lost, repeated or reordered without harm.
 */
import type { ChallengeWish } from "#contract/link/challenge.ts";
import type { Desired, HostFacts, Observation, StreamRequest } from "#contract/link/machine.ts";
import type { ResidueQuestion, Residues } from "#contract/link/residues.ts";

export const LINK_VERSION = 1;
export const CHUNK_MAX = 256 * 1024;
export const FRAME_MAX = 1024 * 1024;
export const CREDIT_BYTES = 1024 * 1024;

/** How a stream ended. `lost`: the link dropped and the work's fate is unknown to the reader. */
export type StreamEnd =
  | { kind: "done"; trailer: unknown }
  | { kind: "failed"; code: string; detail: string }
  | { kind: "cancelled" }
  | { kind: "lost" };

export interface LinkStream {
  /** Resolves when the other side has granted room for the chunk; splits what is over CHUNK_MAX. Rejects after the end. */
  write(chunk: Uint8Array, channel?: number): Promise<void>;
  /** No more bytes from this side; the other side's iteration finishes. */
  finish(): void;
  /** Bytes from the other side, in order; ends at its `finish` or at the terminal frame. */
  chunks(): AsyncIterable<{ channel: number; bytes: Uint8Array }>;
  /** Asks the other side to stop; the terminal frame still follows. Idempotent. */
  cancel(): void;
  /** Serving side only: sends the terminal frame. The first call counts. */
  end(end: StreamEnd): void;
  /** Resolves with the terminal frame; never rejects. */
  readonly ended: Promise<StreamEnd>;
  /** Aborted when the opener cancelled or the link dropped. */
  readonly signal: AbortSignal;
}

/** Control's end. */
export interface ControlLink {
  /** Hosts connected now, with their newest facts. */
  hosts(): HostFacts[];
  /**
   * `complete: true` says that the batch is everything desired of this host: machines it does not
   * name are ended. Control sends one in answer to `onHost`. A host that is away gets nothing now and
   * everything when it joins.
   */
  sendDesired(hostId: string, batch: Desired[], complete?: boolean): void;
  openStream(hostId: string, request: StreamRequest): LinkStream;
  /** Ends the connection with a host, streams and all. It dials again; `onHost` decides whether it is let in. */
  drop(hostId: string): void;
  close(): Promise<void>;
}

export interface ControlHandlers {
  /**
   * The host has (re)joined or its facts changed; control answers with what it desires of it. Rejecting
   * ends the connection, and nothing was said to the host over it.
   */
  onHost(facts: HostFacts): Promise<void>;
  onHostGone(hostId: string): void;
  /** Must commit before it resolves (E). */
  onObserved(hostId: string, observations: Observation[]): Promise<void>;
  /** The same. Absent: no challenge can be published here. */
  onChallenge?(hostId: string, wish: ChallengeWish): Promise<void>;
  /** Rejects for a machine that was not given to this host. Absent: nobody looks here. */
  onResidues?(hostId: string, question: ResidueQuestion): Promise<Residues>;
}

/** The host's end. Reconnects by itself with backoff until closed. */
export interface HostLink {
  report(observations: Observation[]): Promise<void>;
  /** Rejects with control's `code` when it will not. */
  publish(wish: ChallengeWish): Promise<void>;
  /** What control's database still holds of a machine. Rejects when control will not or cannot say. */
  findResidues(question: ResidueQuestion): Promise<Residues>;
  /** Announces changed facts. */
  announce(facts: HostFacts): void;
  close(): Promise<void>;
}

export interface HostHandlers {
  /** Also called after every reconnect with the whole desired set of this host (`complete: true`). */
  onDesired(batch: Desired[], complete: boolean): void;
  onStream(request: StreamRequest, stream: LinkStream): void;
}
