// SPDX-License-Identifier: Apache-2.0
/** Who may enter the broker is what the rows say, whatever became of the file and of our word to the server. */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, it } from "vitest";
import { enter, newNkey } from "#link/nats/access.ts";
import { natsConfig } from "#link/nats/config.ts";
import { replaceNatsConfig } from "#link/nats/reload.ts";
import { type ClonedDatabase, cloneDatabase } from "#testing/clone-database.ts";
import { freePort } from "#testing/free-port.ts";
import { type NatsProcess, natsServer, serverOf } from "#testing/nats-server.ts";
import { describeWith } from "#testing/requirements.ts";
import { type Database, openDatabase } from "../../database/open.ts";
import { type BrokerKeeper, type BrokerTimes, keepBrokerMembers } from "./broker-members.ts";

const control = newNkey();
let folder: string;
let files: { configFile: string; pidFile: string };
let port: number;
let nats: NatsProcess;
let cloned: ClonedDatabase;
let db: Database;
let keeper: BrokerKeeper | undefined;

describeWith([natsServer], "the users of a broker of our own", () => {
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "casemate-broker-"));
    files = { configFile: join(folder, "nats.conf"), pidFile: join(folder, "nats.pid") };
    port = await freePort();
    nats = serverOf(files.configFile, port, join(folder, "nats.log"));
    cloned = await cloneDatabase();
    db = await openDatabase({ connection: { ...cloned }, poolMax: 4, onError: () => {} });
  });
  afterEach(async () => {
    await keeper?.stop();
    keeper = undefined;
    await nats.kill();
    await db.close();
    await cloned[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const keep = async (times: BrokerTimes) => {
    const plan = {
      ...{ configPath: files.configFile, pidPath: files.pidFile, controlKey: control.publicKey },
      ...{ listen: { host: "127.0.0.1", port }, tls: "off" as const },
    };
    keeper = await keepBrokerMembers(db, plan, () => {}, times);
  };
  const idOf = (n: number) => `host_${String(n).repeat(32)}`;
  const admit = async (n: number) => {
    const { seed, publicKey } = newNkey();
    await sql`insert into hosts (id, facts, public_key) values (${idOf(n)}, '{}', ${publicKey})`.execute(
      db.run,
    );
    return seed;
  };
  const enters = async (nkeySeed: string) => {
    const access = { servers: [`nats://127.0.0.1:${port}`], credentials: { nkeySeed } };
    const connection = await enter(access, "test", 5_000).catch(() => null);
    await connection?.close();
    return connection !== null;
  };
  const becomes = (what: () => unknown, wanted: unknown) =>
    expect.poll(what, { timeout: 15_000, interval: 50 }).toEqual(wanted);
  /** What the server reads is another's for as long as nobody mends it. */
  const letIn = async (publicKey: string) => {
    const hosts = [{ hostId: idOf(9), publicKey }];
    const forged = natsConfig({
      ...{ listen: { host: "127.0.0.1", port }, control: { publicKey: control.publicKey } },
      ...{ hosts, tls: "off" as const, pidFile: files.pidFile },
    });
    expect(await replaceNatsConfig(files, forged)).toBe(true);
  };

  it("are put right when somebody wrote another into the file and had the server read it", async () => {
    const host = await admit(1);
    await keep({ turnMs: 300, tellMs: 3_600_000 });
    await nats.start();
    const stranger = newNkey();
    await letIn(stranger.publicKey);
    await becomes(() => readFileSync(files.configFile, "utf8").includes(stranger.publicKey), false);
    await becomes(() => enters(stranger.seed), false);
    await becomes(() => enters(host), true);
  });

  it("are put right when the file is ours again and the server has not read it", async () => {
    const host = await admit(1);
    await keep({ turnMs: 100, tellMs: 1_000 });
    await nats.start();
    const ours = readFileSync(files.configFile, "utf8");
    const stranger = newNkey();
    await letIn(stranger.publicKey);
    writeFileSync(files.configFile, ours);
    await becomes(() => enters(stranger.seed), false);
    await becomes(() => enters(host), true);
  });

  it("are told to a server that could not be found when the file was written", async () => {
    await keep({ turnMs: 100, tellMs: 3_600_000 });
    await nats.start();
    renameSync(files.pidFile, `${files.pidFile}.hidden`);
    const host = await admit(1);
    await becomes(() => readFileSync(files.configFile, "utf8").includes(idOf(1)), true);
    expect(await enters(host)).toBe(false);
    renameSync(`${files.pidFile}.hidden`, files.pidFile);
    await becomes(() => enters(host), true);
  });
});
