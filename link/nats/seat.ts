// SPDX-License-Identifier: Apache-2.0
/**
 * One host, as one replica of control sees it: at most one connection, and the facts it joined with.
 *
 * Invariants:
 *  A. The host is who its credentials say (the id comes from the subject). Facts that name another host
 *     end the connection: a host that was taken over must not stand in for its neighbour.
 *  B. A new connection replaces the one before, which is closed first: whoever comes back is the truth.
 *  C. `onHostGone` is called once for each connection that had joined, before the next one joins.
 *  D. Reports waiting for the handler are counted over all connections of the host, so that leaving and
 *     coming back does not buy room. Those of one connection are handled in their order.
 */
import type { HostFacts } from "#contract/link/machine.ts";
import { answerReport, isSaid, type Said } from "../answer-report.ts";
import type { Connection } from "../connection.ts";
import { LinkFault, type Message, parseHello } from "../message.ts";
import { type ControlHandlers, LINK_VERSION } from "../port.ts";
import { connectionOver, type Pipe } from "./pipe.ts";

const REPORTS_WAITING_MAX = 256;

export interface SeatOptions {
  hostId: string;
  handlers: ControlHandlers;
  heartbeatMs: number;
  onFault: (error: unknown, hostId: string) => void;
}

export class Seat {
  readonly #options: SeatOptions;
  #connection: Connection | undefined;
  #joined: { facts: HostFacts; connection: Connection } | undefined;
  #waiting = 0;

  constructor(options: SeatOptions) {
    this.#options = options;
  }

  get facts(): HostFacts | undefined {
    return this.#joined?.facts;
  }

  get connection(): Connection | undefined {
    return this.#joined?.connection;
  }

  take(pipe: Pipe): void {
    this.close(new LinkFault("link.replaced", "the host joined again"));
    let turn = Promise.resolve();
    const connection: Connection = connectionOver(
      pipe,
      {
        onFirst: ({ header, payload }) => {
          const { v } = parseHello({ header, payload });
          if (v === LINK_VERSION) {
            connection.send({ t: "welcome", v: LINK_VERSION } as Message);
            return;
          }
          const reason = new LinkFault("link.version-unknown", `link version ${v} is not spoken here`);
          connection.sendLast({ t: "refused", code: reason.code, detail: reason.message } as Message, reason);
        },
        onTalk: (message) => {
          const joined = this.#joined?.connection === connection;
          if (message.t === "joined" && !joined) this.#join(connection, message.facts);
          else if (message.t === "facts" && joined) this.#join(connection, message.facts);
          else if (isSaid(message) && joined) {
            if (this.#waiting >= REPORTS_WAITING_MAX)
              throw new LinkFault("link.malformed", "a flood of reports");
            this.#waiting += 1;
            // Reports in their order. They do not wait for the rest: a challenge may wait for somebody else's name server.
            if (message.t === "observed") turn = turn.then(() => this.#answer(connection, message));
            else void this.#answer(connection, message);
          } else throw new LinkFault("link.malformed", `${message.t} is not for control now`);
        },
        onClosed: (reason) => {
          if (this.#connection === connection) this.#connection = undefined;
          this.#leave(connection);
          this.#options.onFault(reason, this.#options.hostId);
        },
      },
      this.#options.heartbeatMs,
    );
    this.#connection = connection;
  }

  close(reason: Error): void {
    this.#connection?.close(reason);
  }

  #join(connection: Connection, facts: HostFacts): void {
    const { hostId, handlers, onFault } = this.#options;
    if (facts.hostId !== hostId)
      throw new LinkFault("link.malformed", "facts of a host that the credentials are not for");
    this.#joined = { facts, connection };
    handlers.onHost(structuredClone(facts)).catch((error) => {
      // Without control's answer the host would work on nothing: it joins again, later.
      onFault(error, hostId);
      connection.close(new LinkFault("link.join-failed", "control could not take the host in"));
    });
  }

  #leave(connection: Connection): void {
    if (this.#joined?.connection !== connection) return;
    this.#joined = undefined;
    this.#options.handlers.onHostGone(this.#options.hostId);
  }

  async #answer(connection: Connection, said: Said): Promise<void> {
    try {
      await answerReport({ ...this.#options, connection }, said);
    } finally {
      this.#waiting -= 1;
    }
  }
}
