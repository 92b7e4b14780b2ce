// SPDX-License-Identifier: Apache-2.0
/** Stop, start and restart over the API, with machines that are real SSH servers; and what its owner pays for meanwhile. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { sql } from "kysely";
import ssh2 from "ssh2";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { ed25519Pair } from "#testing/ssh-keys.ts";
import { instanceReactions } from "./reactions.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-instance-power-"));
const driver = new AttestedDriver();
const PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID3LSWG/ZfeyZSVgsrIbllxjufn23yqbkvefP6JEcfmh";
let casemate: Installation;
let acme: Caller;
let key: string;

beforeAll(async () => {
  const image = await writeSpecimenImage(folder, "0.1.0", "base", "base");
  driver.images.set(image.sha256, image.metadata);
  casemate = await startInstallation({
    kept: driver,
    ssh: { addresses: "127.93.0.0/16", port: await freePort(), redirect: false },
    config: { imagesFolder: folder, instances: { requestsPerMinute: null } },
  });
  const admin = callerOf(casemate.url, casemate.adminKey);
  ({ api_key: key } = (await admin("POST", "/platform/v1/tenants", { name: "acme" })).body);
  acme = callerOf(casemate.url, key);
});
afterAll(async () => {
  await casemate?.[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

const db = () => casemate.control.db.run;
async function ready(publicKey = PUBLIC_KEY): Promise<string> {
  const { body } = await acme("POST", "/v1/instances", { public_key: publicKey, agent: "none" });
  await becomes(body.data.name, "ready");
  return body.data.name;
}
const record = async (name: string) => (await acme("GET", `/v1/instances/${name}`)).body.data;
async function becomes(name: string, state: string) {
  const { body } = await acme("GET", `/v1/instances/${name}?wait=${state}&timeout=20`);
  const { status, power, failure_message } = body.data;
  expect([status, power], `wanted ${state}: ${failure_message}`).toContain(state);
  return body.data;
}
const wish = async (name: string, verb: string) => {
  const { status, body } = await acme("POST", `/v1/instances/${name}/${verb}`);
  expect([status, body.error]).toEqual([202, undefined]);
  return body.data;
};
const end = async (name: string) => {
  await acme("DELETE", `/v1/instances/${name}`);
  await becomes(name, "terminated");
};
const machineOf = async (name: string) =>
  (await sql<{ id: string }>`select machine_id as id from instances where name = ${name}`.execute(db()))
    .rows[0]!.id;
const periodsOf = async (name: string) =>
  (
    await sql<{ from: Date; to: Date | null }>`
      select p.from_at as from, p.to_at as to from instance_periods p join instances i on i.id = p.instance_id
      where i.name = ${name} order by p.from_at`.execute(db())
  ).rows;
const roomUsed = async () =>
  (await sql<{ cpu: number }>`select cpu_used as cpu from hosts`.execute(db())).rows[0]!.cpu;
const kindsOf = async (name: string) =>
  (
    await sql<{ type: string }>`select type from journal where subject = ${name} order by seq`.execute(db())
  ).rows.map(({ type }) => type.replace("instance.", ""));

describe("the disk of an instance", () => {
  it("is opened by one key in all its starts, which no other instance has and nobody after its end", async () => {
    const [one, two] = [await ready(), await ready()];
    const [idOne, idTwo] = [await machineOf(one), await machineOf(two)];
    const key = driver.claims.get(idOne)!.stateKey!;
    expect(Buffer.from(key, "base64")).toHaveLength(64);
    expect(driver.claims.get(idTwo)!.stateKey).not.toBe(key);
    const boot = driver.claims.get(idOne);
    await wish(one, "restart");
    await becomes(one, "running");
    expect(driver.claims.get(idOne)).not.toBe(boot);
    expect(driver.claims.get(idOne)!.stateKey).toBe(key);
    const kept = async () =>
      (
        await sql<{ key: Buffer }>`
        select key_sealed as key from instance_state_keys k join instances i on i.id = k.instance_id
        where i.name = any(${[one, two]})`.execute(db())
      ).rows;
    expect((await kept()).map((row) => row.key.includes(Buffer.from(key, "base64")))).toEqual([false, false]);
    const disks = async () =>
      (await sql<{ used: number }>`select disk_used as used from hosts`.execute(db())).rows[0]!.used;
    const taken = await disks();
    await wish(one, "stop");
    await becomes(one, "stopped");
    // What stands keeps its disk, and the room for it.
    expect(await disks()).toBe(taken);
    await end(one);
    expect(await kept()).toHaveLength(1);
    expect(await disks()).toBeLessThan(taken);
    await end(two);
    expect(await kept()).toHaveLength(0);
  });
});

/** The first words of who logs in by this key. */
function logIn(ssh: { address: string; port: number }, privateKey: string): Promise<string> {
  const client = new ssh2.Client();
  return new Promise<string>((resolve, reject) => {
    client.on("error", reject);
    client.on("ready", () => resolve("in"));
    client.connect({ host: ssh.address, port: ssh.port, username: "me", privateKey, readyTimeout: 10_000 });
  }).finally(() => client.end());
}

describe("the key of an instance", () => {
  const pair = () => ed25519Pair();
  const line = ({ public: text }: { public: string }) => text.split(" ", 2).join(" ");
  const replace = async (name: string, key: string) => {
    const { status, body } = await acme("PUT", `/v1/instances/${name}/public_key`, { public_key: key });
    expect([status, body.error]).toEqual([202, undefined]);
    return body.data;
  };
  const applied = async (name: string) => {
    await expect.poll(async () => (await record(name)).public_key_applied, { timeout: 20_000 }).toBe(true);
    return record(name);
  };

  it("is replaced while it runs: nobody is led there until its machine shows the new one, which then alone logs in", async () => {
    const [old, other] = [pair(), pair()];
    const name = await ready(line(old));
    const { ssh, public_key_applied } = await record(name);
    expect([public_key_applied, await logIn(ssh, old.private)]).toEqual([true, "in"]);
    const asked = await replace(name, line(other));
    expect(asked).toMatchObject({
      public_key: line(other),
      public_key_applied: false,
      ssh: null,
      power: "running",
    });
    const after = await applied(name);
    expect(after.ssh).toEqual(ssh);
    expect(await logIn(ssh, other.private)).toBe("in");
    await expect(logIn(ssh, old.private)).rejects.toThrow(/authentication/);
    // Nobody stopped it.
    expect((await periodsOf(name)).map(({ to }) => to)).toEqual([null]);
    const kinds = await kindsOf(name);
    expect(kinds).toEqual(["created", "ready", "key_replaced", "key_applied"]);
    // The same again, and one that is none, change nothing.
    expect(await replace(name, `${line(other)}\n`)).toMatchObject({ public_key_applied: true, ssh });
    const wrong = await acme("PUT", `/v1/instances/${name}/public_key`, { public_key: "ssh-ed25519 AAAA" });
    expect([wrong.status, wrong.body.error.param]).toEqual([400, "public_key"]);
    expect(await kindsOf(name)).toEqual(kinds);

    // What the host kept of it, it can bring again to no effect.
    const id = await machineOf(name);
    const box = driver.boxes.at(-1)!;
    await replace(name, line(old));
    await applied(name);
    await expect(driver.claimAnew(id, box)).rejects.toThrow(/older/);
    expect(await logIn(ssh, old.private)).toBe("in");
    await end(name);
  });

  it("that its host keeps from it leads nobody there", async () => {
    const [old, other] = [pair(), pair()];
    const name = await ready(line(old));
    driver.deviation = { withholds: true };
    await replace(name, line(other));
    const verdicts = async () =>
      (await acme("GET", `/v1/instances/${name}/attestation`)).body.data.verdicts.map(
        ({ purpose, accepted }: { purpose: string; accepted: boolean }) => `${purpose} ${accepted}`,
      );
    await expect.poll(async () => (await verdicts())[0], { timeout: 20_000 }).toBe("login false");
    driver.deviation = {};
    expect(await record(name)).toMatchObject({ status: "ready", public_key_applied: false, ssh: null });
    // Its next start is told.
    await wish(name, "restart");
    const { ssh } = await becomes(name, "running");
    expect((await record(name)).public_key_applied).toBe(true);
    expect(await logIn(ssh, other.private)).toBe("in");
    await end(name);
  });

  it("is replaced while it stands, and its next start lets in the new one alone", async () => {
    const [old, other] = [pair(), pair()];
    const name = await ready(line(old));
    await wish(name, "stop");
    await becomes(name, "stopped");
    expect(await replace(name, line(other))).toMatchObject({ power: "stopped", public_key_applied: false });
    await wish(name, "start");
    const { ssh, public_key_applied } = await becomes(name, "running");
    expect([public_key_applied, await logIn(ssh, other.private)]).toEqual([true, "in"]);
    await expect(logIn(ssh, old.private)).rejects.toThrow(/authentication/);
    await end(name);
  });
});

describe("the timings of an instance", () => {
  it("say how long each stage of its last start took, and are none before; control counts them by stage", async () => {
    const text = async () => (await fetch(`${casemate.url}/metrics`)).text();
    const counted = async (stage: string) =>
      Number(
        new RegExp(`^casemate_instance_start_seconds_count\\{stage="${stage}"\\} (\\d+)$`, "m").exec(
          await text(),
        )?.[1] ?? 0,
      );
    const before = await counted("total");
    const { body } = await acme("POST", "/v1/instances", { public_key: PUBLIC_KEY, agent: "none" });
    const { name } = body.data;
    await becomes(name, "ready");
    const first = (await record(name)).timings;
    const { total_ms, ...steps } = first;
    expect(Object.keys(steps)).toEqual(["queued_ms", "booted_ms", "attested_ms", "claimed_ms", "ready_ms"]);
    const sum = Object.values(steps as Record<string, number>).reduce((all, ms) => all + ms, 0);
    expect(sum).toBe(total_ms);
    const { created_at, ready_at } = await record(name);
    expect(Math.abs(total_ms - (Date.parse(ready_at) - Date.parse(created_at)))).toBeLessThan(1_500);
    await wish(name, "stop");
    await becomes(name, "stopped");
    expect(await wish(name, "start")).toMatchObject({ timings: null });
    const again = (await becomes(name, "running")).timings;
    expect(again.total_ms).toBeGreaterThan(0);
    expect(again).not.toEqual(first);
    // Counted when the record says it already.
    await expect.poll(async () => (await counted("total")) - before).toBe(2);
    for (const stage of ["queued", "booted", "attested", "claimed", "ready", "total"])
      expect([stage, (await counted(stage)) > 0]).toEqual([stage, true]);
    await end(name);
  });
});

describe("an instance that is stopped", () => {
  it("stays ready, is reached by nobody, gives its room back, is not counted, and runs again under the name and address it had", async () => {
    const free = await roomUsed();
    const name = await ready();
    const before = await record(name);
    expect(before).toMatchObject({ status: "ready", power: "running" });
    const asked = await wish(name, "stop");
    expect(asked).toMatchObject({ status: "ready", ssh: null });
    expect(["stopping", "stopped"]).toContain(asked.power);
    expect(await becomes(name, "stopped")).toMatchObject({ status: "ready", power: "stopped", ssh: null });
    expect(driver.running.has(await machineOf(name))).toBe(false);
    expect(await roomUsed()).toBe(free);
    const [counted, ...more] = await periodsOf(name);
    expect([counted!.to !== null, more]).toEqual([true, []]);
    // Again without effect.
    const version = async () =>
      (await sql<{ version: number }>`select version from instances where name = ${name}`.execute(db()))
        .rows[0]!.version;
    const stood = await version();
    expect(await wish(name, "stop")).toMatchObject({ power: "stopped" });
    expect(await version()).toBe(stood);

    expect(await wish(name, "start")).toMatchObject({ status: "ready", power: "starting", ssh: null });
    const after = await becomes(name, "running");
    expect(after.ready_at).toBe(before.ready_at);
    expect([after.ssh.address, after.ssh.port]).toEqual([before.ssh.address, before.ssh.port]);
    const periods = await periodsOf(name);
    expect(periods.map(({ to }) => to === null)).toEqual([false, true]);
    expect(await roomUsed()).toBeGreaterThan(free);
    const again = await version();
    expect(await wish(name, "start")).toMatchObject({ power: "running" });
    expect(await version()).toBe(again);
    expect(await kindsOf(name)).toEqual([
      ...["created", "ready", "stopping", "stopped", "starting", "running"],
    ]);
    // Its evidence was asked for anew.
    const { verdicts } = (await acme("GET", `/v1/instances/${name}/attestation`)).body.data;
    expect(verdicts.map(({ purpose }: { purpose: string }) => purpose)).toEqual([
      ...["login", "seal", "login", "seal"],
    ]);
    await end(name);
    expect((await record(name)).power).toBeNull();
  });

  it("stays so when its host begins anew, beside one that is brought up", async () => {
    const [stands, runs] = [await ready(), await ready()];
    await wish(stands, "stop");
    await becomes(stands, "stopped");
    await casemate.restartHost();
    await becomes(runs, "running");
    expect(await record(stands)).toMatchObject({ power: "stopped", ssh: null });
    expect(driver.running.has(await machineOf(stands))).toBe(false);
    // And can be deleted as it is.
    await end(stands);
    await end(runs);
  });

  it("by itself is not started again; one whose machine fell is, and is counted all the time", async () => {
    const name = await ready();
    const id = await machineOf(name);
    driver.back([id]);
    await expect
      .poll(async () => (await kindsOf(name)).slice(2), { timeout: 20_000 })
      .toEqual(["starting", "running"]);
    expect((await periodsOf(name)).map(({ to }) => to)).toEqual([null]);

    await driver.die(id, "shut down from inside");
    const stopped = await becomes(name, "stopped");
    expect(stopped).toMatchObject({ status: "ready", ssh: null });
    expect((await periodsOf(name)).map(({ to }) => to === null)).toEqual([false]);
    await wish(name, "start");
    expect(await becomes(name, "running")).toMatchObject({ failure_code: null, failure_message: null });
    await end(name);
  });

  it("whose start is refused stands, with the reason, and its next start takes the reason away", async () => {
    const name = await ready();
    driver.deviation = { appended: "init=/bin/sh" };
    await wish(name, "restart");
    const stopped = await becomes(name, "stopped");
    driver.deviation = {};
    expect(stopped).toMatchObject({ status: "ready", failure_code: "attestation_failed", ssh: null });
    expect((await periodsOf(name)).map(({ to }) => to === null)).toEqual([false]);
    await wish(name, "start");
    expect(await becomes(name, "running")).toMatchObject({ failure_code: null, failure_message: null });
    await end(name);
  });

  it("could not be started says why by the host's code, whatever the words", async () => {
    const faults = [
      ["machine.image-unknown", "image_unavailable"],
      ["machine.boot-timeout", "boot_timeout"],
      ["machine.guest-failed", "agent_setup_failed"],
      ["machine.attestation-refused", "attestation_failed"],
      ["host.above-ceiling", "no_capacity"],
      ["machine.start-failed", "internal"],
    ] as const;
    for (const [code, failure_code] of faults) {
      driver.deviation = { fault: { code, words: "the image did not answer in time: no SSH server" } };
      const { body } = await acme("POST", "/v1/instances", { public_key: PUBLIC_KEY, agent: "none" });
      const failed = await becomes(body.data.name, "failed");
      driver.deviation = {};
      expect(failed).toMatchObject({ failure_code, power: null });
      expect(failed.failure_message).toBe("the image did not answer in time: no SSH server");
      await end(body.data.name);
    }
  });

  it("and was never ready is failed when its host loses it, and not terminated", async () => {
    driver.deviation = { onEvidence: () => new Promise(() => {}) };
    const { body } = await acme("POST", "/v1/instances", { public_key: PUBLIC_KEY, agent: "none" });
    const { name } = body.data;
    const machineId = await machineOf(name);
    await sql`with machine as (
        update machines set state = 'ended', ended_at = now() where id = ${machineId}
        returning id, account_id, holds_compute, id as host_id
      ), freed as (select), ${instanceReactions({ machineId, generation: 1, incarnation: 1, state: "ended" })}
      select (select count(*) from entry)`.execute(db());
    driver.deviation = {};
    expect(await record(name)).toMatchObject({
      status: "failed",
      failure_code: "host_lost",
      terminated_at: null,
    });
    await end(name);
  });

  it("is none while it is made, when it has ended, or of another tenant", async () => {
    const { body } = await acme("POST", "/v1/instances", { public_key: PUBLIC_KEY, agent: "none" });
    const { name } = body.data;
    await sql`update instances set status = 'provisioning' where name = ${name}`.execute(db());
    const admin = callerOf(casemate.url, casemate.adminKey);
    const other = (await admin("POST", "/platform/v1/tenants", { name: `other ${name}` })).body.api_key;
    for (const verb of ["stop", "start", "restart"]) {
      const early = await acme("POST", `/v1/instances/${name}/${verb}`);
      const strange = await callerOf(casemate.url, other)("POST", `/v1/instances/${name}/${verb}`);
      expect([early.status, strange.body.error.code]).toEqual([409, "not_found"]);
    }
    await end(name);
    for (const verb of ["stop", "start", "restart"])
      expect((await acme("POST", `/v1/instances/${name}/${verb}`)).body.error.code).toBe("conflict");
  });
});

const VERBS = ["stop", "start", "restart", "stop", "wait"] as const;

it("its hours hold no moment between a stop that was answered and the next wish to run it, in whatever order and however at once it is asked", async () => {
  const now = async () => (await sql<{ at: Date }>`select clock_timestamp() as at`.execute(db())).rows[0]!.at;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.constantFrom(...VERBS), { minLength: 1, maxLength: 3 }), {
        minLength: 2,
        maxLength: 6,
      }),
      async (rounds) => {
        const free = await roomUsed();
        const name = await ready();
        const stood: { from: Date; to: Date }[] = [];
        for (const round of rounds) {
          // All of a round at once; after it, what counts is what only one kind of wish can have left.
          await Promise.all(round.map((verb) => (verb === "wait" ? record(name) : wish(name, verb))));
          if (!round.includes("stop") || round.includes("start") || round.includes("restart")) continue;
          const from = await now();
          if (round.includes("wait")) await becomes(name, "stopped");
          stood.push({ from, to: await now() });
        }
        await end(name);
        const periods = await periodsOf(name);
        expect(periods.every(({ to }) => to !== null)).toBe(true);
        for (const { from, to } of stood)
          for (const period of periods)
            expect([period.from < to && period.to! > from, { from, to, period }]).toEqual([
              false,
              expect.anything(),
            ]);
        expect(await roomUsed()).toBe(free);
        const sorted = periods.every((period, n) => n === 0 || periods[n - 1]!.to! <= period.from);
        expect(sorted).toBe(true);
      },
    ),
    // Also what stands, is started and stopped again before its host says a word of it.
    { numRuns: 10, examples: [[[["stop", "wait"], ["restart"], ["stop", "wait"]]]] },
  );
}, 240_000);
