// SPDX-License-Identifier: Apache-2.0
/**
 * A workload's certificate through the whole house: the host orders it, asks control over the link for
 * the proof, every replica's name server shows it, a real directory believes it, and the ingress serves it.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { expect, it, onTestFinished } from "vitest";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { callerOf, startInstallation } from "#testing/installation.ts";
import { pebble, startPebble } from "#testing/pebble.ts";
import { describeWith } from "#testing/requirements.ts";

const ASK = {
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
  dockerCompose: "services:\n  api:\n    image: caddy:2",
  ...{ memory: 512, cpus: 1, disk: 5 },
};

describeWith([pebble], "a workload's name", () => {
  it.each(["http-01", "dns-01"] as const)(
    "has a certificate that a client of the directory trusts, proved by %s, on a replica that the host never spoke to",
    async (challenge) => {
      const folder = mkdtempSync(join(tmpdir(), "casemate-certificates-"));
      onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
      const [httpPort, ...ports] = await Promise.all([freePort(), freePort(), freePort()]);
      const config = (port: number) => ({
        workloads: { zone: "apps.test" },
        names: { host: "127.0.0.1", port, nameServers: [{ name: "ns.elsewhere.test", addresses: [] }] },
      });
      const driver = new FakeKeptDriver();
      const directory = await startPebble({ nameServer: `127.0.0.1:${ports[1]!}`, httpPort });
      onTestFinished(() => directory.dispose());
      onTestFinished(async () => {
        for (const id of [...driver.running.keys()]) await driver.remove(id);
      });
      const caFile = join(folder, "directory.pem");
      writeFileSync(caFile, directory.caPem);
      const acme = { directoryUrl: directory.directoryUrl, caFile, challenge };
      await using one = await startInstallation({
        ...{ kept: driver, config: config(ports[0]!), ingress: { httpPort, acme } },
      });
      await using two = await startInstallation({
        ...{ withHost: false, config: config(ports[1]!), replica: "two", database: one.connection },
      });
      const operator = callerOf(one.url, two.adminKey);
      const { body: made } = await operator("POST", "/api/v1/accounts/create", {
        name: "a",
        credits: 1000,
      });
      const me = callerOf(one.url, made.apiToken);
      const { body, status } = await me("POST", "/api/v1/workloads/create", ASK);
      expect(status).toBe(201);
      const { httpsPort } = one.host.facts().ingress!;
      await expect
        .poll(() => issuerOf(httpsPort, body.domain).catch(String), { timeout: 40_000, interval: 200 })
        .toMatch(/Pebble/);
      const trusted = await new Promise<boolean>((resolve, reject) => {
        directory.rootPem().then((ca) => {
          const socket = connect({ host: "127.0.0.1", port: httpsPort, servername: body.domain, ca }, () => {
            resolve(socket.authorized);
            socket.destroy();
          }).on("error", reject);
        }, reject);
      });
      expect(trusted).toBe(true);
    },
  );
});

function issuerOf(port: number, servername: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, servername, rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().issuer.CN));
      socket.destroy();
    }).on("error", reject);
  });
}
