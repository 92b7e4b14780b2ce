// SPDX-License-Identifier: Apache-2.0
/**
 * The link over a unix socket: control listens, hosts dial. It serves one machine, or two processes
 * of one (embedded mode dials itself: the same code path). Who may open the socket is who may be a
 * host, so the socket is 0600 in a folder of 0700; another uid on the machine cannot connect.
 *
 * A connection: host `hello {v}` → control `welcome` or `refused` → host `joined {facts}` → anything.
 * The version is judged before any other member is read, so that an older side can say no politely.
 */
import { chmodSync, mkdirSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import type { Desired, HostFacts, Observation, StreamRequest } from "#contract/link/machine.ts";
import type { Residues } from "#contract/link/residues.ts";
import { answerReport, isSaid, type Said } from "./answer-report.ts";
import { type Backoff, waitMs } from "./backoff.ts";
import { Connection } from "./connection.ts";
import { LinkFault, type Message, parseHello, parseMessage, requireResidues } from "./message.ts";
import { neverOpened } from "./never-opened.ts";
import { batchCollector, partsOf } from "./parts.ts";
import {
  type ControlHandlers,
  type ControlLink,
  type HostHandlers,
  type HostLink,
  LINK_VERSION,
} from "./port.ts";

const HEARTBEAT_MS = 5_000;
/** Reports of one host waiting for control's handler; a host keeps few in flight, more is a flood. */
const REPORTS_WAITING_MAX = 256;

export interface ListenOptions {
  path: string;
  handlers: ControlHandlers;
  heartbeatMs?: number;
  /** Told why a connection ended and what a handler threw. */
  onFault?: (error: Error, hostId: string | null) => void;
}

interface Member {
  facts: HostFacts;
  connection: Connection;
}

/** Binds the socket; a stale one that nobody answers on is replaced, a live one is an error. */
export async function listenSocket(options: ListenOptions): Promise<ControlLink> {
  const { handlers, heartbeatMs = HEARTBEAT_MS } = options;
  const fault = (error: unknown, hostId: string | null) =>
    options.onFault?.(error instanceof Error ? error : new Error(String(error)), hostId);
  const members = new Map<string, Member>();
  const connections = new Set<Connection>();

  const server = createServer((socket) => {
    let mine: Member | undefined;
    let waiting = 0;
    let turn = Promise.resolve();

    const leave = () => {
      if (!mine || members.get(mine.facts.hostId) !== mine) return;
      members.delete(mine.facts.hostId);
      handlers.onHostGone(mine.facts.hostId);
    };
    const join = (facts: HostFacts) => {
      if (mine && mine.facts.hostId !== facts.hostId)
        throw new LinkFault("link.malformed", "a host may not change its id");
      if (!mine) {
        // The same host again while its old connection still looks alive: the new one is the truth.
        members.get(facts.hostId)?.connection.close(new LinkFault("link.replaced", "the host joined again"));
        mine = { facts, connection };
        members.set(facts.hostId, mine);
      } else mine.facts = facts;
      handlers.onHost(structuredClone(facts)).catch((error) => {
        // Without control's answer the host would work on nothing: it joins again, later.
        fault(error, facts.hostId);
        connection.close(new LinkFault("link.join-failed", "control could not take the host in"));
      });
    };
    const said = (message: Said) => {
      const hostId = mine!.facts.hostId;
      if (++waiting > REPORTS_WAITING_MAX) throw new LinkFault("link.malformed", "a flood of reports");
      const answer = async () => {
        await answerReport({ hostId, connection, handlers, onFault: fault }, message);
        waiting -= 1;
      };
      // Reports in their order. They do not wait for the rest: a challenge may wait for somebody else's name server.
      if (message.t === "observed") turn = turn.then(answer);
      else void answer();
    };

    const connection = new Connection(
      socket,
      {
        onFirst(frame) {
          const { v } = parseHello(frame);
          if (v === LINK_VERSION) {
            connection.send({ t: "welcome", v: LINK_VERSION } as Message);
            return;
          }
          const reason = new LinkFault("link.version-unknown", `link version ${v} is not spoken here`);
          connection.sendLast({ t: "refused", code: reason.code, detail: reason.message } as Message, reason);
        },
        onTalk(message) {
          if (message.t === "joined" && !mine) join(message.facts);
          else if (message.t === "facts" && mine) join(message.facts);
          else if (isSaid(message) && mine) said(message);
          else throw new LinkFault("link.malformed", `${message.t} is not for control now`);
        },
        onClosed(reason) {
          connections.delete(connection);
          leave();
          fault(reason, mine?.facts.hostId ?? null);
        },
      },
      heartbeatMs,
    );
    connections.add(connection);
  });

  await bind(server, options.path);

  return {
    hosts: () => [...members.values()].map((member) => structuredClone(member.facts)),
    sendDesired(hostId, batch, complete = false) {
      const connection = members.get(hostId)?.connection;
      if (!connection) return;
      const parts = partsOf(batch);
      parts.forEach((part, at) => {
        connection.send({ t: "desired", batch: part, complete, more: at < parts.length - 1 } as Message);
      });
    },
    openStream(hostId, request) {
      const connection = members.get(hostId)?.connection;
      return connection ? connection.open(request) : neverOpened();
    },
    drop(hostId) {
      members.get(hostId)?.connection.close(new LinkFault("link.put-out", "control ended the connection"));
    },
    async close() {
      for (const connection of [...connections])
        connection.close(new LinkFault("link.closed", "control closed the link"));
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function bind(server: ReturnType<typeof createServer>, path: string): Promise<void> {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if ((statSync(folder).mode & 0o077) !== 0)
    throw new LinkFault("link.folder-open", `${folder} must be 0700: whoever enters it can pose as a host`);
  if (await answers(path)) throw new LinkFault("link.in-use", `another control listens on ${path}`);
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
  chmodSync(path, 0o600);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

export interface DialOptions {
  path: string;
  facts: HostFacts;
  handlers: HostHandlers;
  heartbeatMs?: number;
  backoff?: Backoff;
  onFault?: (error: Error) => void;
}

/** Dials at once and for ever. A refused version is retried too, at the slowest pace: control may be upgraded. */
export function dialSocket(options: DialOptions): HostLink {
  const { handlers, heartbeatMs = HEARTBEAT_MS, backoff = { firstMs: 50, mostMs: 5_000 } } = options;
  let facts = options.facts;
  let joined: Connection | undefined;
  let current: Connection | undefined;
  let redial: NodeJS.Timeout | undefined;
  let failures = 0;
  let closed = false;
  let nextReport = 0;
  const reports = new Map<number, { resolve(answer?: Residues): void; reject(error: Error): void }>();

  const dial = () => {
    const socket: Socket = connect(options.path);
    const collect = batchCollector();
    const desired = (part: Desired[], complete: boolean, more: boolean) => {
      const batch = collect(part, more);
      if (batch) handlers.onDesired(batch, complete);
    };
    const connection: Connection = new Connection(
      socket,
      {
        onFirst(frame) {
          const answer = parseMessage(frame);
          if (answer.t === "refused") {
            failures = 30;
            throw new LinkFault(answer.code, answer.detail);
          }
          if (answer.t !== "welcome") throw new LinkFault("link.malformed", "neither welcomed nor refused");
          joined = connection;
          connection.send({ t: "joined", facts } as Message);
        },
        onTalk(message) {
          if (message.t === "desired") return desired(message.batch, message.complete, message.more);
          if (message.t === "committed") return answered(message.id)?.resolve();
          if (message.t === "found") return answered(message.id)?.resolve(message.residues);
          if (message.t === "rejected")
            return answered(message.id)?.reject(
              new LinkFault(message.code, "control did not commit the report"),
            );
          throw new LinkFault("link.malformed", `${message.t} is not for a host`);
        },
        onOpen: (request: StreamRequest, stream) => handlers.onStream(request, stream),
        onClosed(reason) {
          joined = undefined;
          for (const { reject } of reports.values()) reject(reason);
          reports.clear();
          options.onFault?.(reason);
          if (closed) return;
          redial = setTimeout(dial, waitMs(backoff, failures++));
        },
      },
      heartbeatMs,
    );
    current = connection;
    connection.send({ t: "hello", v: LINK_VERSION } as unknown as Message);
  };

  const answered = (id: number) => {
    const report = reports.get(id);
    reports.delete(id);
    return report;
  };
  const say = (message: Record<string, unknown> & { t: string }) =>
    new Promise<Residues | undefined>((resolve, reject) => {
      if (!joined) {
        reject(new LinkFault("link.away", "control is not connected"));
        return;
      }
      const id = ++nextReport;
      reports.set(id, { resolve, reject });
      try {
        joined.send({ ...message, id } as Message);
      } catch (error) {
        reports.delete(id);
        reject(error);
      }
    });

  dial();
  return {
    async report(observations) {
      await Promise.all(
        partsOf(observations).map((part: Observation[]) => say({ t: "observed", observations: part })),
      );
    },
    publish: async (wish) => {
      await say({ t: "challenge", wish });
    },
    findResidues: async (question) => requireResidues(await say({ t: "residues", question })),
    announce(changed) {
      facts = structuredClone(changed);
      joined?.send({ t: "facts", facts } as Message);
    },
    async close() {
      closed = true;
      clearTimeout(redial);
      current?.close(new LinkFault("link.closed", "the host closed the link"));
    },
  };
}
