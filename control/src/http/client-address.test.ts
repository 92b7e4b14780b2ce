// SPDX-License-Identifier: Apache-2.0
/** Who is counted: whoever is on the other end of the socket, or whom our own ingress says. */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Installation, startInstallation } from "#testing/installation.ts";

const PROOF = "the-secret-of-the-ingress";
const DOMAIN = "api.workloads.localhost";
const folder = mkdtempSync(join(tmpdir(), "casemate-address-"));
let casemate: Installation;
let port: number;
beforeAll(async () => {
  const proofFile = join(folder, "ingress.proof");
  writeFileSync(proofFile, `${PROOF}\n`, { mode: 0o600 });
  port = await freePort();
  casemate = await startInstallation({
    kept: new FakeKeptDriver(),
    config: { http: { port, ingressProofHash: createHash("sha256").update(PROOF).digest("hex") } },
    ingress: { api: { domain: DOMAIN, port, proofFile } },
  });
});
afterAll(async () => {
  await casemate?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** The addresses that one call was counted for. */
async function counted(open: typeof httpRequest, options: RequestOptions): Promise<string[]> {
  await sql`delete from rate_windows`.execute(casemate.control.db.run);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const path = "/platform/v1/issuers";
  const sent = open({ host: "127.0.0.1", path, agent: false, ...options }, (response) => {
    response.resume().on("end", () => resolve(response.statusCode!));
  });
  sent.on("error", reject).end();
  expect(await promise).toBe(200);
  const { rows } = await sql<{ subject: string }>`
    select subject from rate_windows where subject like 'ip:%'`.execute(casemate.control.db.run);
  return rows.map(({ subject }) => subject.split(":").slice(2).join(":"));
}

const SPOOF = {
  "x-forwarded-for": "198.51.100.9",
  forwarded: "for=198.51.100.9",
  "x-real-ip": "198.51.100.9",
};

it("is by default the socket's address, whatever a program of this machine says", async () => {
  expect(await counted(httpRequest, { port, headers: SPOOF })).toEqual(["127.0.0.1"]);
  expect(await counted(httpRequest, { port, headers: { ...SPOOF, "x-casemate-proof": "a guess" } })).toEqual([
    "127.0.0.1",
  ]);
});

it("is the ingress's client behind the ingress, which lets no client speak for another", async () => {
  const { ingress } = (
    await sql<{ ingress: { httpsPort: number; caPem: string } }>`
      select facts->'ingress' as ingress from hosts`.execute(casemate.control.db.run)
  ).rows[0]!;
  const through = {
    ...{ port: ingress.httpsPort, ca: ingress.caPem, servername: DOMAIN, localAddress: "127.0.0.5" },
    headers: { ...SPOOF, host: DOMAIN, "x-casemate-proof": "a guess" },
  };
  expect(await counted(httpsRequest as typeof httpRequest, through)).toEqual(["127.0.0.5"]);
});
