// SPDX-License-Identifier: Apache-2.0
/** The host process with the sandbox driver, killed again and again at random moments of its machines' lives. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { desire, newMachineId } from "#testing/recording-control.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { cdpOf, control, scratch, undo } from "./testing.ts";

const ENTRY = new URL("./main.ts", import.meta.url).pathname;

function hostProcess(config: string): { child: ChildProcess; kill(): Promise<void> } {
  const child = spawn(process.execPath, [ENTRY, config], { stdio: ["pipe", "ignore", "inherit"] });
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const kill = async () => {
    child.kill("SIGKILL");
    await gone;
  };
  undo.push(kill);
  return { child, kill };
}

/** Processes in whose environment the machine is named: how the driver marks what is its own. */
function marked(machineId: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`).includes(machineId);
      } catch {
        return false;
      }
    });
}

describeWith([root, bubblewrap], "a host with real sandboxes", () => {
  test("killed at twelve moments, leaves no process and a true proof of every machine", async () => {
    const folder = scratch();
    const recording = await control(folder);
    const sandboxFolder = `/run/casemate-test-${process.pid}`;
    mkdirSync(sandboxFolder, { recursive: true, mode: 0o755 });
    undo.push(() => rmSync(sandboxFolder, { recursive: true, force: true }));
    const config = join(folder, "host.json");
    writeFileSync(
      config,
      JSON.stringify({
        stateFolder: join(folder, "host"),
        linkPath: join(folder, "link", "control.sock"),
        sandboxFolder,
        signer: { folder: join(folder, "signer"), kekPath: join(folder, "kek"), uid: 61_001 },
        ceiling: {
          machines: 32,
          memoryMiB: 1024,
          cpuMillis: 4000,
          pidsMax: 256,
          memoryTotalMiB: 65_536,
          isolations: ["process"],
        },
      }),
    );
    const wanted = new Map<string, ReturnType<typeof desire>>();
    recording.complete = () => [...wanted.values()];
    const started: string[] = [];
    // Control's part: what ended or is down is no longer desired.
    const settle = () => {
      for (const one of recording.observed) if (one.state === "ended") wanted.delete(one.machineId);
    };

    for (let round = 0; round < 12; round++) {
      const running = hostProcess(config);
      const hostId = await recording.joined(round + 1);
      settle();
      const fresh = [desire(newMachineId()), desire(newMachineId())];
      for (const wish of fresh) {
        wanted.set(wish.machineId, wish);
        started.push(wish.machineId);
      }
      recording.link.sendDesired(hostId, fresh);
      if (round % 3 > 0) {
        const [first] = fresh;
        await recording.sees(first!.machineId, "running");
        if (round % 3 === 1)
          recording.link.openStream(hostId, {
            kind: "exec",
            machineId: first!.machineId,
            command: "head -c 1000000 /dev/zero > /session/f; sleep 600",
            timeoutMs: 600_000,
            hasInput: false,
            outputLimitBytes: null,
          });
        else {
          const down = { ...first!, generation: 2, want: "down" as const };
          wanted.set(down.machineId, down);
          recording.link.sendDesired(hostId, [down]);
        }
      }
      await new Promise((resolve) => setTimeout(resolve, (round * 7) % 40));
      await running.kill();
      settle();
    }

    const last = hostProcess(config);
    await recording.joined(13);
    settle();
    const hostId = recording.hosts.at(-1)!.hostId;
    const downs = [...wanted.values()].map((wish) => ({ ...wish, generation: 3, want: "down" as const }));
    recording.link.sendDesired(hostId, downs);
    for (const id of started) {
      const observation = await recording.sees(id, "ended", "failed");
      expect(marked(id), id).toEqual([]);
      if (observation.state === "failed") {
        // Never ran: nothing to prove, and nothing was reported of it.
        expect(observation.code).toBe("machine.unknown");
        expect(recording.observed.some((one) => one.machineId === id && one.state === "running")).toBe(false);
        continue;
      }
      const verdict = verifyProof(Buffer.from(observation.ended!.proof), {
        issuers: recording.hosts.at(-1)!.issuers,
      });
      expect(verdict, JSON.stringify(verdict)).toMatchObject({ valid: true, level: 2, outcome: "complete" });
      const cdp = cdpOf(observation);
      if (cdp.context.trigger === "recovery" && cdp.evidence[7].measured.recovered !== null)
        expect(cdp.evidence[2].measured).toMatchObject({ passes: 0, bytes_overwritten: 0 });
    }
    last.child.stdin!.end();
    await new Promise((resolve) => last.child.once("exit", resolve));
    expect(readdirSync(join(folder, "host", "machines"))).toEqual([]);
  }, 480_000);
});
