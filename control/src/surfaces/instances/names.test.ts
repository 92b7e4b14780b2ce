// SPDX-License-Identifier: Apache-2.0
/** A stored name never leads to another instance within 30 days, also when chance draws the same name over and over. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { makeName } from "./names.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-names-held-"));
const driver = new AttestedDriver("vm");
const PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID3LSWG/ZfeyZSVgsrIbllxjufn23yqbkvefP6JEcfmh";
let casemate: Installation;
/** What is drawn; a test says it, in its turn. */
let draw: () => string = () => "unsaid22";
let tenant: Caller;
let other: Caller;
let made = 0;

beforeAll(async () => {
  const image = await writeSpecimenImage(folder, "0.1.0", "base", "base");
  driver.images.set(image.sha256, image.metadata);
  casemate = await startInstallation({
    ...{ kept: driver, makeInstanceName: () => draw() },
    config: { imagesFolder: folder, instances: { requestsPerMinute: null } },
    ssh: { addresses: "127.77.0.0/16", port: await freePort(), redirect: false },
  });
});
beforeEach(async () => {
  const admin = callerOf(casemate.url, casemate.adminKey);
  const one = async () =>
    callerOf(
      casemate.url,
      (await admin("POST", "/platform/v1/tenants", { name: `t${++made}` })).body.api_key as string,
    );
  [tenant, other] = [await one(), await one()];
});
afterAll(async () => {
  await casemate?.[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

const create = (who = tenant, comment = "one") =>
  who("POST", "/v1/instances", { public_key: `${PUBLIC_KEY} ${comment}`, agent: "none" });
const read = async (name: string) => (await tenant("GET", `/v1/instances/${name}`)).body.data;
const end = async (name: string) => {
  await tenant("DELETE", `/v1/instances/${name}`);
  await expect.poll(async () => (await read(name)).status, { timeout: 30_000 }).toBe("terminated");
};
const db = () => casemate.control.db.run;
const counts = async () => {
  const { rows } = await sql<Record<string, number>>`
    select (select count(*)::int from machines) as machines, (select count(*)::int from instances) as instances,
      (select sum(cpu_used)::int from hosts) as cpu`.execute(db());
  return rows[0];
};

it("a name that is held is drawn again, fifteen times in a row, and the sixteenth is taken", async () => {
  draw = () => "aaaaaaaa";
  expect((await create()).body.data.name).toBe("aaaaaaaa");
  let drawn = 0;
  draw = () => (++drawn < 16 ? "aaaaaaaa" : "bbbbbbbb");
  expect((await create()).body.data.name).toBe("bbbbbbbb");
  expect(drawn).toBe(16);
  // Names are one tenant's: another may have the same.
  draw = () => "aaaaaaaa";
  expect((await create(other)).body.data.name).toBe("aaaaaaaa");
});

it("where chance draws nothing but a held name, a create fails and leaves no machine, no row and no room taken", async () => {
  draw = () => "cccccccc";
  await create();
  await expect.poll(async () => (await read("cccccccc")).status, { timeout: 30_000 }).toBe("ready");
  const before = await counts();
  expect((await create()).status).toBe(500);
  expect(await counts()).toEqual(before);
});

it("a name is nobody's for 30 days after its instance ended, and not a moment longer", async () => {
  draw = () => "dddddddd";
  const { public_key } = (await create()).body.data;
  await end("dddddddd");
  expect((await create()).status).toBe(500);
  const almost = sql`update instance_names set held_until = now() + interval '5 seconds' where name = 'dddddddd'`;
  await almost.execute(db());
  expect((await create()).status).toBe(500);
  expect(await read("dddddddd")).toMatchObject({ status: "terminated", public_key });
  await sql`update instance_names set held_until = now() - interval '1 second' where name = 'dddddddd'`.execute(
    db(),
  );
  expect((await create(tenant, "two")).status).toBe(202);
  // The name leads to the new one alone, also in the list.
  expect((await read("dddddddd")).public_key).toBe(`${PUBLIC_KEY} two`);
  expect((await tenant("GET", "/v1/instances")).body.data.instances).toHaveLength(1);
  await end("dddddddd");
  expect((await create()).status).toBe(500);
});

it("eight creates at once that draw from eight names get one each", async () => {
  const names = Array.from({ length: 8 }, () => makeName());
  let at = 0;
  // Each is drawn by two before the next.
  draw = () => names[(at++ >> 1) % names.length]!;
  const replies = await Promise.all(
    names.map(async () => {
      // One that met held names sixteen times in a row may ask again.
      for (;;) {
        const reply = await create();
        if (reply.status !== 500) return reply;
      }
    }),
  );
  expect(replies.map(({ body }) => body.data.name).sort()).toEqual([...names].sort());
});
