// SPDX-License-Identifier: Apache-2.0
/**
 * A host's talk with one replica of control: greeting, wishes, reports, streams.
 *
 * Invariants:
 *  A. A report resolves only by that replica's `committed`. When the connection ends, every report
 *     under way on it is rejected, and the host says it again, to whichever replica there is.
 *  B. A complete list counts as complete only if no other replica has sent wishes since this one was
 *     joined. The replica reads its list after the joining; what another sent meanwhile may be younger
 *     than the list, and a machine must not be ended because an older list does not name it. Such a
 *     list is still taken as wishes. The first list after a time without control always counts.
 */
import type { ChallengeWish } from "#contract/link/challenge.ts";
import type { HostFacts, Observation } from "#contract/link/machine.ts";
import type { ResidueQuestion, Residues } from "#contract/link/residues.ts";
import type { Connection } from "../connection.ts";
import { LinkFault, type Message, parseMessage, requireResidues } from "../message.ts";
import { batchCollector, partsOf } from "../parts.ts";
import { type HostHandlers, LINK_VERSION } from "../port.ts";
import { connectionOver, type Pipe } from "./pipe.ts";

export interface TalkOptions {
  pipe: Pipe;
  replica: string;
  handlers: HostHandlers;
  heartbeatMs: number;
  facts: () => HostFacts;
  /** Batches taken from all replicas so far (B). */
  batches: { taken: number };
  onJoined: () => void;
  onClosed: (reason: Error) => void;
}

export class Talk {
  readonly replica: string;
  readonly #connection: Connection;
  readonly #reports = new Map<number, { resolve(answer?: Residues): void; reject(error: Error): void }>();
  #lastReport = 0;
  /** Batches of others when this one joined, plus its own since (B). */
  #batchesExpected = 0;

  constructor({ pipe, replica, handlers, heartbeatMs, facts, batches, onJoined, onClosed }: TalkOptions) {
    this.replica = replica;
    const collect = batchCollector();
    this.#connection = connectionOver(
      pipe,
      {
        onFirst: (frame) => {
          const answer = parseMessage(frame);
          if (answer.t === "refused") throw new LinkFault(answer.code, answer.detail);
          if (answer.t !== "welcome") throw new LinkFault("link.malformed", "neither welcomed nor refused");
          this.#batchesExpected = batches.taken;
          this.announce(facts());
          onJoined();
        },
        onTalk: (message) => {
          if (message.t === "committed") this.#answered(message.id)?.resolve();
          else if (message.t === "found") this.#answered(message.id)?.resolve(message.residues);
          else if (message.t === "rejected")
            this.#answered(message.id)?.reject(
              new LinkFault(message.code, "control did not commit the report"),
            );
          else if (message.t === "desired") {
            const batch = collect(message.batch, message.more);
            if (!batch) return;
            const alone = batches.taken === this.#batchesExpected;
            batches.taken += 1;
            this.#batchesExpected += 1;
            handlers.onDesired(batch, message.complete && alone);
          } else throw new LinkFault("link.malformed", `${message.t} is not for a host`);
        },
        onOpen: (request, stream) => handlers.onStream(request, stream),
        onClosed: (reason) => {
          for (const { reject } of this.#reports.values()) reject(reason);
          this.#reports.clear();
          onClosed(reason);
        },
      },
      heartbeatMs,
    );
    this.#connection.send({ t: "hello", v: LINK_VERSION } as { t: string });
  }

  #announced = false;
  announce(facts: HostFacts): void {
    this.#connection.send({ t: this.#announced ? "facts" : "joined", facts } as Message);
    this.#announced = true;
  }

  async report(observations: Observation[]): Promise<void> {
    await Promise.all(partsOf(observations).map((part) => this.#say({ t: "observed", observations: part })));
  }

  async publish(wish: ChallengeWish): Promise<void> {
    await this.#say({ t: "challenge", wish });
  }

  async findResidues(question: ResidueQuestion): Promise<Residues> {
    return requireResidues(await this.#say({ t: "residues", question }));
  }

  close(reason: Error): void {
    this.#connection.close(reason);
  }

  #say(message: Record<string, unknown> & { t: string }): Promise<Residues | undefined> {
    const id = ++this.#lastReport;
    return new Promise<Residues | undefined>((resolve, reject) => {
      this.#reports.set(id, { resolve, reject });
      this.#connection.send({ ...message, id } as Message);
    }).finally(() => this.#reports.delete(id));
  }

  #answered(id: number) {
    const report = this.#reports.get(id);
    this.#reports.delete(id);
    return report;
  }
}
