// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { newMachineId, run, SPEC } from "../conformance/machine.ts";
import { SandboxDriver } from "./driver.ts";

describeWith([bubblewrap, root], "the sandbox driver", () => {
  let folder: string;
  let driver: SandboxDriver;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "casemate-sandbox-"));
    driver = new SandboxDriver({
      folder,
      owner: `test-driver-${process.pid}`,
      uids: { base: 1_901_000_000, count: 100 },
      proberUid: 1_900_999_999,
    });
  });
  afterAll(async () => {
    await driver.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("a machine runs a command and its end is measured clean", async () => {
    const id = newMachineId();
    await driver.start(id, SPEC, async () => {});
    const ran = await run(
      driver,
      id,
      "echo out; echo err >/dev/stderr; head -c 100000 /dev/urandom > kept; exit 3",
    );
    expect(ran).toMatchObject({ exitCode: 3, stdout: "out\n", stderr: "err\n" });
    const { steps } = await driver.stop(id);
    for (const [name, step] of Object.entries(steps)) expect(step.ok, name).toBe(true);
    expect(steps.overwrite.measured.bytes_overwritten).toBeGreaterThanOrEqual(100_000);
    expect(driver.live()).not.toContain(id);
  });

  test("a command has the confinement of the first process", async () => {
    const id = newMachineId();
    const { record } = await driver.start(id, SPEC, async () => {});
    const { started } = record as { started: { namespaces: Record<string, string> } };
    const { stdout } = await run(
      driver,
      id,
      "cat /proc/self/status; for n in /proc/self/ns/*; do readlink $n; done",
    );
    const field = (name: string) => stdout.match(new RegExp(`^${name}:[ \\t]*(.*)$`, "m"))?.[1]?.trim();
    expect(field("Uid")).toBe("1000\t1000\t1000\t1000");
    expect(field("Gid")).toBe("1000\t1000\t1000\t1000");
    expect(field("Groups")).toBe("");
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
      expect(field(set), set).toBe("0".repeat(16));
    expect(field("NoNewPrivs")).toBe("1");
    expect(field("Seccomp")).toBe("2");
    for (const [kind, inode] of Object.entries(started.namespaces))
      expect(stdout).toContain(`${kind}:[${inode}]`);
    await driver.stop(id);
  });
});
