// SPDX-License-Identifier: Apache-2.0
/** A rollout whose every turn is taken by control processes that are killed with -9 in the middle of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { detector } from "#models/testing.ts";
import { freePort } from "#testing/free-port.ts";
import {
  type Caller,
  callerOf,
  type Installation,
  startInstallation,
  type Tenant,
} from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { userNamespaces } from "../../core/models/testing.ts";
import { settledFunction, upload } from "../models/testing.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const DEVICES = 250;
const WAIT = { timeout: 120_000, interval: 20 };

describeWith([userNamespaces], "a rollout", () => {
  let casemate: Installation;
  let acme: Caller & Tenant;
  let model: string;
  beforeAll(async () => {
    // It asks and is asked, and takes no turn itself.
    const config = { identity: { requestsPerMinute: null }, devices: { rolloutEveryMs: 3_600_000 } };
    casemate = await startInstallation({ withHost: false, config });
    acme = await casemate.tenant("acme");
    const given = { Name: "Things", EnableConversions: ["application/x-onnx"] };
    model = (await upload(casemate.url, acme, detector(), given)).UUID;
    expect((await settledFunction(acme, model)).Status).toBe("ok");
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  let folders: string[];
  let children: ChildProcess[];
  beforeEach(() => {
    [folders, children] = [[], []];
  });
  afterEach(async () => {
    for (const child of [...children]) await kill(child);
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });

  async function begin(replica: string): Promise<ChildProcess> {
    const folder = mkdtempSync(join(tmpdir(), "casemate-rollout-"));
    folders.push(folder);
    const { host, user, database, keyRing } = casemate.connection;
    copyFileSync(keyRing, join(folder, "kek"));
    const file = join(folder, "control.json");
    writeFileSync(
      file,
      JSON.stringify({
        ...{ http: { port: await freePort() }, database: { socket: host, user, name: database } },
        ...{ link: { socket: join(folder, "link.sock") }, blobs: { folder: join(folder, "blobs") } },
        ...{ folder, replica, devices: { rolloutEveryMs: 50 }, log: { level: "error" } },
      }),
    );
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, file], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    children.push(child);
    return child;
  }
  async function kill(child: ChildProcess): Promise<void> {
    children.splice(children.indexOf(child), 1);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  /** Two work; when a part has been done both are killed, and two others come, until all is. */
  async function killing(times: number, done: () => Promise<number>): Promise<void> {
    let seen = 0;
    for (let kills = 0; kills < times; kills++) {
      await Promise.all([begin(`one-${kills}`), begin(`two-${kills}`)]);
      await expect.poll(done, WAIT).toBeGreaterThan(Math.min(seen, DEVICES - 1));
      await Promise.all([...children].map(kill));
      seen = await done();
      expect(seen).toBeGreaterThan(0);
    }
    await Promise.all([begin("one-last"), begin("two-last")]);
    await expect.poll(done, WAIT).toBe(DEVICES);
    await Promise.all([...children].map(kill));
  }

  it("changes each device once and takes each back once, whoever dies between", async () => {
    const site = (await acme("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
    const RegistrationToken = (await acme("POST", "/dev/registration-tokens", { SystemId: site })).body.Token;
    const ServerId = randomUUID();
    const asked = { ServerId, SystemId: site, RegistrationToken };
    const { Key } = (await casemate.anyone("POST", "/dev/plugin/register", asked)).body;
    const edge = callerOf(casemate.url, Key);
    const Facts = {
      AvailableRuntimes: [{ Name: "cpu", Version: "1", Targets: ["application/x-onnx"] }],
      Supports: { Pipelines: true },
    };
    await edge("PUT", `/dev/server/${ServerId}/reported`, { Version: 0, Facts });
    const { db } = casemate.control;
    await sql`
      insert into devices (id, nx_id, party_id, site_id, server_id, name, serial, type, tags)
      select gen_random_uuid(), gen_random_uuid(), party_id, id, ${ServerId}, 'camera ' || n, '', '', '{}'
      from sites, generate_series(1, ${DEVICES}::int) n where id = ${site}`.execute(db.run);

    const { body } = await acme("POST", "/dev/rollouts", {
      ...{ Pipelines: [{ modelUUID: model }], Target: { Systems: [site] } },
      Stages: [{ Percent: 100, HoldSeconds: 0 }],
    });
    const revisions = async () => {
      const { rows } = await sql<{ n: number; most: number }>`
        select coalesce(sum(each.n), 0)::int as n, coalesce(max(each.n), 0)::int as most from (
          select count(*) as n from pipeline_revisions where created_by = ${`rollout:${body.UUID}`} group by device_id) each`.execute(
        db.run,
      );
      return rows[0]!;
    };
    await killing(2, async () => (await revisions()).n);
    expect(await revisions()).toEqual({ n: DEVICES, most: 1 });
    await acme("PATCH", `/dev/rollout/${body.UUID}`, { Action: "rollback" });
    await killing(1, async () => (await revisions()).n - DEVICES);
    expect(await revisions()).toEqual({ n: 2 * DEVICES, most: 2 });

    const { Version, Desired } = (await edge("GET", `/dev/server/${ServerId}/state`)).body;
    expect(Desired.Devices.every(({ Pipelines }: { Pipelines: unknown[] }) => Pipelines.length === 0)).toBe(
      true,
    );
    await edge("PUT", `/dev/server/${ServerId}/reported`, { Version, Tried: Version, Health: "ok" });
    await begin("last");
    const look = async () => (await acme("GET", `/dev/rollout/${body.UUID}`)).body;
    await expect
      .poll(look, WAIT)
      .toMatchObject({ Status: "rolled_back", Counts: { Total: DEVICES, RolledBack: DEVICES } });
    const { body: told } = await acme("GET", `/dev/audit?Subject=${body.UUID}&OrderBy=At`);
    expect(told.map(({ Type }: { Type: string }) => Type)).toEqual([
      ...["rollout.created", "rollout.rolling_back", "rollout.rolled_back"],
    ]);
  }, 400_000);
});
