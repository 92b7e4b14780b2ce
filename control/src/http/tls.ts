// SPDX-License-Identifier: Apache-2.0
/**
 * TLS of the API itself. Keys and secrets go over this connection, so plain HTTP is for this machine
 * only, unless the operator says that the way is closed by other means (a proxy on the same wire).
 *
 * Certificates are replaced while we run: whoever renews them writes the files, and the next connections
 * get the new one. A file that is half written or does not fit is told, and the old one goes on.
 */
import { readFileSync, statSync } from "node:fs";
import type { Server } from "node:https";
import { createSecureContext } from "node:tls";

const LOOK_MS = 10_000;

export interface TlsFiles {
  certFile: string;
  keyFile: string;
}

export interface HttpExposure {
  host: string;
  tls: TlsFiles | null;
  insecure: boolean;
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

/** Throws for plain HTTP that others could reach, and listen in on. */
export function requireGuarded({ host, tls, insecure }: HttpExposure): void {
  if (tls !== null || insecure || LOOPBACK.test(host)) return;
  throw new Error(
    `config http: plain HTTP on ${host} would show every key to the network; give http.tls a certificate, ` +
      "or say that the network is closed by other means: http.insecure (--insecure)",
  );
}

/** What is safe only where nobody else listens in. */
export function requireLoopback({ host }: HttpExposure, what: string): void {
  if (!LOOPBACK.test(host)) throw new Error(`config ${what}: only while http.host is an address of loopback`);
}

export interface TlsMaterial {
  cert: Buffer;
  key: Buffer;
}

/** Throws when the two do not fit. */
export function readTls({ certFile, keyFile }: TlsFiles): TlsMaterial {
  const material = { cert: readFileSync(certFile), key: readFileSync(keyFile) };
  createSecureContext({ ...material, minVersion: "TLSv1.2" });
  return material;
}

/** Takes over what is written to the files later. The returned stop ends that. */
export function followTls(
  server: Server,
  files: TlsFiles,
  onError: (error: unknown) => void,
  lookMs = LOOK_MS,
): () => void {
  let seen = stampOf(files);
  const timer = setInterval(() => {
    const now = stampOf(files);
    if (now === seen) return;
    seen = now;
    try {
      server.setSecureContext({ ...readTls(files), minVersion: "TLSv1.2" });
    } catch (error) {
      onError(error);
    }
  }, lookMs);
  timer.unref();
  return () => clearInterval(timer);
}

const stampOf = ({ certFile, keyFile }: TlsFiles): string =>
  [certFile, keyFile]
    .map((path) => {
      // A folder that was closed to us or a link that leads to itself, while somebody renews: no reason to die.
      try {
        const stat = statSync(path);
        return `${stat.ctimeMs} ${stat.size} ${stat.ino}`;
      } catch {
        return "none";
      }
    })
    .join();
