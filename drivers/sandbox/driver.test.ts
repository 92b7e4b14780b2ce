// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { newMachineId, run, SPEC } from "../conformance/machine.ts";
import { conformance } from "../conformance/suite.ts";
import { findCgroups } from "./cgroups.ts";
import { type OwnDriver, ownDriver } from "./testing.ts";

const cgroups = findCgroups(`test-driver-${process.pid}`);
cgroups.close();
const counted = cgroups.kind !== "rlimits";

describeWith([bubblewrap, root], "the sandbox driver", () => {
  const can = { countsMemory: counted, separatesCommands: counted };
  conformance(async () => ownDriver("driver"), can);
  describe("with spares", () => {
    conformance(async () => ownDriver("driver-spares", { spares: 2 }), { ...can, makesAhead: true });
  });

  let own: OwnDriver;
  const groups = process.getgroups?.() ?? [];
  beforeAll(() => {
    // Groups of the host's that a command must not keep.
    process.setgroups?.([0, 4, 44]);
    own = ownDriver("confined");
  });
  afterAll(async () => {
    await own.close();
    process.setgroups?.(groups);
  });

  test("a command has the confinement of the first process", async () => {
    const { driver } = own;
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

  test("a command inherits no descriptor of the host and no core limit above zero", async () => {
    const { driver } = own;
    const id = newMachineId();
    await driver.start(id, SPEC, async () => {});
    const { stdout } = await run(
      driver,
      id,
      "ls /proc/self/fd | tr '\\n' ' '; ulimit -c; echo fine > /dev/stdout",
    );
    expect(stdout).toBe("0 1 2 3 0\nfine\n"); // 3 is the folder that ls reads
    await driver.stop(id);
  });

  test("a refused entry runs nothing and says where it stopped", async () => {
    const { driver } = own;
    const id = newMachineId();
    await driver.start(id, SPEC, async () => {});
    await expect(run(driver, id, "true", { cwd: "/no/such/folder" })).rejects.toMatchObject({
      code: "machine.exec-refused",
      stage: "cwd",
    });
    await driver.stop(id);
  });

  test("an end clears every file, whatever the session made of its tree", async () => {
    const { driver } = own;
    const id = newMachineId();
    await driver.start(id, SPEC, async () => {});
    const tree = `
      head -c 3000000 /dev/urandom > plain; ln plain second-name
      truncate -s 1T hole; printf end | dd of=hole bs=1 seek=900000000000 conv=notrunc 2>/dev/null
      echo secret > locked; chmod 000 locked; mkdir shut; echo secret > shut/in; chmod 000 shut
      ln -s /etc/passwd out; mkfifo pipe; printf 'x' > "$(printf 'bad\\377name')"
      perl -e 'for (1..3000) { mkdir "d" x 200; chdir "d" x 200 } open F, ">deep"; print F "deep secret"'
      echo shm > /dev/shm/s; echo tmp > /tmp/t`;
    expect(await run(driver, id, tree)).toMatchObject({ exitCode: 0, stderr: "" });
    const { steps } = await driver.stop(id);
    for (const [name, step] of Object.entries(steps)) expect(step.ok, name).toBe(true);
    const [session, tmp, , shm] = steps.tmpfs.measured.mounts;
    expect(session).toMatchObject({ target: "/session", files: 6 });
    expect(tmp).toMatchObject({ files: 1, bytes: 4 });
    expect(shm).toMatchObject({ files: 1, bytes: 4 });
    expect(steps.overwrite.measured).toMatchObject({ bytes_skipped: 0, read_back_ok: true, passes: 1 });
    expect(steps.overwrite.measured.bytes_overwritten).toBeGreaterThan(3_000_000);
    expect(steps.overwrite.measured.bytes_overwritten).toBeLessThan(5_000_000);
  });
});
