// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { FakeDriver, killMarked, markedProcesses } from "#testing/fake-driver.ts";
import { desire, newMachineId, spec } from "#testing/recording-control.ts";
import { cdpOf, control, host, runMachine, scratch } from "./testing.ts";

test("a machine runs, works and ends with a proof that names its issuer", async () => {
  const folder = scratch();
  const recording = await control(folder);
  const running = await host(folder);
  const hostId = await recording.joined();
  expect(recording.hosts[0]!.engines).toEqual({ eee: true, dire: true, rzl: true, fgx: true, ave: true });

  const id = newMachineId();
  const wish = desire(id);
  recording.link.sendDesired(hostId, [wish]);
  await recording.sees(id, "running");

  const stream = recording.link.openStream(hostId, {
    kind: "exec",
    machineId: id,
    command: "cat input; echo oops >&2; exit 3",
    timeoutMs: 5000,
    hasInput: true,
    outputLimitBytes: null,
  });
  await stream.write(Buffer.from("hello"));
  stream.finish();
  const output: Record<number, string> = { 1: "", 2: "" };
  for await (const { channel, bytes } of stream.chunks()) output[channel] += Buffer.from(bytes).toString();
  expect(output).toEqual({ 1: "hello", 2: "oops\n" });
  expect(await stream.ended).toMatchObject({ kind: "done", trailer: { exitCode: 3, timedOut: false } });

  recording.link.sendDesired(hostId, [{ ...wish, generation: 2, want: "down" }]);
  const { ended, generation } = await recording.sees(id, "ended");
  expect(generation).toBe(2);
  expect(ended!.outcome).toBe("complete");
  const issuers = running.facts().issuers;
  const verdict = verifyProof(Buffer.from(ended!.proof), { level: 2, issuers });
  expect(verdict).toMatchObject({ valid: true });
  const cdp = JSON.parse(ended!.proof);
  expect(cdp.context).toMatchObject({
    ...spec().endProof!.subject,
    session_id: cdp.session_id,
    created_at: cdp.created_at,
    trigger: "api",
  });
  // created, exec.started, exec.ended, ending, ended
  expect(cdp.evidence[6].measured.event_count).toBe(5);
  expect(cdp.evidence[3].measured.data_keys).toMatchObject([{ wiped: true }]);
  expect(markedProcesses().filter((found) => found.machineId === id)).toEqual([]);
  expect(existsSync(join(folder, "machines", id))).toBe(false);
  await recording.until(
    "an empty store",
    () => readdirSync(join(folder, "host", "machines")).length === 0 || undefined,
  );
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("a late, repeated or reordered batch neither revives nor ends a machine wrongly", async () => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const { id, wish, end } = await runMachine(recording, hostId);
  // Repeated: answered again, not started again.
  const before = recording.observed.length;
  recording.link.sendDesired(hostId, [wish, wish]);
  await recording.until("the answer", () => recording.observed.length > before || undefined);
  expect(readdirSync(join(folder, "machines"))).toEqual([id]);
  // An older `down` than the newest `up`.
  recording.link.sendDesired(hostId, [{ ...wish, generation: 5 }]);
  recording.link.sendDesired(hostId, [{ ...wish, generation: 4, want: "down" }]);
  await pause(100);
  expect(existsSync(join(folder, "machines", id))).toBe(true);

  const ended = await end({ generation: 6 });
  // Late `up`s of every generation, after the end.
  for (const generation of [1, 5, 6, 7]) recording.link.sendDesired(hostId, [{ ...wish, generation }]);
  await recording.until("the answer to the newest", () =>
    recording.observed.find((one) => one.machineId === id && one.generation === 7),
  );
  expect(readdirSync(join(folder, "machines"))).toEqual([]);
  expect(recording.observed.at(-1)).toEqual({ ...ended, generation: 7 });
});

test("a machine that a complete batch does not name goes down, and is proved", async () => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const kept = await runMachine(recording, hostId);
  const lost = await runMachine(recording, hostId);
  // Both were named since the last complete batch, which control may have read before it knew of them.
  recording.link.sendDesired(hostId, [], true);
  await pause(100);
  expect(readdirSync(join(folder, "machines")).length).toBe(2);
  recording.link.sendDesired(hostId, [kept.wish], true);
  const ended = await recording.sees(lost.id, "ended");
  expect(ended.ended!.trigger).toBe("recovery");
  expect(cdpOf(ended).evidence[7].measured.recovered).toBe(null);
  expect(readdirSync(join(folder, "machines"))).toEqual([kept.id]);
});

test("what is desired of a machine nobody knows gets an answer", async () => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const id = newMachineId();
  recording.link.sendDesired(hostId, [desire(id, { want: "down", generation: 3 })]);
  expect(await recording.sees(id, "failed")).toMatchObject({ generation: 3, code: "machine.unknown" });
});

test.each([
  ["memory", { memoryMiB: 1025 }],
  ["cpu", { cpuMillis: 2001 }],
  ["processes", { pidsMax: 257 }],
  ["isolation", { isolation: "vm" as const }],
])("a machine over the ceiling of %s is refused and not started", async (_name, changes) => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const id = newMachineId();
  recording.link.sendDesired(hostId, [desire(id, { spec: spec(changes) })]);
  expect(await recording.sees(id, "refused")).toMatchObject({ code: "host.above-ceiling" });
  expect(readdirSync(join(folder, "machines"))).toEqual([]);
});

test("the ceilings of count and of all memory hold for machines desired in one batch", async () => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const small = Array.from({ length: 9 }, () => desire(newMachineId()));
  recording.link.sendDesired(hostId, small);
  const states = await Promise.all(
    small.map(({ machineId }) => recording.sees(machineId, "running", "refused")),
  );
  expect(states.filter((one) => one.state === "refused").length).toBe(1);
  recording.link.sendDesired(
    hostId,
    small.map((one) => ({ ...one, want: "down" as const, generation: 2 })),
  );
  await Promise.all(small.map(({ machineId }) => recording.sees(machineId, "ended", "failed")));
  const large = Array.from({ length: 5 }, () => desire(newMachineId(), { spec: spec({ memoryMiB: 1024 }) }));
  recording.link.sendDesired(hostId, large);
  const after = await Promise.all(
    large.map(({ machineId }) => recording.sees(machineId, "running", "refused")),
  );
  expect(after.filter((one) => one.state === "refused").length).toBe(1);
});

test("with control away a machine ends when its time is over, and control hears of it later", async () => {
  const folder = scratch();
  let recording = await control(folder);
  await host(folder, { expiryGraceMs: 50 });
  const hostId = await recording.joined();
  const id = newMachineId();
  recording.link.sendDesired(hostId, [desire(id, { remainingMs: 200 })]);
  await recording.sees(id, "running");
  await recording.link.close();
  await recording.until("the end", () => !existsSync(join(folder, "machines", id)) || undefined);
  recording = await control(folder);
  const { ended } = await recording.sees(id, "ended");
  expect(ended!.trigger).toBe("ttl");
  const completion = JSON.parse(ended!.proof).evidence[7].measured;
  expect(completion).toMatchObject({ end_state: "expired", outcome: "complete" });
});

test("a report control cannot commit is said again, and does not hold up another machine's", async () => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const stuck = await runMachine(recording, hostId);
  recording.refuse = (observation) => observation.machineId === stuck.id;
  recording.link.sendDesired(hostId, [{ ...stuck.wish, generation: 2, want: "down" }]);
  await recording.until("the end", () => !existsSync(join(folder, "machines", stuck.id)) || undefined);
  const other = await runMachine(recording, hostId);
  expect((await other.end()).state).toBe("ended");
  expect(recording.observed.some((one) => one.machineId === stuck.id && one.state === "ended")).toBe(false);
  recording.refuse = undefined;
  expect((await recording.sees(stuck.id, "ended")).ended!.outcome).toBe("complete");
});

test("a shutdown ends every machine and keeps the proofs control was not there to take", async () => {
  const folder = scratch();
  let recording = await control(folder);
  const first = await host(folder, { farewellMs: 20 });
  const hostId = await recording.joined();
  const { id } = await runMachine(recording, hostId);
  await recording.link.close();
  await first.stop();
  expect(readdirSync(join(folder, "machines"))).toEqual([]);
  expect(readdirSync(join(folder, "host", "machines"))).toEqual([`${id}.ended`]);
  recording = await control(folder);
  const second = await host(folder);
  expect(second.hostId).toBe(first.hostId);
  const observation = await recording.sees(id, "ended");
  expect(observation.ended!.trigger).toBe("shutdown");
  expect(
    verifyProof(Buffer.from(observation.ended!.proof), { issuers: second.facts().issuers }),
  ).toMatchObject({
    valid: true,
    level: 2,
  });
  await recording.until(
    "an empty store",
    () => readdirSync(join(folder, "host", "machines")).length === 0 || undefined,
  );
});

test("a machine that dies by itself is ended and proved", async () => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const { id } = await runMachine(recording, hostId);
  killMarked(id);
  const ended = await recording.sees(id, "ended");
  expect(ended.ended!.outcome).toBe("complete");
  expect(cdpOf(ended).evidence[7].measured.recovered).toBe(null);
});

test("a teardown that leaves a process makes a signed proof that says so", async () => {
  const folder = scratch();
  const recording = await control(folder);
  // Not from the start: the self-test has a machine too.
  const spared = { now: false };
  await host(folder, {
    drivers: [new FakeDriver({ folder: join(folder, "machines"), spare: () => spared.now })],
  });
  const hostId = await recording.joined();
  const { id, end } = await runMachine(recording, hostId);
  spared.now = true;
  const ended = await end();
  const cdp = cdpOf(ended);
  expect(ended.ended!.outcome).toBe("incomplete");
  expect(cdp.evidence[7].measured).toMatchObject({ end_state: "expired_unclean", failed_steps: [1, 6] });
  expect(verifyProof(Buffer.from(ended.ended!.proof)).checks.signature).toBe(true);
  killMarked(id);
  spared.now = false;
});

test("a session's time that runs out under a command reads as its timeout", async () => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const { id, wish } = await runMachine(recording, hostId);
  const stream = recording.link.openStream(hostId, {
    kind: "exec",
    machineId: id,
    command: "echo begun; sleep 30",
    timeoutMs: 60_000,
    hasInput: false,
    outputLimitBytes: null,
  });
  for await (const _ of stream.chunks()) {
    recording.link.sendDesired(hostId, [{ ...wish, generation: 2, want: "down", trigger: "ttl" }]);
    break;
  }
  expect(await stream.ended).toMatchObject({ kind: "done", trailer: { exitCode: 124, timedOut: true } });
  expect((await recording.sees(id, "ended")).ended!.trigger).toBe("ttl");
});

test("a cancelled command is ended, and the stream says cancelled", async () => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const { id } = await runMachine(recording, hostId);
  const stream = recording.link.openStream(hostId, {
    kind: "exec",
    machineId: id,
    command: "touch begun; sleep 30; touch over",
    timeoutMs: 60_000,
    hasInput: false,
    outputLimitBytes: null,
  });
  const folderOf = join(folder, "machines", id);
  await recording.until("the command", () => existsSync(join(folderOf, "begun")) || undefined);
  stream.cancel();
  expect(await stream.ended).toEqual({ kind: "cancelled" });
  expect(existsSync(join(folderOf, "over"))).toBe(false);
});

test("a file whose sender goes away half-way is not taken for whole", async () => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const { id } = await runMachine(recording, hostId);
  const put = () =>
    recording.link.openStream(hostId, { kind: "file-put", machineId: id, path: "f", limitBytes: 99 });
  const broken = put();
  await broken.write(Buffer.from("half"));
  broken.cancel();
  expect(await broken.ended).toEqual({ kind: "cancelled" });
  expect(existsSync(join(folder, "machines", id, "f"))).toBe(false);
  const whole = put();
  await whole.write(Buffer.from("whole"));
  whole.finish();
  expect(await whole.ended).toEqual({ kind: "done", trailer: { sizeBytes: 5 } });
  const got = recording.link.openStream(hostId, { kind: "file-get", machineId: id, path: "f" });
  let text = "";
  for await (const { bytes } of got.chunks()) text += Buffer.from(bytes).toString();
  expect(text).toBe("whole");
  const absent = recording.link.openStream(hostId, { kind: "file-get", machineId: id, path: "g" });
  expect(await absent.ended).toMatchObject({ kind: "failed", code: "machine.file-not-found" });
});

test("two hosts have two ids, and a state folder one host", async () => {
  const folder = scratch();
  const other = scratch();
  const recording = await control(folder);
  const one = await host(folder);
  const two = await host(other, { link: { path: join(folder, "link", "control.sock") } });
  expect(one.hostId).not.toBe(two.hostId);
  await recording.joined(2);
  expect(
    recording.link
      .hosts()
      .map((facts) => facts.hostId)
      .sort(),
  ).toEqual([one.hostId, two.hostId].sort());
  await expect(host(folder)).rejects.toThrow(/another host process/);
});

test("what lies in the state folder is closed to others and shows no salt or canary", async () => {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const hostId = await recording.joined();
  const { id, end } = await runMachine(recording, hostId);
  const canary = readFileSync(join(folder, "machines", id, "canary"), "utf8");
  expect(canary).toMatch(/^[0-9a-f]{64}$/);
  const files = readdirSync(join(folder, "host"), { recursive: true, withFileTypes: true });
  for (const file of files.filter((entry) => entry.isFile())) {
    const path = join(file.parentPath, file.name);
    expect(statSync(path).mode & 0o077, path).toBe(0);
    const bytes = readFileSync(path);
    expect(bytes.includes(canary), path).toBe(false);
    expect(bytes.includes(Buffer.from(canary, "hex")), path).toBe(false);
  }
  expect(statSync(join(folder, "host", "machines")).mode & 0o077).toBe(0);
  await end();
});

test("a rotated issuer is announced beside the old one, and proofs of both verify", async () => {
  const folder = scratch();
  const recording = await control(folder);
  const running = await host(folder);
  const hostId = await recording.joined();
  const before = await (await runMachine(recording, hostId)).end();
  await running.rotateIssuer();
  await recording.joined(2);
  const { issuers } = recording.hosts[1]!;
  expect(issuers).toHaveLength(2);
  expect(issuers[0]).toEqual(recording.hosts[0]!.issuers[0]);
  const after = await (await runMachine(recording, hostId)).end();
  for (const [observation, issuer] of [
    [before, issuers[0]],
    [after, issuers[1]],
  ] as const) {
    expect(verifyProof(Buffer.from(observation.ended!.proof), { issuers })).toMatchObject({
      valid: true,
      level: 2,
    });
    expect(cdpOf(observation).attestation.certificate.issuer_id).toBe(issuer!.issuerId);
  }
});
