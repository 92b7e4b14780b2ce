// SPDX-License-Identifier: Apache-2.0
/**
 * Control's end of the link over NATS, one of as many replicas as there are.
 *
 * A host says every heartbeat that it is here; a replica that has no connection with it calls it, and
 * the two make a connection of their own (`pipe.ts`). So every replica hears every host, one that
 * starts later knows all of them within a heartbeat, and what a host reports goes to one replica, which
 * answers for it. PostgreSQL stays the only truth: the broker keeps nothing for anybody.
 *
 * Invariants:
 *  A. A message counts as the host's whose branch it came in by, and reaches only pipes of that host.
 *     The pipe numbers of other hosts are easily guessed.
 *  B. A host has one connection here. A token that we do not know is a host that started again or lost
 *     its broker, and replaces what was.
 *  C. With the broker connection every pipe over it is lost, and nothing is carried into the next.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import type { Backoff } from "../backoff.ts";
import { LinkFault } from "../message.ts";
import { neverOpened } from "../never-opened.ts";
import { partsOf } from "../parts.ts";
import type { ControlHandlers, ControlLink } from "../port.ts";
import { enter, type NatsAccess } from "./access.ts";
import { stayConnected } from "./broker.ts";
import { Pipe } from "./pipe.ts";
import { Seat } from "./seat.ts";
import { callText, downOf, EVERY_HOST, newToken, parseHere, splitSubject, upOf } from "./subjects.ts";

const HEARTBEAT_MS = 5_000;

export interface ListenNatsOptions extends NatsAccess {
  handlers: ControlHandlers;
  /** Names this process among those on the database; one that starts under the same name replaces it. */
  replica: string;
  heartbeatMs?: number;
  backoff?: Backoff;
  /** Told why a connection ended and what a handler threw. */
  onFault?: (error: Error, hostId: string | null) => void;
}

/** Rejects when the broker cannot be entered now; afterwards it is entered again whenever it was lost. */
export async function listenNats(options: ListenNatsOptions): Promise<ControlLink> {
  const { handlers, replica, heartbeatMs = HEARTBEAT_MS, backoff = { firstMs: 50, mostMs: 5_000 } } = options;
  if (!/^[\x21-\x7e]{1,64}$/.test(replica))
    throw new LinkFault("link.replica-name", "a replica's name is 1 to 64 printable characters");
  const fault = (error: unknown, hostId: string | null) =>
    options.onFault?.(error instanceof Error ? error : new Error(String(error)), hostId);
  const seats = new Map<string, Seat>();
  const seatOf = (hostId: string) => {
    const seat = seats.get(hostId) ?? new Seat({ hostId, handlers, heartbeatMs, onFault: fault });
    seats.set(hostId, seat);
    return seat;
  };

  const dial = () => enter(options, `casemate control ${replica}`, heartbeatMs);
  const broker = stayConnected(
    {
      enter: dial,
      backoff,
      onUp: (connection) => meetHosts(connection, replica, seatOf, fault),
      onFault: (error) => fault(error, null),
    },
    await dial(),
  );

  return {
    hosts: () => [...seats.values()].flatMap(({ facts }) => (facts ? [structuredClone(facts)] : [])),
    sendDesired(hostId, batch, complete = false) {
      const connection = seats.get(hostId)?.connection;
      if (!connection) return;
      const parts = partsOf(batch);
      parts.forEach((part, at) => {
        connection.send({ t: "desired", batch: part, complete, more: at < parts.length - 1 } as {
          t: string;
        });
      });
    },
    openStream: (hostId, request) => seats.get(hostId)?.connection?.open(request) ?? neverOpened(),
    drop: (hostId) => seats.get(hostId)?.close(new LinkFault("link.put-out", "control ended the connection")),
    async close() {
      for (const seat of seats.values()) seat.close(new LinkFault("link.closed", "control closed the link"));
      await broker.close();
    },
  };
}

interface Meeting {
  hostId: string;
  /** Which broker connection of the host it is with. */
  host: string;
  pipe: Pipe;
}

function meetHosts(
  broker: NatsConnection,
  replica: string,
  seatOf: (hostId: string) => Seat,
  fault: (error: unknown, hostId: string | null) => void,
): (reason: Error) => void {
  const token = newToken();
  const meetings = new Map<string, Meeting>();
  const meetingOf = new Map<string, Meeting>();
  let last = 0;

  const meet = (hostId: string, host: string) => {
    if (meetingOf.get(hostId)?.host === host) return;
    const id = `${token}.${++last}`;
    const pipe = new Pipe(
      (message) => broker.publish(`${downOf(hostId)}.${id}`, message),
      broker.info?.max_payload ?? Number.POSITIVE_INFINITY,
    );
    const meeting = { hostId, host, pipe };
    meetings.set(id, meeting);
    meetingOf.set(hostId, meeting);
    pipe.once("close", () => {
      meetings.delete(id);
      if (meetingOf.get(hostId) === meeting) meetingOf.delete(hostId);
    });
    seatOf(hostId).take(pipe);
    broker.publish(`${downOf(hostId)}.call`, callText({ host, pipe: id, replica }));
  };

  const on = (rest: string, hear: (hostId: string, rest: string, message: Uint8Array) => void) =>
    broker.subscribe(`${upOf(EVERY_HOST)}.${rest}`, {
      callback(error, { subject, data }) {
        // Thrown into the client library, an error would end its reading without a word.
        try {
          if (error) throw error;
          const said = splitSubject(subject);
          hear(said.hostId, said.rest, data);
        } catch (thrown) {
          fault(thrown, null);
        }
      },
    });
  on("here", (hostId, _rest, message) => {
    const host = parseHere(message);
    if (host) meet(hostId, host);
  });
  on(`${token}.*`, (hostId, id, message) => {
    const meeting = meetings.get(id);
    if (meeting?.hostId === hostId) meeting.pipe.arrived(message);
  });

  return (reason) => {
    for (const { pipe } of [...meetings.values()]) pipe.destroy(reason);
  };
}
