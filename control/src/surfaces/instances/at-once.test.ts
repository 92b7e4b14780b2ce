// SPDX-License-Identifier: Apache-2.0
/** Many instances at once, on two replicas of control: as many machines as were asked for, each with a name and an owner. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-instances-at-once-"));
const driver = new AttestedDriver("vm");
const PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID3LSWG/ZfeyZSVgsrIbllxjufn23yqbkvefP6JEcfmh";
let one: Installation;
let two: Installation;
let callers: Caller[];

beforeAll(async () => {
  const image = await writeSpecimenImage(folder, "0.1.0", "base", "base");
  driver.images.set(image.sha256, image.metadata);
  const config = { imagesFolder: folder, instances: { requestsPerMinute: null } };
  one = await startInstallation({
    ...{ kept: driver, config },
    ssh: { addresses: "127.76.0.0/16", port: await freePort(), redirect: false },
  });
  two = await startInstallation({ withHost: false, replica: "two", database: one.connection, config });
  // The newest replica's operator is the one that counts.
  const admin = callerOf(one.url, two.adminKey);
  const { api_key: key } = (await admin("POST", "/platform/v1/tenants", { name: "many" })).body;
  callers = [callerOf(one.url, key), callerOf(one.url, key)];
});
afterAll(async () => {
  await two?.[Symbol.asyncDispose]();
  await one?.[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

const machines = async () =>
  (
    await sql<{ state: string }>`
      select m.state from instances i join machines m on m.id = i.machine_id`.execute(one.control.db.run)
  ).rows.map(({ state }) => state);

it("twenty creates of which ten are one are eleven machines, and nothing is left when they are deleted", async () => {
  const ask = { public_key: PUBLIC_KEY, agent: "none" };
  const replies = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      callers[n % 2]!("POST", "/v1/instances", ask, { "idempotency-key": n < 10 ? "same" : `other-${n}` }),
    ),
  );
  expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([202]));
  const names = [...new Set(replies.map(({ body }) => body.data.name as string))];
  expect(names).toHaveLength(11);
  const statuses = async () => {
    const { instances } = (await callers[0]!("GET", "/v1/instances")).body.data;
    return [...new Set(instances.map(({ status }: { status: string }) => status))];
  };
  await expect.poll(statuses, { timeout: 60_000 }).toEqual(["ready"]);
  expect(await machines()).toEqual(Array(11).fill("running"));
  expect(driver.running.size).toBe(11);
  const places = (await callers[0]!("GET", "/v1/instances")).body.data.instances.map(
    ({ ssh }: { ssh: { address: string } }) => ssh.address,
  );
  expect(new Set(places).size).toBe(11);

  // Deleted twice at once each, some while they would still be starting.
  const late = (await callers[0]!("POST", "/v1/instances", ask)).body.data.name;
  const gone = await Promise.all(
    [...names, ...names, late, late].map((name, n) => callers[n % 2]!("DELETE", `/v1/instances/${name}`)),
  );
  expect(new Set(gone.map(({ status }) => status))).toEqual(new Set([202]));
  await expect.poll(statuses, { timeout: 60_000 }).toEqual(["terminated"]);
  expect(new Set(await machines())).toEqual(new Set(["ended"]));
  await expect.poll(() => driver.running.size + driver.disks.size).toBe(0);
  const { rows } = await sql<{ cpu: number; memory: number }>`
    select cpu_used as cpu, memory_used as memory from hosts`.execute(one.control.db.run);
  expect(rows).toEqual([{ cpu: 0, memory: 0 }]);
}, 120_000);

it("a host that is gone for good leaves no instance that is said to be there", async () => {
  const admin = callerOf(one.url, two.adminKey);
  const made = (await callers[0]!("POST", "/v1/instances", { public_key: PUBLIC_KEY, agent: "none" })).body
    .data;
  await callers[0]!("GET", `/v1/instances/${made.name}?wait=ready&timeout=30`);
  const [host] = (await admin("GET", "/platform/v1/hosts")).body.hosts;
  await admin("POST", `/platform/v1/hosts/${host.id}/revoke`);
  const after = async () => (await callers[0]!("GET", `/v1/instances/${made.name}`)).body.data;
  await expect.poll(async () => (await after()).status, { timeout: 30_000 }).toBe("terminated");
  expect(await after()).toMatchObject({ terminated_reason: "host_lost", ssh: null });
}, 60_000);
