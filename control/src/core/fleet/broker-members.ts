// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the users of a broker of our own the same as the hosts that are in: whoever joins can enter it a
 * moment later, whoever is put out is disconnected by it. One replica does it, the one that shares the
 * broker's machine and user; it needs no more right than to write one file and to signal that server.
 *
 *  A. The file follows the rows, never the other way; what somebody wrote into it is replaced at the next
 *     turn. The server may have read it meanwhile, or have missed our word: it is told again every
 *     minute, and at once when it is another process than the one that was told.
 *  B. A failed turn is told and tried again. Until then a host that was put out still holds a connection
 *     with the broker, over which no replica talks to it (membership.ts, C).
 *  C. What is no key is left out: the broker would refuse the whole file, and nobody could join or be put
 *     out any more. Whoever holds an invitation chooses what they call their key.
 */
import { readFileSync } from "node:fs";
import { isUserKey } from "#link/nats/access.ts";
import { natsConfig } from "#link/nats/config.ts";
import { findNatsServer, tellNatsServer, writeNatsConfig } from "#link/nats/reload.ts";
import type { Database } from "../../database/open.ts";
import { HOSTS_CHANNEL, listMembers } from "./membership.ts";

const TURN_MS = 10_000;
const TELL_MS = 60_000;

export interface BrokerPlan {
  configPath: string;
  pidPath: string;
  listen: { host: string; port: number };
  /** PEM files of the broker itself; null: it speaks in clear, on loopback or in a network that is closed. */
  tls: { certFile: string; keyFile: string } | "off";
  /** Control's own public key there. */
  controlKey: string;
}

export interface BrokerKeeper {
  stop(): Promise<void>;
}

export interface BrokerTimes {
  turnMs: number;
  /** A server that has been told is told again after this. */
  tellMs: number;
}

/** The file is written when this resolves, so the broker can be started with it. */
export async function keepBrokerMembers(
  db: Database,
  plan: BrokerPlan,
  onError: (error: unknown) => void,
  { turnMs, tellMs }: BrokerTimes = { turnMs: TURN_MS, tellMs: TELL_MS },
): Promise<BrokerKeeper> {
  const files = { configFile: plan.configPath, pidFile: plan.pidPath };
  /** Which process was told of what the file says, and when. */
  let told: { server: string; atMs: number } | null = null;
  const turn = async () => {
    const config = natsConfig({
      listen: plan.listen,
      control: { publicKey: plan.controlKey },
      // C
      hosts: (await listMembers(db.run)).filter(({ publicKey }) => isUserKey(publicKey)),
      tls: plan.tls,
      pidFile: plan.pidPath,
    });
    if (readOr(plan.configPath) !== config) {
      told = null;
      await writeNatsConfig(files, config);
    }
    if (told !== null && told.server === findNatsServer(files) && performance.now() - told.atMs < tellMs)
      return;
    const server = tellNatsServer(files);
    told = server === null ? null : { server, atMs: performance.now() };
  };
  // One after the other: the last to write must be the last to have read.
  let last = turn();
  const again = () => {
    last = last.then(turn).catch(onError);
  };
  await last;
  await db.listen(HOSTS_CHANNEL, again);
  const timer = setInterval(again, turnMs);
  return {
    stop: async () => {
      clearInterval(timer);
      await last;
    },
  };
}

function readOr(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}
