// SPDX-License-Identifier: Apache-2.0
/**
 * One certificate from a directory, from the order to the chain (RFC 8555, 7.4): order, prove each name,
 * ask for the signature, fetch. The directory may know the proof from before, or be slow with every
 * step; the signal ends it all.
 */
import { createHash, X509Certificate } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import "../reflect-metadata.ts";
import acme from "acme-client";
import { plain } from "./transport.ts";

export type ChallengeKind = "http-01" | "dns-01";

/** A proof that is where the directory looks for it; `withdraw` takes it away again and does not throw. */
export interface Answer {
  withdraw(): void;
}

export interface OrderOptions {
  client: acme.Client;
  /** All of one certificate. */
  names: readonly string[];
  /** PEM, for exactly these names. */
  requestPem: string;
  /** SHA-256 of the key's SPKI, hex. */
  spkiSha256: string;
  /** In the order in which they are tried; the first that is answered counts. */
  kinds: readonly ChallengeKind[];
  /** Null: this kind cannot be answered for this name, and the next is tried. */
  answer(kind: ChallengeKind, name: string, token: string, proof: string): Promise<Answer | null>;
  pollMs: number;
  signal: AbortSignal;
  now(): Date;
}

export interface Issued {
  chainPem: string;
  notBefore: Date;
  notAfter: Date;
}

const POLL_SLOWEST = 10;

export async function orderCertificate(options: OrderOptions): Promise<Issued> {
  const { client, names, requestPem, signal } = options;
  const order = await client.createOrder({
    identifiers: names.map((value) => ({ type: "dns", value })),
  });
  for (const authorization of await client.getAuthorizations(order)) {
    signal.throwIfAborted();
    if (authorization.status !== "valid") await prove(options, order, authorization);
  }
  const ready = await polled(options, order, ["ready", "processing", "valid"]);
  if (ready.status === "ready") await client.finalizeOrder(ready, requestPem);
  const valid = await polled(options, order, ["valid"]);
  signal.throwIfAborted();
  return checked(options, String(await client.getCertificate(valid)));
}

/** Of a key that is kept here. */
export async function requestFor(domain: string, keyPem: string): Promise<string> {
  const [, request] = await acme.crypto.createCsr({ altNames: [domain] }, keyPem);
  return request.toString();
}

type Order = Awaited<ReturnType<acme.Client["createOrder"]>>;
type Authorization = Awaited<ReturnType<acme.Client["getAuthorizations"]>>[number];

async function prove(options: OrderOptions, order: Order, authorization: Authorization): Promise<void> {
  const { client, kinds, answer } = options;
  for (const kind of kinds) {
    const challenge = authorization.challenges.find(({ type }) => type === kind);
    if (challenge === undefined) continue;
    const proof = await client.getChallengeKeyAuthorization(challenge);
    const given = await answer(kind, authorization.identifier.value, challenge.token, proof);
    if (given === null) continue;
    try {
      options.signal.throwIfAborted();
      await client.completeChallenge(challenge);
      await believed(options, order, authorization.url);
      return;
    } finally {
      given.withdraw();
    }
  }
  throw new Error(`the directory offers no proof that can be given here (${kinds.join(", ")})`);
}

async function believed(options: OrderOptions, order: Order, url: string): Promise<void> {
  for (let times = 1; ; times++) {
    const [authorization] = await options.client.getAuthorizations({ ...order, authorizations: [url] });
    if (authorization?.status === "valid") return;
    if (authorization?.status !== "pending") {
      const said = authorization?.challenges.map(
        ({ error }) => (error as { detail?: string } | undefined)?.detail,
      );
      throw new Error(
        plain(`the directory does not believe the proof: ${said?.find(Boolean) ?? "no reason"}`),
      );
    }
    await pause(options, times);
  }
}

async function polled(options: OrderOptions, order: Order, wanted: readonly string[]): Promise<Order> {
  for (let times = 1; ; times++) {
    const now = await options.client.getOrder(order);
    if (wanted.includes(now.status)) return now;
    if (now.status === "invalid") throw new Error("the directory gave the order up");
    await pause(options, times);
  }
}

const pause = ({ pollMs, signal }: OrderOptions, times: number) =>
  sleep(Math.min(times, POLL_SLOWEST) * pollMs, undefined, { signal });

/** What is not for these names and this key is served to nobody, whoever signed it. */
function checked({ names, spkiSha256, now }: OrderOptions, chainPem: string): Issued {
  const leaf = new X509Certificate(chainPem);
  if (names.some((name) => leaf.checkHost(name, { subject: "never" }) === undefined))
    throw new Error("the certificate that came is for another name");
  const spki = leaf.publicKey.export({ type: "spki", format: "der" });
  if (createHash("sha256").update(spki).digest("hex") !== spkiSha256)
    throw new Error("the certificate that came is for another key");
  if (leaf.validToDate <= now()) throw new Error("the certificate that came has expired");
  return { chainPem, notBefore: leaf.validFromDate, notAfter: leaf.validToDate };
}
