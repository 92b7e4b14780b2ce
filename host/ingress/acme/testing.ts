// SPDX-License-Identifier: Apache-2.0
/** An ingress that has its certificates from a directory on loopback, for the tests of this folder. */
import type { RequestListener } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { connect, type PeerCertificate, type TLSSocket } from "node:tls";
import { afterEach } from "vitest";
import type { ZoneRecord } from "#control/src/core/ingress/answer.ts";
import { startNameServer } from "#control/src/core/ingress/index.ts";
import { freePort } from "#testing/free-port.ts";
import { type Pebble, startPebble } from "#testing/pebble.ts";
import { newLeafKey, openAuthority } from "../authority.ts";
import { type Changes, type Gate, ingress, scratch } from "../testing.ts";
import type { AcmeOptions } from "./certificates.ts";

export const ZONE = "workloads.test";

const undo: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
export const later = (step: () => Promise<unknown> | unknown): void => void undo.push(step);

/** Waits as short as a test bears, and a failure's as long as it needs to be seen. */
export const TIMING = { pollMs: 50, dnsSettleMs: 0, lookMs: 50, retryFirstMs: 60_000 };

export interface Place {
  pebble: Pebble;
  httpPort: number;
  /** TXT records of the zone, by name. */
  texts: Map<string, string[]>;
  /** Names that were asked for. */
  asked: Set<string>;
  acme(changes?: Partial<AcmeOptions>): AcmeOptions;
}

/** Pebble, and our own name server for a zone in which every name is this computer's. */
export async function place(): Promise<Place> {
  const texts = new Map<string, string[]>();
  const asked = new Set<string>();
  const lookup = async (name: string): Promise<ZoneRecord[] | null> => {
    asked.add(name);
    const found = texts.get(name) ?? [];
    if (found.length > 0) return found.map((each) => ({ type: "TXT", texts: [each], ttlSeconds: 1 }));
    return name.includes("_acme-challenge") ? null : [{ type: "A", address: "127.0.0.1" }];
  };
  const zone = { contact: "h@workloads.test", ttlSeconds: 1, negativeTtlSeconds: 1 };
  const names = await startNameServer({
    ...{ host: "127.0.0.1", port: 0, lookup, log: () => {} },
    zones: [{ origin: ZONE, nameServers: [{ name: `ns.${ZONE}`, addresses: ["127.0.0.1"] }], ...zone }],
  });
  later(() => names.close());
  const httpPort = await freePort();
  const pebble = await startPebble({ nameServer: `127.0.0.1:${names.port}`, httpPort });
  later(() => pebble.dispose());
  return {
    ...{ pebble, httpPort, texts, asked },
    acme: (changes) => ({
      ...{ directoryUrl: pebble.directoryUrl, email: "op@workloads.test", ca: pebble.caPem },
      challenge: "http-01",
      publish: async ({ domain, value, want }) => {
        const name = `_acme-challenge.${domain}`;
        const others = (texts.get(name) ?? []).filter((each) => each !== value);
        texts.set(name, want === "published" ? [...others, value] : others);
      },
      timing: TIMING,
      ...changes,
    }),
  };
}

/** On the port at which Pebble looks for proofs. */
export const gateOf = (at: Place, options: Changes = {}) =>
  ingress({ httpPort: at.httpPort, acme: at.acme(), ...options });

/** Who signed what is served for a name now. */
export async function issuerOf(gate: Gate, domain: string): Promise<string> {
  return (await peerOf(gate, domain)).issuer.CN as string;
}

export async function peerOf(gate: Gate, domain: string): Promise<PeerCertificate> {
  const socket = await shake(gate, domain);
  const certificate = socket.getPeerCertificate();
  socket.destroy();
  return certificate;
}

export function shake(gate: Gate, domain: string): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      ...{ host: "127.0.0.1", port: gate.httpsPort, servername: domain, rejectUnauthorized: false },
    });
    later(() => socket.destroy());
    socket.once("secureConnect", () => resolve(socket)).once("error", reject);
  });
}

/** A directory that behaves as the test says. */
export async function directory(
  answer: RequestListener,
): Promise<{ directoryUrl: string; ca: string; close(): Promise<void> }> {
  const { authority } = await openAuthority(join(scratch(), "directory"), new Date());
  const key = await newLeafKey();
  const { certificatePem } = await authority.sign("localhost", key, new Date());
  const server = createServer({ key: key.keyPem, cert: certificatePem }, answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  later(close);
  const { port } = server.address() as AddressInfo;
  return { directoryUrl: `https://localhost:${port}/dir`, ca: authority.caPem, close };
}
