// SPDX-License-Identifier: Apache-2.0
/** Control's answer to a report or a challenge, the same on every link: committed, or rejected with a code (port.ts, E). */
import type { Connection } from "./connection.ts";
import { LinkFault, type Message } from "./message.ts";
import type { ControlHandlers } from "./port.ts";

export interface ReportDesk {
  hostId: string;
  connection: Pick<Connection, "send">;
  handlers: Pick<ControlHandlers, "onObserved" | "onChallenge">;
  onFault(error: unknown, hostId: string): void;
}

type Said = Extract<Message, { t: "observed" | "challenge" }>;

export async function answerReport(desk: ReportDesk, said: Said): Promise<void> {
  const { hostId, connection, onFault } = desk;
  const { id } = said;
  try {
    await handle(desk, said);
    connection.send({ t: "committed", id } as Message);
  } catch (error) {
    onFault(error, hostId);
    const code = (error as { code?: unknown } | null)?.code;
    const known = typeof code === "string" ? code : "platform.unexpected";
    connection.send({ t: "rejected", id, code: known } as Message);
  }
}

function handle({ hostId, handlers }: ReportDesk, said: Said): Promise<void> {
  if (said.t === "observed") return handlers.onObserved(hostId, said.observations);
  if (handlers.onChallenge) return handlers.onChallenge(hostId, said.wish);
  throw new LinkFault("link.no-challenges", "no challenge can be published here");
}
