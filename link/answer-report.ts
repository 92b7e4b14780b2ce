// SPDX-License-Identifier: Apache-2.0
/**
 * Control's answer to what a host says, the same on every link: a report or a challenge is committed, a
 * question about residues is answered with what was found, or either is rejected with a code (port.ts, E).
 */
import type { Connection } from "./connection.ts";
import { LinkFault, type Message } from "./message.ts";
import type { ControlHandlers } from "./port.ts";

export interface ReportDesk {
  hostId: string;
  connection: Pick<Connection, "send">;
  handlers: Pick<ControlHandlers, "onObserved" | "onChallenge" | "onResidues">;
  onFault(error: unknown, hostId: string): void;
}

/** What control owes an answer by number. */
export type Said = Extract<Message, { t: "observed" | "challenge" | "residues" }>;

export const isSaid = (message: Message): message is Said =>
  message.t === "observed" || message.t === "challenge" || message.t === "residues";

export async function answerReport(desk: ReportDesk, said: Said): Promise<void> {
  const { hostId, connection, onFault } = desk;
  const { id } = said;
  try {
    connection.send({ id, ...(await handle(desk, said)) } as Message);
  } catch (error) {
    onFault(error, hostId);
    const code = (error as { code?: unknown } | null)?.code;
    const known = typeof code === "string" ? code : "platform.unexpected";
    connection.send({ t: "rejected", id, code: known } as Message);
  }
}

async function handle({ hostId, handlers }: ReportDesk, said: Said) {
  if (said.t === "residues") {
    if (!handlers.onResidues) throw new LinkFault("link.no-residues", "nobody looks for residues here");
    return { t: "found", residues: await handlers.onResidues(hostId, said.question) };
  }
  if (said.t === "observed") await handlers.onObserved(hostId, said.observations);
  else if (handlers.onChallenge) await handlers.onChallenge(hostId, said.wish);
  else throw new LinkFault("link.no-challenges", "no challenge can be published here");
  return { t: "committed" };
}
