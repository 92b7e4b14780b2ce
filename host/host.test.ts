// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { FakeDriver, type FakeDriverOptions, markedProcesses } from "#testing/fake-driver.ts";
import { desire, newMachineId, RecordingControl, spec } from "#testing/recording-control.ts";
import { type HostOptions, type RunningHost, startHost } from "./assemble.ts";

const undo: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), "casemate-host-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function control(folder: string): Promise<RecordingControl> {
  const recording = await RecordingControl.listen(join(folder, "link", "control.sock"));
  undo.push(() => recording.link.close());
  return recording;
}

async function host(
  folder: string,
  changes: Partial<HostOptions> = {},
  driver: Partial<FakeDriverOptions> = {},
): Promise<RunningHost> {
  const running = await startHost({
    stateFolder: join(folder, "host"),
    linkPath: join(folder, "link", "control.sock"),
    drivers: [new FakeDriver({ folder: join(folder, "machines"), ...driver })],
    ceiling: {
      machines: 8,
      memoryMiB: 1024,
      cpuMillis: 2000,
      pidsMax: 256,
      memoryTotalMiB: 4096,
      isolations: ["process"],
    },
    signer: { folder: join(folder, "signer"), kekPath: join(folder, "host", "issuer.kek"), uid: 61_000 },
    backoff: { firstMs: 5, mostMs: 50 },
    farewellMs: 500,
    ...changes,
  });
  undo.push(() => running.stop());
  return running;
}

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
    ...spec().endProof.subject,
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
