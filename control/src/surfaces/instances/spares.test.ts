// SPDX-License-Identifier: Apache-2.0
/** Machines that wait booted and attested: taken once each, by one tenant each, and sealed to what they showed while they waited. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-spares-"));
const driver = new AttestedDriver("vm-vtpm");
const PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID3LSWG/ZfeyZSVgsrIbllxjufn23yqbkvefP6JEcfmh";
const WAIT = { timeout: 60_000, interval: 100 };
let casemate: Installation;
let other: Installation;
let callers: Caller[];

beforeAll(async () => {
  const image = await writeSpecimenImage(folder, "0.1.0", "base", "base");
  driver.images.set(image.sha256, image.metadata);
  const config = {
    imagesFolder: folder,
    instances: { requestsPerMinute: null, warm: [{ agent: "none", count: 2 }] },
  };
  casemate = await startInstallation({
    ...{ kept: driver, config },
    ssh: { addresses: "127.79.0.0/16", port: await freePort(), redirect: false },
  });
  other = await startInstallation({ withHost: false, replica: "two", database: casemate.connection, config });
  const admin = callerOf(casemate.url, other.adminKey);
  callers = await Promise.all(
    ["one", "two"].map(async (name) => {
      const { body } = await admin("POST", "/platform/v1/tenants", { name });
      return callerOf(casemate.url, body.api_key);
    }),
  );
}, 120_000);
afterAll(async () => {
  await other?.[Symbol.asyncDispose]();
  await casemate?.[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

interface Row {
  machine_id: string;
  account_id: string | null;
  warm: boolean;
}
/** Those that nobody has. */
const spares = async () =>
  (
    await sql<Row>`
      select s.machine_id, m.account_id, s.warm_at is not null as warm from instance_spares s join machines m on m.id = s.machine_id
      where s.instance_id is null order by s.slot`.execute(casemate.control.db.run)
  ).rows;
const warmOnes = async () => (await spares()).filter(({ warm }) => warm).map(({ machine_id }) => machine_id);
const create = async (caller: Caller, headers: Record<string, string> = {}) => {
  const made = await caller("POST", "/v1/instances", { public_key: PUBLIC_KEY, agent: "none" }, headers);
  expect(made.status).toBe(202);
  return made.body.data.name as string;
};
const machineOf = async (name: string) =>
  (
    await sql<{ id: string }>`select machine_id as id from instances where name = ${name}`.execute(
      casemate.control.db.run,
    )
  ).rows[0]!.id;

it("as many as the operator wants wait, on two replicas, and nobody's name or key is in one", async () => {
  await expect.poll(async () => (await warmOnes()).length, WAIT).toBe(2);
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  const all = await spares();
  expect(all).toHaveLength(2);
  for (const { machine_id, account_id } of all) {
    expect(account_id).toBeNull();
    expect(driver.claims.has(machine_id)).toBe(false);
  }
}, 90_000);

it("one is taken by the first who comes, is ready with evidence of its own, and another takes its place", async () => {
  const waiting = await warmOnes();
  const name = await create(callers[0]!);
  const machine = await machineOf(name);
  expect(waiting).toContain(machine);
  const read = async () => (await callers[0]!("GET", `/v1/instances/${name}`)).body.data;
  await expect.poll(async () => (await read()).status, WAIT).toBe("ready");
  expect(driver.claims.get(machine)).toMatchObject({ authorizedKey: PUBLIC_KEY });
  const { rows } = await sql<{ purpose: string; accepted: boolean }>`
    select purpose, accepted from attestations where machine_id = ${machine}`.execute(
    casemate.control.db.run,
  );
  expect(rows).toEqual([{ purpose: "login", accepted: true }]);
  await expect.poll(async () => (await warmOnes()).length, WAIT).toBe(2);
  expect(await warmOnes()).not.toContain(machine);

  await callers[0]!("DELETE", `/v1/instances/${name}`);
  await expect.poll(async () => (await read()).status, WAIT).toBe("terminated");
  await expect.poll(() => driver.running.has(machine), WAIT).toBe(false);
  expect((await spares()).map(({ machine_id }) => machine_id)).not.toContain(machine);
}, 120_000);

it("of eight who come at once, two tenants, each has a machine of its own, and a repeat has the first's", async () => {
  const names = await Promise.all(
    Array.from({ length: 8 }, (_, n) => create(callers[n % 2]!, { "idempotency-key": `k-${n % 6}` })),
  );
  // Of 0…5 and again 0 and 1: each tenant repeats one of its own.
  expect(new Set(names).size).toBe(6);
  const machines = await Promise.all([...new Set(names)].map(machineOf));
  expect(new Set(machines).size).toBe(6);
  for (const caller of callers) {
    const statuses = async () => {
      const { instances } = (await caller("GET", "/v1/instances?limit=100")).body.data;
      return [...new Set(instances.map(({ status }: { status: string }) => status))].sort();
    };
    await expect.poll(statuses, WAIT).toEqual(caller === callers[0] ? ["ready", "terminated"] : ["ready"]);
  }
  for (const name of new Set(names))
    await Promise.all(callers.map((caller) => caller("DELETE", `/v1/instances/${name}`)));
}, 120_000);

it("a spare whose start its host began anew is sealed to its new key", async () => {
  await expect.poll(async () => (await warmOnes()).length, WAIT).toBe(2);
  await casemate.restartHost();
  await expect.poll(async () => (await warmOnes()).length, WAIT).toBe(2);
  const name = await create(callers[0]!);
  const read = async () => (await callers[0]!("GET", `/v1/instances/${name}`)).body.data;
  await expect.poll(async () => (await read()).status, WAIT).toMatch(/ready|failed/);
  expect(await read()).toMatchObject({ status: "ready", failure_message: null });
}, 120_000);

it("a host that boots another image for a spare has none that is taken", async () => {
  const stranger = await writeSpecimenImage(mkdtempSync(join(folder, "x-")), "0.1.0", "stranger", "base");
  driver.deviation = { image: stranger.metadata };
  try {
    const before = new Set((await spares()).map(({ machine_id }) => machine_id));
    await sql`update instance_spares set created_at = now() - interval '2 hours' where instance_id is null`.execute(
      casemate.control.db.run,
    );
    // Aged out, and others in their place that cannot show what they should be.
    await expect
      .poll(async () => (await spares()).every(({ machine_id }) => !before.has(machine_id)), WAIT)
      .toBe(true);
    const fallen = async () =>
      (
        await sql<{ detail: string }>`
          select fault->>'detail' as detail from machines where account_id is null and fault is not null`.execute(
          casemate.control.db.run,
        )
      ).rows.map(({ detail }) => detail);
    await expect.poll(async () => (await fallen()).length, WAIT).toBeGreaterThan(0);
    for (const detail of await fallen()) expect(detail).toMatch(/refused at pcr/);
    expect(await warmOnes()).toEqual([]);
  } finally {
    driver.deviation = {};
  }
}, 120_000);
