// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the users of a broker of our own the same as the hosts that are in: whoever joins can enter it a
 * moment later, whoever is put out is disconnected by it. One replica does it, the one that shares the
 * broker's machine and user; it needs no more right than to write one file and to signal that server.
 *
 *  A. The file follows the rows, never the other way; what somebody wrote into it is replaced.
 *  B. A failed turn is told and tried again. Until then a host that was put out still holds a connection
 *     with the broker, over which no replica talks to it (membership.ts, C).
 *  C. What is no key is left out: the broker would refuse the whole file, and nobody could join or be put
 *     out any more. Whoever holds an invitation chooses what they call their key.
 */
import { readFileSync } from "node:fs";
import { isUserKey } from "#link/nats/access.ts";
import { natsConfig } from "#link/nats/config.ts";
import { replaceNatsConfig } from "#link/nats/reload.ts";
import type { Database } from "../../database/open.ts";
import { HOSTS_CHANNEL, listMembers } from "./membership.ts";

const TURN_MS = 10_000;

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

/** The file is written when this resolves, so the broker can be started with it. */
export async function keepBrokerMembers(
  db: Database,
  plan: BrokerPlan,
  onError: (error: unknown) => void,
): Promise<BrokerKeeper> {
  let written = readOr(plan.configPath);
  const turn = async () => {
    const config = natsConfig({
      listen: plan.listen,
      control: { publicKey: plan.controlKey },
      // C
      hosts: (await listMembers(db.run)).filter(({ publicKey }) => isUserKey(publicKey)),
      tls: plan.tls,
      pidFile: plan.pidPath,
    });
    if (config === written) return;
    await replaceNatsConfig({ configFile: plan.configPath, pidFile: plan.pidPath }, config);
    written = config;
  };
  // One after the other: the last to write must be the last to have read.
  let last = turn();
  const again = () => {
    last = last.then(turn).catch(onError);
  };
  await last;
  await db.listen(HOSTS_CHANNEL, again);
  const timer = setInterval(again, TURN_MS);
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
