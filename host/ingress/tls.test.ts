// SPDX-License-Identifier: Apache-2.0

import { spawn } from "node:child_process";
import { createHash, type X509Certificate } from "node:crypto";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { ask, DOMAIN, dial, type Gate, ingress, machine, route, scratch, textOf } from "./testing.ts";

const DAY_MS = 86_400_000;

async function handshake(to: Gate, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({ host: "127.0.0.1", port: to.httpsPort, ca: to.caPem, ...options });
  await once(socket, "secureConnect");
  return socket;
}

async function certificateOf(to: Gate, name = DOMAIN): Promise<X509Certificate> {
  const socket = await handshake(to, { servername: name });
  const certificate = socket.getPeerX509Certificate()!;
  socket.destroy();
  return certificate;
}

const spkiOf = (certificate: X509Certificate) =>
  createHash("sha256")
    .update(certificate.publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");

test("a client that trusts our authority alone is served, and told the truth about the key", async () => {
  const gate = await ingress();
  gate.setRoutes([route(await machine((_asked, response) => response.end("hello")))]);
  expect((await ask(gate, "https")).body).toBe("hello");
  const certificate = await certificateOf(gate);
  expect(certificate.subjectAltName).toBe(`DNS:${DOMAIN}`);
  expect(await gate.spkiSha256(DOMAIN)).toBe(spkiOf(certificate));
  expect(await gate.spkiSha256("b.workloads.test")).toBeNull();
});

test("a certificate is for its own name: another authority, or another name, is not trusted", async () => {
  const gate = await ingress();
  const other = await ingress();
  gate.setRoutes([route(null), route(null, { domain: "b.workloads.test" })]);
  await expect(handshake(gate, { servername: DOMAIN, ca: other.caPem })).rejects.toThrow(
    /certificate|issuer/,
  );
  const socket = await handshake(gate, { servername: "b.workloads.test" });
  expect(socket.getPeerX509Certificate()!.checkHost(DOMAIN)).toBeUndefined();
  socket.destroy();
});

test.each([
  ["a name without a route", "c.workloads.test"],
  ["no name", ""],
  ["a name below a route's", `x.${DOMAIN}`],
])("the handshake of %s fails with an alert, and nothing is signed", async (_what, servername) => {
  const gate = await ingress();
  gate.setRoutes([route(null)]);
  await expect(handshake(gate, { servername, rejectUnauthorized: false })).rejects.toThrow(/alert/);
  expect(gate.logged.map(({ event }) => event)).toEqual(["ingress.authority-made"]);
});

test("TLS before 1.2 is refused", async () => {
  const gate = await ingress();
  gate.setRoutes([route(null)]);
  const old = {
    servername: DOMAIN,
    minVersion: "TLSv1.1",
    maxVersion: "TLSv1.1",
    ciphers: "DEFAULT:@SECLEVEL=0",
  };
  await expect(handshake(gate, old as ConnectionOptions)).rejects.toThrow(/alert|protocol/);
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const socket = await handshake(gate, { servername: DOMAIN, minVersion: version, maxVersion: version });
    expect(socket.getProtocol()).toBe(version);
    socket.destroy();
  }
});

test.each(["TLSv1.2", "TLSv1.3"] as const)(
  "a %s ticket does not bring a client past a route that is gone, or to another's name",
  async (maxVersion) => {
    const gate = await ingress();
    const served = await machine((_asked, response) => response.end("hello"));
    gate.setRoutes([route(served), route(served, { domain: "b.workloads.test" })]);
    const first = connect({
      host: "127.0.0.1",
      port: gate.httpsPort,
      ca: gate.caPem,
      servername: DOMAIN,
      maxVersion,
    });
    const [session] = (await once(first, "session")) as [Buffer];
    first.destroy();
    const resumed = await handshake(gate, { servername: DOMAIN, session, maxVersion });
    expect(resumed.isSessionReused()).toBe(true);
    resumed.destroy();
    const elsewhere = await handshake(gate, { servername: "b.workloads.test", session, maxVersion });
    expect(elsewhere.isSessionReused()).toBe(false);
    elsewhere.destroy();
    gate.setRoutes([]);
    const late = connect({
      ...{ host: "127.0.0.1", port: gate.httpsPort, ca: gate.caPem, servername: DOMAIN },
      ...{ session, maxVersion, rejectUnauthorized: false },
    });
    late
      .on("error", () => {})
      .on("secureConnect", () => late.write(`GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\n\r\n`));
    expect(await text(late).catch(() => "")).toBe("");
  },
);

test("one certificate is made for a domain, however many ask at once", async () => {
  const gate = await ingress();
  gate.setRoutes([route(null)]);
  const certificates = await Promise.all(Array.from({ length: 12 }, () => certificateOf(gate)));
  expect(new Set(certificates.map((each) => each.serialNumber)).size).toBe(1);
  expect(gate.logged.filter(({ event }) => event === "ingress.certificate-made")).toHaveLength(1);
});

test("a certificate is renewed before its end and keeps its key, while the old one serves", async () => {
  let at = Date.now() - 21 * DAY_MS;
  const gate = await ingress({ now: () => new Date(at) });
  gate.setRoutes([route(null)]);
  const first = await certificateOf(gate);
  at += 19 * DAY_MS;
  expect((await certificateOf(gate)).serialNumber).toBe(first.serialNumber);
  at += 2 * DAY_MS;
  await certificateOf(gate);
  await expect.poll(() => gate.logged.filter(({ facts }) => facts.renewed === true).length).toBe(1);
  const second = await certificateOf(gate);
  expect(second.serialNumber).not.toBe(first.serialNumber);
  expect(second.validToDate.getTime()).toBeGreaterThan(first.validToDate.getTime());
  expect(spkiOf(second)).toBe(spkiOf(first));
  expect(await gate.spkiSha256(DOMAIN)).toBe(spkiOf(first));
});

test("an expired certificate is not served once more", async () => {
  let at = Date.now() - 31 * DAY_MS;
  const gate = await ingress({ now: () => new Date(at) });
  gate.setRoutes([route(null)]);
  await expect(certificateOf(gate)).rejects.toThrow(/expired/);
  at += 31 * DAY_MS;
  await certificateOf(gate);
});

test("a domain that went and came back has a new key", async () => {
  const gate = await ingress();
  gate.setRoutes([route(null)]);
  const first = await gate.spkiSha256(DOMAIN);
  gate.setRoutes([]);
  gate.setRoutes([route(null)]);
  expect(await gate.spkiSha256(DOMAIN)).not.toBe(first);
});

test("a restart serves under the same authority", async () => {
  const folder = join(scratch(), "ca");
  const first = await ingress({ folder });
  await first.close();
  const second = await ingress({ folder });
  second.setRoutes([route(null)]);
  expect(second.caPem).toBe(first.caPem);
  expect((await ask({ ...second, caPem: first.caPem }, "https")).status).toBe(503);
});

test("rubbish instead of TLS ends its connection and nothing else", async () => {
  const gate = await ingress();
  gate.setRoutes([route(null)]);
  const socket = await dial({ ...gate, httpPort: gate.httpsPort }, "http");
  socket.write("GET / HTTP/1.1\r\n\r\n");
  await textOf(socket);
  expect((await ask(gate, "https")).status).toBe(503);
});

describeWith([{ met: existsSync("/usr/bin/curl"), reason: "needs curl" }], "curl", () => {
  test("gets through both ports with our authority's certificate", async () => {
    const gate = await ingress();
    gate.setRoutes([
      route(await machine((asked, response) => response.end(`${asked.headers["x-forwarded-proto"]}`))),
    ]);
    const ca = join(scratch(), "ca.pem");
    writeFileSync(ca, gate.caPem);
    for (const [scheme, port] of [
      ["http", gate.httpPort],
      ["https", gate.httpsPort],
    ] as const) {
      const url = `${scheme}://${DOMAIN}:${port}/`;
      const arguments_ = ["-sS", "--max-time", "20", "--noproxy", "*", "--cacert", ca];
      const child = spawn("curl", [...arguments_, "--resolve", `${DOMAIN}:${port}:127.0.0.1`, url]);
      expect([await text(child.stdout), await text(child.stderr)]).toEqual([scheme, ""]);
    }
  });
});
