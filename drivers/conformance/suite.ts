// SPDX-License-Identifier: Apache-2.0
/**
 * What every driver keeps, whatever it makes its machines of. A driver's own test calls `conformance`
 * with a way to make one; what only some can do is told by the capabilities.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { Driver, EndFacts } from "../driver.ts";
import { newMachineId, run, SPEC } from "./machine.ts";

export interface Subject {
  driver: Driver<EndFacts>;
  close(): Promise<void>;
}

export interface Capabilities {
  /** A machine's memory is limited as a whole and a kill for it is told apart from other kills. */
  countsMemory: boolean;
  /** One command's processes can be told from another's. */
  separatesCommands: boolean;
  /** A machine may get what was made before it was asked for: its first record is then complete. */
  makesAhead?: boolean;
}

async function* bytesOf(...parts: (string | Buffer)[]) {
  for (const part of parts) yield Buffer.from(part as string);
}

export function conformance(make: () => Promise<Subject>, capabilities: Capabilities): void {
  describe("a driver", () => {
    let subject: Subject;
    let driver: Driver<EndFacts>;
    beforeAll(async () => {
      subject = await make();
      driver = subject.driver;
    });
    afterAll(async () => {
      await subject.close();
    });

    /** A machine for one test, ended after it. */
    async function withMachine<T>(work: (id: string) => Promise<T>, spec: MachineSpec = SPEC): Promise<T> {
      const id = newMachineId();
      await driver.start(id, spec, async () => {});
      try {
        return await work(id);
      } finally {
        await driver.stop(id);
        driver.forget?.(id);
      }
    }

    test("is ready where it is tested", async () => {
      expect(await driver.probe()).toMatchObject({ ready: true, missing: null });
    });

    test("stores a record before the machine exists and completes it before it is reported", async () => {
      const id = newMachineId();
      const records: string[] = [];
      const started = await driver.start(id, SPEC, async (record) => {
        records.push(JSON.stringify(record));
        if (records.length === 1) expect(driver.live()).not.toContain(id);
      });
      expect(records.length).toBeGreaterThanOrEqual(capabilities.makesAhead ? 1 : 2);
      expect(records.at(-1)).toBe(JSON.stringify(started.record));
      await driver.stop(id);
    });

    test("leaves nothing behind when the record cannot be stored", async () => {
      const id = newMachineId();
      const full = async () => {
        throw new Error("disk full");
      };
      await expect(driver.start(id, SPEC, full)).rejects.toThrow();
      expect(driver.live()).not.toContain(id);
      let calls = 0;
      const late = async () => {
        if (++calls === 2) throw new Error("disk full");
      };
      const again = await driver.start(id, SPEC, late).catch(() => null);
      expect(driver.live().includes(id)).toBe(again !== null);
      if (again === null) await driver.start(id, SPEC, async () => {});
      else expect([capabilities.makesAhead, calls]).toEqual([true, 1]);
      await driver.stop(id);
    });

    test("a second machine of the same name is refused", async () => {
      await withMachine(async (id) => {
        await expect(driver.start(id, SPEC, async () => {})).rejects.toMatchObject({
          code: "machine.already-there",
        });
      });
    });

    test("an unknown image is refused", async () => {
      const start = driver.start(newMachineId(), { ...SPEC, image: "no-such-image" }, async () => {});
      await expect(start).rejects.toMatchObject({ code: "machine.image-unknown" });
    });

    test("keeps exit code, both outputs, environment and working folder", async () => {
      await withMachine(async (id) => {
        const ran = await run(driver, id, 'pwd; echo "$WORD"; echo oops >&2; exit 7', {
          cwd: "/tmp",
          env: { WORD: "a b=c" },
        });
        expect(ran).toMatchObject({
          exitCode: 7,
          stdout: "/tmp\na b=c\n",
          stderr: "oops\n",
          timedOut: false,
        });
      });
    });

    test("a command ended by a signal reads as 128 and the signal", async () => {
      await withMachine(async (id) => {
        expect(await run(driver, id, "kill -9 $$")).toMatchObject({ exitCode: 137, oomKilled: false });
      });
    });

    test("files outlive the command that wrote them", async () => {
      await withMachine(async (id) => {
        await run(driver, id, "echo kept > note");
        expect((await run(driver, id, "cat note")).stdout).toBe("kept\n");
      });
    });

    test("input is there before the command starts and stays until it is replaced", async () => {
      await withMachine(async (id) => {
        const first = await run(driver, id, "cat $INPUT_DATA input/data", { input: bytesOf("one", "\0two") });
        expect(first.stdout).toBe("one\0twoone\0two");
        expect((await run(driver, id, "cat $INPUT_DATA")).stdout).toBe("one\0two");
        expect((await run(driver, id, "cat $INPUT_DATA", { input: bytesOf("three") })).stdout).toBe("three");
      });
    });

    test("output over the limit is dropped, told of, and does not stop the command", async () => {
      await withMachine(async (id) => {
        const ran = await run(driver, id, "head -c 300000 /dev/zero; exit 5", { outputLimitBytes: 1000 });
        expect(ran).toMatchObject({ exitCode: 5, outputTruncated: true });
        expect(ran.stdout.length).toBe(1000);
        const fits = await run(driver, id, "head -c 1000 /dev/zero", { outputLimitBytes: 1000 });
        expect(fits.outputTruncated).toBe(false);
      });
    });

    test("a slow reader loses nothing", async () => {
      await withMachine(async (id) => {
        let bytes = 0;
        await run(driver, id, "head -c 2000000 /dev/zero", {
          outputLimitBytes: null,
          onOutput: async (_, chunk) => {
            await new Promise((resolve) => setTimeout(resolve, 1));
            bytes += chunk.length;
          },
        });
        expect(bytes).toBe(2_000_000);
      });
    });

    test("a background process that holds the output does not hold the reply and lives on", async () => {
      await withMachine(async (id) => {
        const ran = await run(driver, id, "(trap '' PIPE; sleep 1; echo late > late; sleep 30) & echo now");
        expect(ran).toMatchObject({ exitCode: 0, stdout: "now\n" });
        expect(ran.durationMs).toBeLessThan(900);
        const later = await run(
          driver,
          id,
          "for i in 1 2 3 4 5 6 7 8 9; do [ -e late ] && break; sleep 0.5; done; cat late",
        );
        expect(later.stdout).toBe("late\n");
      });
    });

    test("a timeout ends the whole tree, however it hides", async () => {
      await withMachine(async (id) => {
        // A daemon that ignores SIGTERM, a process that stopped itself, and a main program that forks on.
        const beat =
          "$SIG{TERM} = 'IGNORE'; while (1) { open F, '>', 'beat'; print F ++$n; close F; select undef, undef, undef, 0.02 }";
        const hide = `(setsid perl -e "${beat.replaceAll("$", "\\$")}" >/dev/null 2>&1 &); sh -c 'kill -STOP $$' & trap '' TERM; while :; do sleep 0.1; done`;
        const ran = await run(driver, id, hide, { timeoutMs: 400 });
        expect(ran).toMatchObject({ exitCode: 124, timedOut: true });
        const after = await run(
          driver,
          id,
          "cat beat > a; sleep 0.4; cmp a beat && ls /proc | grep -c '^[0-9]'",
        );
        expect(after.exitCode).toBe(0);
      });
    });

    test("a command that goes on its own at SIGTERM is not waited for", async () => {
      await withMachine(async (id) => {
        const ran = await run(driver, id, "sleep 60", { timeoutMs: 200 });
        expect(ran).toMatchObject({ exitCode: 124, timedOut: true });
        expect(ran.durationMs).toBeLessThan(1900);
      });
    });

    test("a command may still start a program to clean up when its time is over", async () => {
      await withMachine(async (id) => {
        await run(driver, id, "trap 'cp /etc/hostname cleaned; exit' TERM; sleep 60 & wait", {
          timeoutMs: 200,
        });
        expect((await run(driver, id, "cat cleaned")).stdout).toBe("session\n");
      });
    });

    test("a cancelled command ends as a timeout does but is not called one", async () => {
      await withMachine(async (id) => {
        const abort = new AbortController();
        setTimeout(() => abort.abort(), 200);
        const ran = await run(driver, id, "sleep 60", { signal: abort.signal });
        expect(ran.timedOut).toBe(false);
        expect(ran.exitCode).not.toBe(0);
      });
    });

    test.runIf(capabilities.separatesCommands)(
      "a timeout spares the other commands of the machine",
      async () => {
        await withMachine(async (id) => {
          const other = run(driver, id, "sleep 1.5; echo whole");
          await run(driver, id, "sleep 60", { timeoutMs: 200 });
          expect(await other).toMatchObject({ exitCode: 0, stdout: "whole\n" });
        });
      },
    );

    test.runIf(capabilities.countsMemory)(
      "a command over the memory limit is killed and told of; the machine lives",
      async () => {
        await withMachine(async (id) => {
          const ran = await run(driver, id, "perl -e '$x = \"a\" x (1 << 30); print length $x'");
          expect(ran).toMatchObject({ exitCode: 137, oomKilled: true, timedOut: false });
          expect((await run(driver, id, "echo alive")).stdout).toBe("alive\n");
        });
      },
    );

    test("files are put whole, read back, removed", async () => {
      await withMachine(async (id) => {
        const body = Buffer.from(Array.from({ length: 100_000 }, (_, at) => at & 255));
        expect(
          await driver.putFile(id, "a/b/c.bin", bytesOf(body.subarray(0, 5), body.subarray(5)), 200_000),
        ).toEqual({
          sizeBytes: 100_000,
        });
        const parts: Buffer[] = [];
        await driver.getFile(id, "a/b/c.bin", (bytes) => void parts.push(Buffer.from(bytes)));
        expect(Buffer.concat(parts).equals(body)).toBe(true);
        await driver.removeFile(id, "a/b/c.bin");
        await expect(driver.getFile(id, "a/b/c.bin", () => {})).rejects.toMatchObject({
          code: "machine.file-not-found",
        });
      });
    });

    test("a file over its limit, or whose source fails, leaves nothing", async () => {
      await withMachine(async (id) => {
        const long = driver.putFile(id, "long", bytesOf("x".repeat(11)), 10);
        await expect(long).rejects.toMatchObject({ code: "machine.file-too-large" });
        const broken = (async function* () {
          yield Buffer.from("half");
          throw new Error("the sender went away");
        })();
        await expect(driver.putFile(id, "half", broken, 100)).rejects.toThrow();
        expect((await run(driver, id, "ls -A | grep -v '^input$' | wc -l")).stdout.trim()).toBe("0");
      });
    });

    test.each(["../up", "/etc/passwd", "a/../../b", "", "a\0b", "a//b", "./a"])(
      "the path %j is refused",
      async (path) => {
        await withMachine(async (id) => {
          await expect(driver.putFile(id, path, bytesOf("x"), 10)).rejects.toMatchObject({
            code: "machine.path-refused",
          });
          await expect(driver.getFile(id, path, () => {})).rejects.toMatchObject({
            code: "machine.path-refused",
          });
          await expect(driver.removeFile(id, path)).rejects.toMatchObject({ code: "machine.path-refused" });
        });
      },
    );

    test("tells once when a machine dies by itself", async () => {
      const id = newMachineId();
      const deaths: string[] = [];
      driver.onDeath((machineId, reason) => machineId === id && deaths.push(reason));
      const { record } = await driver.start(id, SPEC, async () => {});
      const { pid } = (record as { started: { pid: number } }).started;
      process.kill(pid, "SIGKILL");
      for (let waited = 0; deaths.length === 0 && waited < 200; waited++)
        await new Promise((resolve) => setTimeout(resolve, 10));
      expect(deaths).toEqual(["exited"]);
      const facts = await driver.stop(id);
      expect(facts.steps.namespace.ok).toBe(true);
      expect(deaths).toHaveLength(1);
    });

    test("stop answers the same facts again until it is forgotten, and nothing runs after it", async () => {
      const id = newMachineId();
      await driver.start(id, SPEC, async () => {});
      const [first, second] = await Promise.all([driver.stop(id), driver.stop(id)]);
      expect(second).toBe(first);
      expect(await driver.stop(id)).toBe(first);
      await expect(run(driver, id, "true")).rejects.toMatchObject({ code: "machine.not-found" });
      driver.forget?.(id);
      await expect(driver.stop(id)).rejects.toMatchObject({ code: "machine.not-found" });
    });

    test("stop ends a running command and the command still gets its answer", async () => {
      const id = newMachineId();
      await driver.start(id, SPEC, async () => {});
      const running = run(driver, id, "sleep 60");
      await new Promise((resolve) => setTimeout(resolve, 200));
      const facts = await driver.stop(id);
      expect((await running).exitCode).toBe(137);
      expect(Object.values(facts.steps).every((step) => step.ok)).toBe(true);
    });

    test("a reader that never goes on and a sender that never ends do not hold up the end", async () => {
      const id = newMachineId();
      await driver.start(id, SPEC, async () => {});
      const never = new Promise<void>(() => {});
      const stuckReader = run(driver, id, "yes", { onOutput: () => never, outputLimitBytes: null });
      const stuckSender = run(driver, id, "true", {
        input: (async function* () {
          yield Buffer.from("begun");
          await never;
        })(),
      });
      const answers = Promise.allSettled([stuckReader, stuckSender]);
      await new Promise((resolve) => setTimeout(resolve, 300));
      const from = performance.now();
      const facts = await driver.stop(id);
      expect(performance.now() - from).toBeLessThan(5000);
      expect(Object.values(facts.steps).every((step) => step.ok)).toBe(true);
      expect((await answers).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    });

    test("the prober reads the process and mount tables", async () => {
      expect(await driver.selfTest?.()).toBe(true);
    });
  });
}
