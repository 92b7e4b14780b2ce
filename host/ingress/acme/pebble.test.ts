// SPDX-License-Identifier: Apache-2.0
/** Certificates from a real directory, which calls on the ingress and asks the name server. */
import { chmodSync, readdirSync, readFileSync, statSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { expect, test } from "vitest";
import { pebble } from "#testing/pebble.ts";
import { describeWith } from "#testing/requirements.ts";
import { answerTo, ask, type Gate, ingress, machine, route } from "../testing.ts";
import { gateOf, issuerOf, peerOf, place, shake, ZONE } from "./testing.ts";

const DAY_MS = 86_400_000;
const name = (label: string) => `${label}.${ZONE}`;
const FROM_DIRECTORY = /Pebble/;
const hello = () => machine((_asked, response) => response.end("hello"));
const comesFromDirectory = (gate: Gate, domain: string) =>
  expect.poll(() => issuerOf(gate, domain), { timeout: 20_000 }).toMatch(FROM_DIRECTORY);
type Logged = Awaited<ReturnType<typeof ingress>>["logged"];
const made = (logged: Logged) => logged.filter(({ event }) => event === "ingress.acme-certificate");

describeWith([pebble], "with a directory that really checks", () => {
  test.each(["http-01", "dns-01"] as const)(
    "a name is served at once, and with the directory's certificate as soon as %s was believed, and no request fails meanwhile",
    async (challenge) => {
      const at = await place();
      const gate = await gateOf(at, { acme: at.acme({ challenge }) });
      gate.setRoutes([route(await hello(), { domain: name("a") })]);
      expect(await issuerOf(gate, name("a"))).not.toMatch(FROM_DIRECTORY);
      const key = await gate.spkiSha256(name("a"));

      const ca = [gate.caPem, await at.pebble.rootPem()];
      const kept = new Agent({ keepAlive: true, ca });
      const issuers = new Set<string>();
      let asking = true;
      let answered = 0;
      const client = async (agent: Agent | false) => {
        while (asking) {
          const outgoing = request({
            ...{ host: "127.0.0.1", port: gate.httpsPort, servername: name("a"), agent, ca },
            headers: { host: name("a") },
          });
          // On a connection that is kept there is one handshake.
          if (agent === false)
            outgoing.on("socket", (socket) =>
              socket.once("secureConnect", () => {
                const { issuer } = (socket as TLSSocket).getPeerCertificate();
                issuers.add(FROM_DIRECTORY.test(issuer.CN as string) ? "directory" : "own");
              }),
            );
          const answer = answerTo(outgoing);
          outgoing.end();
          expect((await answer).body).toBe("hello");
          answered += 1;
        }
      };
      const clients = Promise.all([client(false), client(false), client(kept)]);
      await Promise.race([comesFromDirectory(gate, name("a")), clients]);
      await sleep(200);
      asking = false;
      await clients;
      kept.destroy();
      expect(issuers).toEqual(new Set(["own", "directory"]));
      expect(answered).toBeGreaterThan(20);
      const certificate = await peerOf(gate, name("a"));
      expect(certificate.subjectaltname).toBe(`DNS:${name("a")}`);
      expect(await gate.spkiSha256(name("a"))).toBe(key);
      expect([...at.texts.values()].flat()).toEqual([]);
      expect(at.asked.has(`_acme-challenge.${name("a")}`)).toBe(challenge === "dns-01");
    },
  );

  test("a restart serves what was there and orders nothing", async () => {
    const at = await place();
    const first = await gateOf(at);
    first.setRoutes([route(await hello(), { domain: name("a") })]);
    await comesFromDirectory(first, name("a"));
    const [before, key] = [await peerOf(first, name("a")), await first.spkiSha256(name("a"))];
    await first.close();
    await at.pebble.stop();
    const second = await gateOf(at, { folder: first.folder });
    second.setRoutes([route(await hello(), { domain: name("a") })]);
    await expect.poll(() => issuerOf(second, name("a"))).toMatch(FROM_DIRECTORY);
    await sleep(300);
    expect((await peerOf(second, name("a"))).serialNumber).toBe(before.serialNumber);
    expect(await second.spkiSha256(name("a"))).toBe(key);
    expect(second.logged.filter(({ event }) => event.startsWith("ingress.acme"))).toEqual([]);
  });

  test("a certificate is renewed at two thirds of its life, with its key, and open connections stay", async () => {
    const at = await place();
    let now = Date.now();
    const gate = await gateOf(at, { now: () => new Date(now) });
    gate.setRoutes([route(await hello(), { domain: name("a") })]);
    await comesFromDirectory(gate, name("a"));
    const first = await peerOf(gate, name("a"));
    const key = await gate.spkiSha256(name("a"));
    const lifeMs = Date.parse(first.valid_to) - Date.parse(first.valid_from);
    const open = await shake(gate, name("a"));
    now += lifeMs * 0.6;
    await sleep(300);
    expect(made(gate.logged)).toHaveLength(1);
    now += lifeMs * 0.1;
    await expect.poll(() => made(gate.logged).length, { timeout: 20_000 }).toBe(2);
    const second = await peerOf(gate, name("a"));
    expect(second.serialNumber).not.toBe(first.serialNumber);
    expect(await gate.spkiSha256(name("a"))).toBe(key);
    open.write(`GET / HTTP/1.1\r\nHost: ${name("a")}\r\nConnection: close\r\n\r\n`);
    expect(await new Promise((resolve) => open.once("data", (bytes) => resolve(String(bytes))))).toMatch(
      /^HTTP\/1\.1 200 /,
    );
    // The clock is far ahead of what was issued: this must not become an order a moment.
    await sleep(300);
    expect(made(gate.logged)).toHaveLength(2);
  });

  test("what cannot be proved is served with our own certificate, and holds up no other name", async () => {
    const at = await place();
    const gate = await gateOf(at);
    // Its address is not ours to answer at: the name server does not know it.
    gate.setRoutes([
      route(await hello(), { domain: "a.elsewhere.test" }),
      route(await hello(), { domain: name("b") }),
    ]);
    await comesFromDirectory(gate, name("b"));
    await expect
      .poll(() => gate.logged.filter(({ event }) => event === "ingress.acme-failed").length, {
        timeout: 20_000,
      })
      .toBe(1);
    const [failed] = gate.logged.filter(({ event }) => event === "ingress.acme-failed");
    expect(failed!.facts).toMatchObject({ domain: "a.elsewhere.test", failures: 1 });
    expect(await issuerOf(gate, "a.elsewhere.test")).not.toMatch(FROM_DIRECTORY);
    expect((await ask(gate, "https", { host: "a.elsewhere.test" })).body).toBe("hello");
  });

  test("a name outside control's zone is proved over HTTP although DNS comes first", async () => {
    const at = await place();
    const publish = () => Promise.reject(Object.assign(new Error("no"), { code: "names.outside-zone" }));
    const gate = await gateOf(at, { acme: at.acme({ challenge: "dns-01", publish }) });
    gate.setRoutes([route(await hello(), { domain: name("a") })]);
    await comesFromDirectory(gate, name("a"));
  });

  test("control's refusal of a proof is a failure and not a certificate", async () => {
    const at = await place();
    const publish = () => Promise.reject(Object.assign(new Error("not yours"), { code: "names.not-held" }));
    const gate = await gateOf(at, { acme: at.acme({ challenge: "dns-01", publish }) });
    gate.setRoutes([route(await hello(), { domain: name("a") })]);
    await expect
      .poll(() => gate.logged.some(({ event }) => event === "ingress.acme-failed"), { timeout: 20_000 })
      .toBe(true);
    expect(await issuerOf(gate, name("a"))).not.toMatch(FROM_DIRECTORY);
  });

  test("a proof is given for tokens of our orders alone, and no workload is asked for one", async () => {
    const at = await place();
    const seen: string[] = [];
    const gate = await gateOf(at);
    const target = await machine((asked, response) => {
      seen.push(asked.url!);
      response.end("from the workload");
    });
    gate.setRoutes([route(target, { domain: name("a") })]);
    const path = "/.well-known/acme-challenge/";
    const statuses = async () => {
      for (const each of [`${path}unknown`, path, `${path}a/../b`, `/.well-known//acme-challenge/unknown`])
        expect([each, (await ask(gate, "http", { host: name("a"), path: each })).status]).toEqual([
          each,
          404,
        ]);
    };
    await statuses();
    await comesFromDirectory(gate, name("a"));
    await statuses();
    expect(seen).toEqual([]);
    const other = { host: name("a"), path: "/.well-known/security.txt" };
    expect((await ask(gate, "http", other)).body).toBe("from the workload");
  });

  test("keys lie in files for their owner alone, and go with the route", async () => {
    const at = await place();
    const gate = await gateOf(at);
    gate.setRoutes([route(null, { domain: name("a") }), route(null, { domain: name("b") })]);
    await Promise.all([comesFromDirectory(gate, name("a")), comesFromDirectory(gate, name("b"))]);
    const folder = join(gate.folder, "acme");
    const files = () => readdirSync(folder).filter((each) => /^[0-9a-f]{64}\.json$/.test(each));
    expect(files()).toHaveLength(2);
    for (const each of readdirSync(folder)) expect(statSync(join(folder, each)).mode & 0o777).toBe(0o600);
    gate.setRoutes([route(null, { domain: name("b") })]);
    await expect.poll(files).toHaveLength(1);
    expect(readFileSync(join(folder, files()[0]!), "utf8")).toContain(name("b"));
    await expect(issuerOf(gate, name("a"))).rejects.toThrow();
  });

  test("a certificate whose file others could read is not served again", async () => {
    const at = await place();
    const first = await gateOf(at);
    first.setRoutes([route(null, { domain: name("a") })]);
    await comesFromDirectory(first, name("a"));
    const before = await first.spkiSha256(name("a"));
    await first.close();
    const folder = join(first.folder, "acme");
    for (const each of readdirSync(folder))
      if (/^[0-9a-f]{64}/.test(each)) chmodSync(join(folder, each), 0o644);
    const second = await gateOf(at, { folder: first.folder });
    second.setRoutes([route(null, { domain: name("a") })]);
    await comesFromDirectory(second, name("a"));
    expect(await second.spkiSha256(name("a"))).not.toBe(before);
  });

  test("a directory that forgot our account is told of it again", async () => {
    const at = await place();
    const gate = await gateOf(at);
    gate.setRoutes([route(null, { domain: name("a") })]);
    await comesFromDirectory(gate, name("a"));
    await at.pebble.stop();
    await at.pebble.start();
    gate.setRoutes([route(null, { domain: name("a") }), route(null, { domain: name("b") })]);
    await comesFromDirectory(gate, name("b"));
  });

  test("a certificate from another directory is replaced, and not served until then", async () => {
    const at = await place();
    const first = await gateOf(at);
    first.setRoutes([route(null, { domain: name("a") })]);
    await comesFromDirectory(first, name("a"));
    await first.close();
    const other = await gateOf(at, {
      folder: first.folder,
      acme: at.acme({ directoryUrl: "https://localhost:1/dir" }),
    });
    other.setRoutes([route(null, { domain: name("a") })]);
    await sleep(200);
    expect(await issuerOf(other, name("a"))).not.toMatch(FROM_DIRECTORY);
  });

  test("a name below localhost is not asked for", async () => {
    const at = await place();
    const gate = await ingress({ acme: at.acme() });
    gate.setRoutes([route(null, { domain: "a.workloads.localhost" })]);
    await sleep(300);
    expect(gate.logged.filter(({ event }) => event.startsWith("ingress.acme"))).toEqual([]);
  });

  test("a certificate that ended is not served once more", async () => {
    const at = await place();
    let now = Date.now();
    const first = await gateOf(at, { now: () => new Date(now) });
    first.setRoutes([route(null, { domain: name("a") })]);
    await comesFromDirectory(first, name("a"));
    const key = await first.spkiSha256(name("a"));
    await at.pebble.stop();
    now += 6 * 365 * DAY_MS;
    await expect.poll(() => issuerOf(first, name("a"))).not.toMatch(FROM_DIRECTORY);
    await first.close();
    // Nor by the next process; the key is the same, whoever signs for it.
    const second = await gateOf(at, { folder: first.folder, now: () => new Date(now) });
    second.setRoutes([route(null, { domain: name("a") })]);
    expect(await second.spkiSha256(name("a"))).toBe(key);
    expect(await issuerOf(second, name("a"))).not.toMatch(FROM_DIRECTORY);
  });
});
