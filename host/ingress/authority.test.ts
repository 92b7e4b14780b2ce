// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from "node:crypto";
import { chmodSync, copyFileSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { newLeafKey, openAuthority } from "./authority.ts";
import { scratch } from "./testing.ts";

const NOW = new Date("2030-01-01T00:00:00Z");
const DAY_MS = 86_400_000;

test("the authority may sign servers and no other authority, for ten years", async () => {
  const { authority, made } = await openAuthority(join(scratch(), "ca"), NOW);
  const ca = new X509Certificate(authority.caPem);
  expect(made).toBe(true);
  expect(ca.ca).toBe(true);
  expect(ca.subject).toMatch(/^CN=Casemate local CA [0-9a-f]{8}$/);
  expect(ca.verify(ca.publicKey)).toBe(true);
  expect(ca.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: "prime256v1" });
  // basicConstraints, critical, CA true, path length 0; keyUsage, critical, keyCertSign and cRLSign.
  expect(ca.raw.toString("hex")).toContain("0603551d130101ff040830060101ff020100");
  expect(ca.raw.toString("hex")).toContain("0603551d0f0101ff040403020106");
  expect((ca.validToDate.getTime() - NOW.getTime()) / DAY_MS).toBe(3650);
});

test("a leaf verifies against the authority for exactly its domain and at most 90 days", async () => {
  const { authority } = await openAuthority(join(scratch(), "ca"), NOW);
  const key = await newLeafKey();
  const leaf = new X509Certificate((await authority.sign("a.example.test", key, NOW)).certificatePem);
  const ca = new X509Certificate(authority.caPem);
  expect(leaf.checkIssued(ca)).toBe(true);
  expect(leaf.verify(ca.publicKey)).toBe(true);
  expect(leaf.ca).toBe(false);
  expect(leaf.subjectAltName).toBe("DNS:a.example.test");
  expect(leaf.checkHost("a.example.test")).toBe("a.example.test");
  for (const other of ["b.a.example.test", "example.test", "b.example.test"])
    expect(leaf.checkHost(other)).toBeUndefined();
  expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
  expect((leaf.validToDate.getTime() - NOW.getTime()) / DAY_MS).toBeLessThanOrEqual(90);
  expect(leaf.validFromDate.getTime()).toBeLessThan(NOW.getTime());
});

test("a leaf does not outlive its authority", async () => {
  const { authority } = await openAuthority(join(scratch(), "ca"), NOW);
  const nearTheEnd = new Date(NOW.getTime() + 3645 * DAY_MS);
  const { notAfter } = await authority.sign("a.example.test", await newLeafKey(), nearTheEnd);
  expect(notAfter).toEqual(new X509Certificate(authority.caPem).validToDate);
});

test("a restart keeps the authority, and both files are their owner's alone", async () => {
  const folder = join(scratch(), "ca");
  const first = await openAuthority(folder, NOW);
  const again = await openAuthority(folder, new Date(NOW.getTime() + DAY_MS));
  expect(again).toMatchObject({ made: false, authority: { caPem: first.authority.caPem } });
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect(statSync(join(folder, "ca.key")).mode & 0o777).toBe(0o600);
  const leaf = await again.authority.sign("a.example.test", await newLeafKey(), NOW);
  const ca = new X509Certificate(first.authority.caPem);
  expect(new X509Certificate(leaf.certificatePem).verify(ca.publicKey)).toBe(true);
});

test("a start that was cut after the key was written goes on with that key", async () => {
  const folder = join(scratch(), "ca");
  const first = await openAuthority(folder, NOW);
  rmSync(join(folder, "ca.pem"));
  const again = await openAuthority(folder, NOW);
  const [one, two] = [first, again].map(({ authority }) => new X509Certificate(authority.caPem));
  expect(two!.publicKey.equals(one!.publicKey)).toBe(true);
});

test("a key that others can read is refused", async () => {
  const folder = join(scratch(), "ca");
  await openAuthority(folder, NOW);
  chmodSync(join(folder, "ca.key"), 0o640);
  await expect(openAuthority(folder, NOW)).rejects.toThrow(/read by others/);
});

test("a certificate of another key, or past its end, is refused and left as it is", async () => {
  const folder = join(scratch(), "ca");
  const other = join(scratch(), "ca");
  await openAuthority(folder, NOW);
  await expect(openAuthority(folder, new Date(NOW.getTime() + 3651 * DAY_MS))).rejects.toThrow(/expired/);
  await openAuthority(other, NOW);
  copyFileSync(join(other, "ca.pem"), join(folder, "ca.pem"));
  const before = readFileSync(join(folder, "ca.pem"), "utf8");
  await expect(openAuthority(folder, NOW)).rejects.toThrow(/does not belong/);
  expect(readFileSync(join(folder, "ca.pem"), "utf8")).toBe(before);
});
