// SPDX-License-Identifier: Apache-2.0
/**
 * Getting in at a broker. A host proves itself with an nkey: it signs the broker's challenge with a seed
 * that never leaves it, and the broker holds the public key only, so what is stolen from the broker's
 * configuration opens nothing.
 *
 * Whoever sits on the path between us and the broker could read and change everything, also after a
 * good login. So a broker that is not on this machine is spoken to over TLS, with its name checked;
 * `tls: "off"` is an operator saying that the network is already closed (a tunnel, one wire).
 */
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import {
  AuthorizationError,
  connect,
  credsAuthenticator,
  type NatsConnection,
  nkeyAuthenticator,
  nkeys,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";
import { LinkFault } from "../message.ts";

const DIAL_MS = 5_000;
/** Unanswered pings after which the broker is gone, as on every connection of the link. */
const DEAD_BEATS = 3;

export type NatsCredentials =
  | { nkeySeed: string }
  | { user: string; password: string }
  /** The text of a `.creds` file, for a cluster that works with operators and accounts. */
  | { creds: string };

export interface NatsAccess {
  /** `nats://name:port`; several are members of one cluster. */
  servers: string[];
  credentials: NatsCredentials;
  /** PEM. `{}` takes the authorities that the system trusts. */
  tls?: { ca?: string; cert?: string; key?: string } | "off";
}

/** A new identity: the seed stays with its holder (0600), the public key goes to the broker. */
export function newNkey(): { seed: string; publicKey: string } {
  const pair = nkeys.createUser();
  return { seed: Buffer.from(pair.getSeed()).toString("latin1"), publicKey: pair.getPublicKey() };
}

/** Also its checksum: a broker refuses a whole configuration for one key that is none. */
export function isUserKey(text: string): boolean {
  try {
    nkeys.fromPublic(text);
    return text.startsWith("U");
  } catch {
    return false;
  }
}

/** The public half of what a seed file holds. */
export const publicKeyOf = (seed: string): string =>
  nkeys.fromSeed(Buffer.from(seed.trim(), "latin1")).getPublicKey();

/**
 * One connection, which does not come back by itself: `broker.ts` makes the next, with nothing kept.
 * The servers are tried one by one, so that each is held to its own name.
 */
export async function enter(access: NatsAccess, name: string, heartbeatMs: number): Promise<NatsConnection> {
  requireGuarded(access);
  let refusal: unknown;
  for (const server of inAnyOrder(access.servers)) {
    try {
      return await connect({
        name,
        servers: server,
        authenticator: authenticatorOf(access.credentials),
        // Given, TLS is demanded; not given, it is still used when the broker offers it.
        ...(typeof access.tls === "object" ? { tls: { ...access.tls, ...heldToItsName(server) } } : {}),
        reconnect: false,
        // A broker's gossip does not choose whom we dial next.
        ignoreClusterUpdates: true,
        timeout: DIAL_MS,
        pingInterval: heartbeatMs,
        maxPingOut: DEAD_BEATS,
      });
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
}

/**
 * By address, the client library would name no server, and the name that is checked would become
 * "localhost": whoever has any certificate for that could stand in for the broker.
 */
function heldToItsName(server: string) {
  const host = hostOf(server);
  return {
    checkServerIdentity: (_name: string, certificate: PeerCertificate) =>
      checkServerIdentity(host, certificate),
  };
}

/** Hosts that lost one broker should not all go to the same next one. */
const inAnyOrder = (servers: string[]) =>
  servers
    .map((server) => ({ server, at: Math.random() }))
    .sort((one, other) => one.at - other.at)
    .map(({ server }) => server);

export const isRefusal = (error: unknown) => error instanceof AuthorizationError;

function authenticatorOf(credentials: NatsCredentials) {
  if ("nkeySeed" in credentials) return nkeyAuthenticator(Buffer.from(credentials.nkeySeed.trim(), "latin1"));
  if ("creds" in credentials) return credsAuthenticator(Buffer.from(credentials.creds));
  return usernamePasswordAuthenticator(credentials.user, credentials.password);
}

function requireGuarded({ servers, tls }: NatsAccess): void {
  if (servers.length === 0) throw new LinkFault("link.no-servers", "no broker is named");
  if (tls !== undefined) return;
  for (const server of servers)
    if (!isLoopback(server))
      throw new LinkFault("link.unguarded", `${server} is not on this machine: give tls, or tls: "off"`);
}

export function isLoopback(server: string): boolean {
  const host = hostOf(server);
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

function hostOf(server: string): string {
  const { hostname } = new URL(server.includes("://") ? server : `nats://${server}`);
  return hostname.replace(/^\[|\]$/g, "");
}
