// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, describe, expect, it } from "vitest";
import { newLeafKey, openAuthority } from "#host/ingress/authority.ts";
import { startInstallation } from "#testing/installation.ts";
import { followTls, readTls, requireGuarded } from "./tls.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-tls-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const files = { certFile: join(folder, "api.crt"), keyFile: join(folder, "api.key") };
const { authority } = await openAuthority(join(folder, "ca"), new Date());

async function renew(): Promise<string> {
  const key = await newLeafKey();
  const { certificatePem } = await authority.sign("localhost", key, new Date());
  writeFileSync(files.certFile, certificatePem);
  writeFileSync(files.keyFile, key.keyPem);
  return new X509Certificate(certificatePem).fingerprint256;
}

/** The status, and whose certificate it was. */
function get(url: string): Promise<{ status: number; fingerprint: string }> {
  return new Promise((resolve, reject) => {
    request(url, { ca: authority.caPem, agent: false }, (response) => {
      const fingerprint = (response.socket as TLSSocket).getPeerX509Certificate()!.fingerprint256;
      response.resume().on("end", () => resolve({ status: response.statusCode!, fingerprint }));
    })
      .on("error", reject)
      .end();
  });
}

describe("plain HTTP", () => {
  it.each(["0.0.0.0", "::", "10.1.2.3", "example.com", "localhost.example.com", "127.0.0.1.example.com"])(
    "is refused on %s, unless the operator says that the network is closed",
    (host) => {
      expect(() => requireGuarded({ host, tls: null, insecure: false })).toThrow("--insecure");
      expect(() => requireGuarded({ host, tls: null, insecure: true })).not.toThrow();
      expect(() => requireGuarded({ host, tls: files, insecure: false })).not.toThrow();
    },
  );
  it.each(["127.0.0.1", "127.8.0.1", "::1", "localhost"])("is served on %s", (host) => {
    expect(() => requireGuarded({ host, tls: null, insecure: false })).not.toThrow();
  });
  it("stops control from starting before anything listens", async () => {
    const config = { http: { host: "0.0.0.0", insecure: false } };
    await expect(startInstallation({ withHost: false, config })).rejects.toThrow("--insecure");
  });
});

describe("TLS of the API", () => {
  it("is served with the operator's certificate, and a plain request gets nothing", async () => {
    const fingerprint = await renew();
    await using casemate = await startInstallation({ withHost: false, config: { http: { tls: files } } });
    expect(casemate.url).toMatch(/^https:/);
    const { port } = new URL(casemate.url);
    expect(await get(`https://localhost:${port}/livez`)).toEqual({ status: 200, fingerprint });
    await expect(fetch(`http://localhost:${port}/livez`)).rejects.toThrow();
  });

  it("is not awaited for long, from a client that only connects, begins and stops, or speaks plainly", async () => {
    await renew();
    await using casemate = await startInstallation({ withHost: false, config: { http: { tls: files } } });
    const port = Number(new URL(casemate.url).port);
    const began = performance.now();
    const clients = ["", "\x16\x03\x01\x02\x00\x01", "GET / HTTP/1.1\r\n\r\n"].map((said) => {
      const client = connect(port, "127.0.0.1");
      client.on("error", () => {});
      client.write(Buffer.from(said, "latin1"));
      return once(client, "close");
    });
    await Promise.all(clients);
    expect(performance.now() - began).toBeLessThan(14_000);
  }, 20_000);

  it("takes over a renewed certificate, and keeps the old one while the files do not fit", async () => {
    const first = await renew();
    const server: Server = createServer(readTls(files), (_request, response) => response.end("ok"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const told: unknown[] = [];
    const stop = followTls(server, files, (error) => told.push(error), 20);
    try {
      const url = `https://localhost:${(server.address() as { port: number }).port}/`;
      writeFileSync(files.certFile, "-----BEGIN CERTIFICATE-----\nMIIB");
      await expect.poll(() => told.length).toBeGreaterThan(0);
      expect((await get(url)).fingerprint).toBe(first);
      const second = await renew();
      expect(second).not.toBe(first);
      await expect.poll(async () => (await get(url)).fingerprint).toBe(second);
    } finally {
      stop();
      server.close();
    }
  });

  it("lives on while the files are links that lead nowhere or to themselves", async () => {
    const first = await renew();
    const links = { certFile: join(folder, "live.crt"), keyFile: join(folder, "live.key") };
    const lead = (to: typeof files) => {
      for (const name of ["certFile", "keyFile"] as const) {
        rmSync(links[name], { force: true });
        symlinkSync(to[name], links[name]);
      }
    };
    lead(files);
    const server: Server = createServer(readTls(links), (_request, response) => response.end("ok"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const told: unknown[] = [];
    const stop = followTls(server, links, (error) => told.push(error), 20);
    try {
      const url = `https://localhost:${(server.address() as { port: number }).port}/`;
      lead(links);
      await expect.poll(() => told.length).toBe(1);
      expect((await get(url)).fingerprint).toBe(first);
      lead(files);
      const second = await renew();
      await expect.poll(async () => (await get(url)).fingerprint).toBe(second);
    } finally {
      stop();
      server.close();
    }
  });

  it("does not start with a key that is another certificate's", async () => {
    await renew();
    writeFileSync(files.keyFile, (await newLeafKey()).keyPem);
    const config = { http: { tls: files } };
    await expect(startInstallation({ withHost: false, config })).rejects.toThrow(/key/i);
  });
});
