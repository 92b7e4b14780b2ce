// SPDX-License-Identifier: Apache-2.0
/** A directory that really checks signs for keys that machines keep; and one that does not is left in peace. */
import "../reflect-metadata.ts";
import { webcrypto, X509Certificate } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as x509 from "@peculiar/x509";
import { expect, test } from "vitest";
import { pebble } from "#testing/pebble.ts";
import { describeWith } from "#testing/requirements.ts";
import { ask, ingress, MACHINE, route } from "../testing.ts";
import { directory, gateOf, place, TIMING, ZONE } from "./testing.ts";

const FROM_DIRECTORY = /Pebble/;
const NAMES = [`a.${ZONE}`, `b.${ZONE}`];
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

async function machineKey(names: readonly string[] = NAMES) {
  const curve = { name: "ECDSA", namedCurve: "P-256" };
  const keys = await webcrypto.subtle.generateKey(curve, true, ["sign", "verify"]);
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      ...{ keys, signingAlgorithm: { name: "ECDSA", hash: "SHA-256" } },
      extensions: [new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns", value })))],
    },
    webcrypto,
  );
  const spki = Buffer.from(await webcrypto.subtle.exportKey("spki", keys.publicKey));
  return { request: Buffer.from(request.rawData), spki };
}
const routes = (names: readonly string[] = NAMES) =>
  names.map((domain) => route(null, { domain, tlsInside: true }));
const issuerOf = (chain: string) => new X509Certificate(chain).issuer;

describeWith([pebble], "a key that a machine keeps", () => {
  test.each(["http-01", "dns-01"] as const)(
    "is certified by our own authority at once, and by the directory for all its names when %s was believed",
    async (challenge) => {
      const at = await place();
      const gate = await gateOf(at, { acme: at.acme({ challenge }) });
      gate.setRoutes(routes());
      const { request, spki } = await machineKey();
      expect(issuerOf(await gate.certify(NAMES, request))).not.toMatch(FROM_DIRECTORY);
      await expect.poll(() => gate.issuedInside, { timeout: 20_000 }).toEqual([MACHINE]);
      const chain = await gate.certify(NAMES, request);
      const leaf = new X509Certificate(chain);
      expect(leaf.issuer).toMatch(FROM_DIRECTORY);
      expect(leaf.subjectAltName!.split(", ").sort()).toEqual(NAMES.map((name) => `DNS:${name}`));
      expect(leaf.publicKey.export({ type: "spki", format: "der" })).toEqual(spki);
      expect(chain.match(/BEGIN CERTIFICATE/g)!.length).toBeGreaterThan(1);
      // Nothing of the machine's key is here, and nothing of the proofs is left.
      const folder = join(gate.folder, "acme");
      const files = readdirSync(folder).filter((name) => name.startsWith("inside-"));
      expect(files).toHaveLength(1);
      expect(readFileSync(join(folder, files[0]!), "utf8")).not.toMatch(/PRIVATE/);
      expect([...at.texts.values()].flat()).toEqual([]);
      // Everything else of these names in clear goes where TLS is.
      expect((await ask(gate, "http", { host: NAMES[0]! })).status).toBe(308);
    },
  );

  test("is the same after a restart of the host, and another start's key has an order of its own", async () => {
    const at = await place();
    const first = await gateOf(at);
    first.setRoutes(routes());
    const one = await machineKey();
    await first.certify(NAMES, one.request);
    await expect.poll(() => first.issuedInside, { timeout: 20_000 }).toEqual([MACHINE]);
    const chain = await first.certify(NAMES, one.request);
    await first.close();
    const next = await gateOf(at, { folder: first.folder });
    next.setRoutes(routes());
    expect(await next.certify(NAMES, one.request)).toBe(chain);
    const two = await machineKey();
    expect(issuerOf(await next.certify(NAMES, two.request))).not.toMatch(FROM_DIRECTORY);
    await expect.poll(() => next.issuedInside, { timeout: 20_000 }).toEqual([MACHINE]);
    const leaf = new X509Certificate(await next.certify(NAMES, two.request));
    expect(leaf.issuer).toMatch(FROM_DIRECTORY);
    expect(leaf.publicKey.export({ type: "spki", format: "der" })).toEqual(two.spki);
    // With its names goes what was known of them.
    next.setRoutes([]);
    const files = () => readdirSync(join(next.folder, "acme")).filter((name) => name.startsWith("inside-"));
    await expect.poll(files).toEqual([]);
  });

  test("is renewed at two thirds of its life, and one machine's new keys are ordered for a few times a week", async () => {
    const at = await place();
    let now = Date.now();
    const gate = await gateOf(at, { now: () => new Date(now) });
    gate.setRoutes(routes());
    const one = await machineKey();
    await gate.certify(NAMES, one.request);
    await expect.poll(() => gate.issuedInside.length, { timeout: 20_000 }).toBe(1);
    for (let more = 2; more <= 4; more++) {
      await gate.certify(NAMES, (await machineKey()).request);
      await expect.poll(() => gate.issuedInside.length, { timeout: 20_000 }).toBe(more);
    }
    const last = await machineKey();
    expect(issuerOf(await gate.certify(NAMES, last.request))).not.toMatch(FROM_DIRECTORY);
    await sleep(400);
    expect(gate.issuedInside).toHaveLength(4);
    now += 8 * DAY_MS;
    await expect.poll(() => gate.issuedInside.length, { timeout: 20_000 }).toBe(5);
    const { notAfter } = await leafOf(await gate.certify(NAMES, last.request));
    now += (notAfter - now) * 0.7;
    await expect.poll(() => gate.issuedInside.length, { timeout: 20_000 }).toBe(6);
  });
});

const leafOf = async (chain: string) => ({ notAfter: new X509Certificate(chain).validToDate.getTime() });

test("a directory is asked for nothing when the request has other names than the machine is to have", async () => {
  const calls: string[] = [];
  const at = await directory((asked, response) => {
    calls.push(asked.url!);
    response.writeHead(500).end("{}");
  });
  const gate = await ingress({
    acme: {
      ...{ directoryUrl: at.directoryUrl, ca: at.ca, email: null, challenge: "http-01", timing: TIMING },
      publish: async () => {},
    },
  });
  gate.setRoutes(routes());
  const { request } = await machineKey([...NAMES, "bank.test"]);
  await gate.certify(NAMES, request);
  await gate.certify(NAMES.slice(0, 1), (await machineKey()).request);
  // Of a machine that has no such route.
  await gate.certify(["c.test"], (await machineKey(["c.test"])).request);
  await sleep(300);
  expect(calls).toEqual([]);
  // It fails here, and is not asked again for a while, although the machine asks on.
  const own = await machineKey();
  for (let time = 0; time < 5; time++) {
    expect(issuerOf(await gate.certify(NAMES, own.request))).toMatch(/Casemate/);
    await sleep(50);
  }
  const failed = () => gate.logged.filter(({ event }) => event === "ingress.acme-failed");
  await expect.poll(() => failed().length, { timeout: 20_000 }).toBe(1);
  const asked = calls.length;
  await gate.certify(NAMES, (await machineKey()).request);
  await sleep(300);
  expect(failed()).toHaveLength(1);
  expect(calls).toHaveLength(asked);
});
