// SPDX-License-Identifier: Apache-2.0
/**
 * The host's part of what is served: for each name with a route its certificate, a directory's where there
 * is one and our own authority's otherwise. Keys are made and kept here; the ingress process is given
 * those of served names.
 */
import { type AcmeOptions, Certificates } from "./acme/certificates.ts";
import { InsideCertificates } from "./acme/inside-certificates.ts";
import { openAuthority } from "./authority.ts";
import { certifyRequest } from "./certify.ts";
import { Leaves, served } from "./leaves.ts";
import type { ServedLeaf } from "./messages.ts";
import type { IngressRoute } from "./routes.ts";

export interface NamesOptions {
  /** 0700; for the authority, and what directories signed. */
  folder: string;
  isServed(domain: string): boolean;
  now(): Date;
  log(event: string, facts: Record<string, unknown>): void;
  /** Absent: our own authority signs for every name. */
  acme?: AcmeOptions;
  /** What was given out for this name is not what is to be served any more. */
  onRenewed(domain: string): void;
  /** A machine that keeps its key has another chain to be given, by `certify`. */
  onIssuedInside(machineId: string): void;
}

export interface Names {
  /** PEM of our own authority, for download. */
  readonly caPem: string;
  /** Null for a domain that is not served. */
  leafOf(domain: string): Promise<ServedLeaf | null>;
  /** SHA-256 of the SPKI of what is served, hex; null for a domain that is not. */
  spkiSha256(domain: string): Promise<string | null>;
  /** A chain (PEM) for a key that a machine keeps (certify.ts). */
  certify(domains: readonly string[], request: Uint8Array): Promise<string>;
  /** What answers a directory that asks for this token; null when we ordered nothing with it. */
  proofOf(domain: string, token: string): string | null;
  /** All names there are now. */
  follow(routes: readonly IngressRoute[]): void;
  close(): Promise<void>;
}

export async function openNames(options: NamesOptions): Promise<Names> {
  const { folder, isServed, now, log, acme, onRenewed, onIssuedInside } = options;
  const { authority, made } = await openAuthority(folder, now());
  if (made) log("ingress.authority-made", { folder });
  const leaves: Leaves = new Leaves({
    ...{ authority, isServed, now, log },
    keptKey: async (domain) => certificates?.keyOf(domain),
  });
  const certificates =
    acme &&
    (await Certificates.open({
      ...acme,
      ...{ folder, now, log, onRenewed },
      keyOf: async (domain) => (await leaves.find(domain))?.key ?? null,
    }));
  const inside =
    acme &&
    certificates &&
    new InsideCertificates({
      ...acme,
      ...{ folder, now, log, account: certificates.account, onIssued: onIssuedInside },
    });
  const signedElsewhere = async (domain: string) =>
    isServed(domain) ? certificates?.find(domain) : undefined;
  return {
    caPem: authority.caPem,
    leafOf: async (domain) => {
      const found = await signedElsewhere(domain);
      // Its renewal is told, and need not be asked for.
      if (found !== undefined) return { ...served(found), freshUntilMs: found.notAfter.getTime() };
      const leaf = await leaves.find(domain);
      return leaf && served(leaf);
    },
    spkiSha256: async (domain) =>
      ((await signedElsewhere(domain)) ?? (await leaves.find(domain)))?.key.spkiSha256 ?? null,
    certify: async (domains, request) => {
      const own = await certifyRequest(authority, domains, request, now());
      const { certificatePem, notAfter, names, spkiSha256 } = own;
      // A directory signs the names of the request: where they are others than the machine is to have, nobody else is asked.
      const same = names.length === domains.length && domains.every((domain) => names.includes(domain));
      const elsewhere = same ? inside?.find({ names: domains, request, spkiSha256 }) : null;
      if (elsewhere != null) return elsewhere;
      log("ingress.machine-certified", { domains: domains.join(" "), notAfter: notAfter.toISOString() });
      return certificatePem;
    },
    proofOf: (domain, token) =>
      certificates?.proofOf(domain, token) ?? inside?.proofOf(domain, token) ?? null,
    follow: (routes) => {
      leaves.prune();
      certificates?.follow(routes.filter(({ tlsInside }) => !tlsInside));
      inside?.follow(routes.filter(({ tlsInside }) => tlsInside));
    },
    close: async () => {
      await inside?.close();
      await certificates?.close();
    },
  };
}
