// SPDX-License-Identifier: Apache-2.0
/** A host killed with SIGKILL, in each phase of a machine's life, and the next one that finds what is left. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { markedProcesses } from "#testing/fake-driver.ts";
import type { FakeHostAsk } from "#testing/fake-host.ts";
import { desire, newMachineId, type RecordingControl } from "#testing/recording-control.ts";
import { cdpOf, control, host, scratch, undo } from "./testing.ts";

const ENTRY = new URL("../testing/fake-host.ts", import.meta.url).pathname;

/** A host process and the lines it said. */
async function hostProcess(ask: FakeHostAsk) {
  const child: ChildProcess = spawn(process.execPath, [ENTRY, JSON.stringify(ask)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout!.on("data", (text) => {
    said += text;
  });
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  undo.push(async () => {
    child.kill("SIGKILL");
    await gone;
  });
  return {
    says: (recording: RecordingControl, word: string) =>
      recording.until(word, () => said.includes(word) || undefined),
    async kill() {
      child.kill("SIGKILL");
      await gone;
    },
  };
}

/** Processes at work in the folder: machines and signers. */
function processesIn(folder: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`).startsWith(folder);
      } catch {
        return false;
      }
    });
}

async function left(recording: RecordingControl, folder: string, id: string) {
  expect(markedProcesses().filter((found) => found.machineId === id)).toEqual([]);
  expect(readdirSync(join(folder, "machines"))).toEqual([]);
  await recording.until(
    "an empty store",
    () => readdirSync(join(folder, "host", "machines")).length === 0 || undefined,
  );
  expect(readdirSync(join(folder, "host", "events"))).toEqual([]);
}

/** A host process with one machine that runs. */
async function standing() {
  const folder = scratch();
  const recording = await control(folder);
  const first = await hostProcess({ folder, stallAt: null });
  const hostId = await recording.joined();
  const wish = desire(newMachineId());
  recording.link.sendDesired(hostId, [wish]);
  await recording.sees(wish.machineId, "running");
  return { folder, recording, first, hostId, wish };
}

test("killed while creating, before the record: nothing is left, and control's wish is carried out anew", async () => {
  const folder = scratch();
  const recording = await control(folder);
  const first = await hostProcess({ folder, stallAt: "start" });
  const hostId = await recording.joined();
  const wish = desire(newMachineId());
  recording.link.sendDesired(hostId, [wish]);
  await first.says(recording, "stalled");
  await first.kill();
  await host(folder);
  await recording.joined(2);
  recording.link.sendDesired(hostId, [wish], true);
  await recording.sees(wish.machineId, "running");
  recording.link.sendDesired(hostId, [{ ...wish, generation: 2, want: "down" }]);
  await recording.sees(wish.machineId, "ended");
  await left(recording, folder, wish.machineId);
});

test.each(["recorded", "running", "executing", "stop"] as const)(
  "killed while %s: no process or folder is left, and the machine has a truthful proof",
  async (phase) => {
    const folder = scratch();
    const recording = await control(folder);
    const stallAt = phase === "recorded" || phase === "stop" ? phase : null;
    const first = await hostProcess({ folder, stallAt });
    const hostId = await recording.joined();
    const wish = desire(newMachineId());
    recording.link.sendDesired(hostId, [wish]);
    if (phase !== "recorded") await recording.sees(wish.machineId, "running");
    if (phase === "executing") {
      const stream = recording.link.openStream(hostId, {
        kind: "exec",
        machineId: wish.machineId,
        command: "echo begun; sleep 600",
        timeoutMs: 600_000,
        hasInput: false,
        outputLimitBytes: null,
      });
      for await (const _ of stream.chunks()) break;
    }
    if (phase === "stop") recording.link.sendDesired(hostId, [{ ...wish, generation: 2, want: "down" }]);
    if (stallAt) await first.says(recording, "stalled");
    expect(markedProcesses().some((found) => found.machineId === wish.machineId)).toBe(true);
    await first.kill();

    const second = await host(folder);
    const observation = await recording.sees(wish.machineId, "ended");
    const cdp = cdpOf(observation);
    expect(
      verifyProof(Buffer.from(observation.ended!.proof), { issuers: second.facts().issuers }),
    ).toMatchObject({
      valid: true,
      level: 2,
      outcome: "complete",
    });
    expect(cdp.context.trigger).toBe("recovery");
    expect(cdp.context.limits).toContain("overwrite_not_claimed");
    expect(cdp.evidence[2].measured).toMatchObject({ passes: 0, bytes_overwritten: 0 });
    // The key died with the killed process: nothing says it was seen as zeros.
    expect(cdp.evidence[3].measured.data_keys).toMatchObject([{ wiped: null }]);
    const { recovered } = cdp.evidence[7].measured;
    expect(recovered.boot_id_hash_before).toBe(recovered.boot_id_hash_after);
    const events = { recorded: 2, running: 3, executing: 4, stop: 4 }[phase];
    expect(cdp.evidence[6].measured.event_count).toBe(events);
    await left(recording, folder, wish.machineId);
  },
);

test("killed after measuring and before signing: the proof says what was measured, once", async () => {
  const { folder, recording, first, wish, hostId } = await standing();
  const signers = processesIn(join(folder, "signer"));
  expect(signers).toHaveLength(1);
  process.kill(signers[0]!, "SIGSTOP");
  recording.link.sendDesired(hostId, [{ ...wish, generation: 2, want: "down" }]);
  const records = join(folder, "host", "machines");
  await recording.until(
    "the measurement",
    () => readdirSync(records).includes(`${wish.machineId}.ending`) || undefined,
  );
  await first.kill();
  process.kill(signers[0]!, "SIGKILL");

  await host(folder);
  const observation = await recording.sees(wish.machineId, "ended");
  const cdp = cdpOf(observation);
  expect(cdp.context.trigger).toBe("api");
  expect(cdp.evidence[2].measured.passes).toBe(1);
  expect(cdp.evidence[7].measured.recovered).toBe(null);
  expect(recording.observed.filter((one) => one.state === "ended")).toHaveLength(1);
  await left(recording, folder, wish.machineId);
});

test("a host killed while it recovers is recovered from in turn", async () => {
  const { folder, recording, first, wish } = await standing();
  await first.kill();
  const second = await hostProcess({ folder, stallAt: "recover" });
  await second.says(recording, "stalled");
  await second.kill();
  await host(folder);
  expect((await recording.sees(wish.machineId, "ended")).ended!.outcome).toBe("complete");
  await left(recording, folder, wish.machineId);
});

test("the signer of a killed host ends with it", async () => {
  const folder = scratch();
  const recording = await control(folder);
  const first = await hostProcess({ folder, stallAt: null });
  await recording.joined();
  expect(processesIn(folder).length).toBeGreaterThan(0);
  await first.kill();
  await recording.until("no process", () => processesIn(folder).length === 0 || undefined);
});

test("a machine whose record was damaged is ended, never begun anew, and said to be unknown", async () => {
  const { folder, recording, first, wish } = await standing();
  await first.kill();
  writeFileSync(join(folder, "host", "machines", `${wish.machineId}.live`), "damaged");
  recording.complete = () => [wish];
  await host(folder);
  expect(await recording.sees(wish.machineId, "failed")).toMatchObject({ code: "machine.unknown" });
  expect(markedProcesses().filter((found) => found.machineId === wish.machineId)).toEqual([]);
  expect(readdirSync(join(folder, "machines"))).toEqual([]);
});
