// SPDX-License-Identifier: Apache-2.0
import "./reflect-metadata.ts";
import { webcrypto, X509Certificate } from "node:crypto";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { expect, test } from "vitest";
import { openAuthority } from "./authority.ts";
import { certifyRequest, REQUEST_BYTES_MAX, RequestRefused } from "./certify.ts";
import { scratch } from "./testing.ts";

const NOW = new Date("2030-01-01T00:00:00Z");
const OWN = ["a.example.test", "b.example.test"];

async function requestFor(names: readonly string[], curve = "P-256") {
  const keys = await webcrypto.subtle.generateKey({ name: "ECDSA", namedCurve: curve }, true, [
    "sign",
    "verify",
  ]);
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      ...{ name: "O=guest", keys, signingAlgorithm: { name: "ECDSA", hash: "SHA-256" } },
      extensions:
        names.length === 0
          ? []
          : [new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns", value })))],
    },
    webcrypto,
  );
  return { keys, der: Buffer.from(request.rawData) };
}

const authority = async () => (await openAuthority(join(scratch(), "ca"), NOW)).authority;

test("a machine's key is certified for all its names and no other, whatever else it asks for", async () => {
  const signer = await authority();
  const { keys, der } = await requestFor(["A.example.test", "bank.test"]);
  const { certificatePem, notAfter } = await certifyRequest(signer, OWN, der, NOW);
  const leaf = new X509Certificate(certificatePem);
  expect(leaf.subjectAltName).toBe("DNS:a.example.test, DNS:b.example.test");
  expect(leaf.ca).toBe(false);
  expect(leaf.verify(new X509Certificate(signer.caPem).publicKey)).toBe(true);
  const spki = Buffer.from(await webcrypto.subtle.exportKey("spki", keys.publicKey));
  expect(leaf.publicKey.export({ type: "spki", format: "der" })).toEqual(spki);
  expect(notAfter).toEqual(leaf.validToDate);
});

test.each([
  ["for other names", async () => (await requestFor(["bank.test"])).der, OWN, /other names/],
  ["for no name", async () => (await requestFor([])).der, OWN, /other names/],
  ["of a machine without names", async () => (await requestFor(OWN)).der, [], /no name/],
  ["with a key of another curve", async () => (await requestFor(OWN, "P-384")).der, OWN, /P-256/],
  ["that is cut", async () => (await requestFor(OWN)).der.subarray(0, -9), OWN, /read|signed/],
  ["that is none", async () => Buffer.from("hello"), OWN, /read/],
  ["that is too long", async () => Buffer.alloc(REQUEST_BYTES_MAX + 1), OWN, /too long/],
])("a request %s is refused", async (_what, make, domains, words) => {
  const refused = certifyRequest(await authority(), domains, await make(), NOW);
  await expect(refused).rejects.toThrow(RequestRefused);
  await expect(refused).rejects.toThrow(words);
});

test("a key is certified only for who has it", async () => {
  const signer = await authority();
  const [mine, other] = [await requestFor(OWN), await requestFor(OWN)];
  const spki = Buffer.from(await webcrypto.subtle.exportKey("spki", mine.keys.publicKey));
  const stolen = Buffer.from(await webcrypto.subtle.exportKey("spki", other.keys.publicKey));
  const forged = Buffer.from(mine.der);
  stolen.copy(forged, forged.indexOf(spki));
  await expect(certifyRequest(signer, OWN, forged, NOW)).rejects.toThrow(/not signed by its key/);
});
