// SPDX-License-Identifier: Apache-2.0
/**
 * Where the name server of an installation on one computer answers: a loopback address that follows from the path of its state
 * folder, so that it is the same with every start, another installation has another, and `uninstall` finds what was made for it.
 * Control has no right to port 53, so it listens on a high one, and as root a rule of nftables leads port 53 there.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { resolve } from "node:path";
import { forgetRedirect, redirect } from "#drivers/qemu/network/redirect.ts";

export interface NamesPlace {
  address: string;
  /** That control listens on. */
  port: number;
}

/** Not 5353, which programs for names of the local network hold on every address. */
const PORT = 5300;
const PORTS_MAX = 64;

const markOf = (state: string) => createHash("sha256").update(resolve(state)).digest();
/** Outside of 127.64.0.0/10, which instances get theirs from, and not 127.0.0.0/16, where others look for servers. */
export const namesAddress = (state: string): string => {
  const mark = markOf(state);
  return `127.53.${mark[0]}.${1 + (mark[1]! % 254)}`;
};
const tableOf = (state: string) => `casemate-names-${markOf(state).toString("hex").slice(0, 12)}`;

/** Null: this computer has no such address. */
export async function findNamesPlace(state: string): Promise<NamesPlace | null> {
  const address = namesAddress(state);
  for (let port = PORT; port < PORT + PORTS_MAX; port++)
    if (await isFree(address, port)) return { address, port };
  return null;
}

/** False: port 53 leads nowhere, and only who can be told a port can ask. */
export const leadNames = async (state: string, { address, port }: NamesPlace): Promise<boolean> =>
  process.getuid?.() === 0 &&
  redirect(tableOf(state), [
    { protocol: "udp", addresses: address, from: 53, to: port },
    { protocol: "tcp", addresses: address, from: 53, to: port },
  ]);

export const forgetNames = (state: string): Promise<boolean> => forgetRedirect(tableOf(state));

/** For UDP and TCP: resolvers come over TCP when an answer was cut. */
async function isFree(host: string, port: number): Promise<boolean> {
  const udp = createSocket("udp4");
  const tcp = createServer();
  const listens = (
    bind: (ready: () => void) => void,
    at: { once(event: "error", then: () => void): unknown },
  ) =>
    new Promise<boolean>((done) => {
      at.once("error", () => done(false));
      bind(() => done(true));
    });
  const heard = await listens((ready) => udp.bind(port, host, ready), udp);
  const reached = await listens((ready) => tcp.listen(port, host, ready), tcp);
  if (heard) udp.close();
  if (reached) await new Promise((closed) => tcp.close(closed));
  return heard && reached;
}
