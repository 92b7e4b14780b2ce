// SPDX-License-Identifier: Apache-2.0
/** Control's answer to a report, the same on every link: committed, or rejected with a code (port.ts, E). */
import type { Observation } from "#contract/link/machine.ts";
import type { Connection } from "./connection.ts";
import type { Message } from "./message.ts";
import type { ControlHandlers } from "./port.ts";

export interface ReportDesk {
  hostId: string;
  connection: Pick<Connection, "send">;
  handlers: Pick<ControlHandlers, "onObserved">;
  onFault(error: unknown, hostId: string): void;
}

export async function answerReport(
  { hostId, connection, handlers, onFault }: ReportDesk,
  id: number,
  observations: Observation[],
): Promise<void> {
  try {
    await handlers.onObserved(hostId, observations);
    connection.send({ t: "committed", id } as Message);
  } catch (error) {
    onFault(error, hostId);
    const code = (error as { code?: unknown } | null)?.code;
    const known = typeof code === "string" ? code : "platform.unexpected";
    connection.send({ t: "rejected", id, code: known } as Message);
  }
}
