// SPDX-License-Identifier: Apache-2.0
/** What is one tenant's (who logs in, by which keys the machine is known, its token, its name) is in nothing that another is told. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { INSTANCES } from "#contract/instances/index.ts";
import { openZoneRecords } from "#control/src/core/ingress/index.ts";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { ed25519Pair } from "#testing/ssh-keys.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-apart-"));
const driver = new AttestedDriver();
/** With a model to ask, so that machines are given a token. */
const INFERENCE = {
  baseUrl: "http://192.0.2.1/inference/v1",
  upstreams: [
    {
      ...{ name: "own", baseUrl: "http://127.0.0.1:1", keyFile: null },
      models: [{ id: "default", inputMicrosPerMillion: 1, outputMicrosPerMillion: 1 }],
    },
  ],
};
let casemate: Installation;
/** In two rows of the same day, with names and machines of their own. */
const tenants: { call: Caller; name: string; secrets: string[]; address: string; hostname: string }[] = [];

beforeAll(async () => {
  const image = await writeSpecimenImage(folder, "0.1.0", "base", "base");
  driver.images.set(image.sha256, image.metadata);
  casemate = await startInstallation({
    ...{
      kept: driver,
      config: { imagesFolder: folder, instances: { requestsPerMinute: null, inference: INFERENCE } },
    },
    ssh: { addresses: "127.75.0.0/16", port: await freePort(), redirect: false },
  });
  const admin = callerOf(casemate.url, casemate.adminKey);
  for (const slug of ["left", "right"]) {
    const { api_key: key } = (await admin("POST", "/platform/v1/tenants", { name: slug })).body;
    const call = callerOf(casemate.url, key);
    const pair = ed25519Pair(`me@${slug}`);
    const made = await call("POST", "/v1/instances", { agent: "none", public_key: pair.public });
    const { name, hostname } = made.body.data;
    const { body } = await call("GET", `/v1/instances/${name}?wait=ready&timeout=30`);
    const { address, known_hosts } = body.data.ssh;
    const [machineId] = [...driver.claims].find(([, claim]) => claim.hostname === hostname)!;
    const { inference } = driver.claims.get(machineId)!;
    const hostKeys = (known_hosts as string[]).map((line) => line.split(" ")[2]!);
    const bits = [
      pair.public.split(" ")[1]!,
      `me@${slug}`,
      ...hostKeys,
      inference!.token,
      name,
      machineId,
      key,
    ];
    tenants.push({ call, name, address, hostname, secrets: bits });
  }
});
afterAll(async () => {
  await casemate?.[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

/** Events and logs go on for ever; what was said within a moment counts. */
async function textOf(me: Caller, path: string): Promise<{ status: number; text: string }> {
  const signal = AbortSignal.timeout(1_500);
  const reply = await fetch(casemate.url + path, { headers: { authorization: `Bearer ${me.key}` }, signal });
  let text = "";
  try {
    for await (const part of reply.body!.pipeThrough(new TextDecoderStream())) text += part;
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return { status: reply.status, text };
}

it.each([
  ["first", 0, 1],
  ["second", 1, 0],
] as const)("no answer to the %s tenant has a word of the other's", async (_which, mine, theirs) => {
  const [me, them] = [tenants[mine]!, tenants[theirs]!];
  let own = "";
  let told = "";
  for (const { path } of INSTANCES.filter((one) => one.method === "GET")) {
    own += (await textOf(me.call, path.replace(":name", me.name))).text;
    const { status, text } = await textOf(me.call, path.replace(":name", them.name));
    if (path.includes(":name")) expect([path, status]).toEqual([path, 404]);
    told += text;
  }
  const [key, comment, hostKey] = me.secrets;
  for (const word of [key, comment, hostKey, me.name]) expect(own).toContain(word);
  for (const word of them.secrets) expect(own + told).not.toContain(word);
  expect(own + told).not.toContain(them.address);
  // Not even to its own tenant: tokens and keys of the API are shown once or never.
  const [, , , token] = me.secrets;
  expect(own).not.toContain(token);
  expect(own).not.toContain(me.secrets.at(-1));
});

it.each(["stop", "start", "restart", "DELETE"])(
  "a tenant cannot %s what is another's, and it stays ready",
  async (verb) => {
    const [me, them] = [tenants[0]!, tenants[1]!];
    const path = `/v1/instances/${them.name}`;
    const { status } = await (verb === "DELETE"
      ? me.call("DELETE", path)
      : me.call("POST", `${path}/${verb}`));
    expect(status).toBe(404);
    expect((await them.call("GET", path)).body.data).toMatchObject({ status: "ready", power: "running" });
  },
);

it("the name server tells the address of a name, and nothing else of whose it is", async () => {
  const { lookup } = openZoneRecords({
    ...{ db: casemate.control.db.run, zone: "workloads.localhost", instancesZone: "casemate.internal" },
  });
  for (const { hostname, address, name } of tenants) {
    expect(await lookup(hostname, "A")).toEqual([{ type: "A", address, ttlSeconds: expect.any(Number) }]);
    const [mine] = tenants.filter((one) => one.name !== name);
    const [, slug] = mine!.hostname.split(".");
    expect(await lookup(`${name}.${slug}.casemate.internal`, "A")).toBeNull();
    for (const type of ["TXT", "ANY"] as const)
      expect(JSON.stringify(await lookup(hostname, type))).not.toMatch(/ssh-|cm_|me@/);
  }
});
