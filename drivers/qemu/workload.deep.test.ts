// SPDX-License-Identifier: Apache-2.0
/** A workload in a machine of the real image, by the whole of the driver: measured boot, a network of its own, and another host process. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { buildWorkloadImage, IMAGE_MS, workloadImage } from "#testing/workload-image.ts";
import { newMachineId } from "../conformance/machine.ts";
import type { Endpoint } from "../kept-driver.ts";
import { Taps } from "./network/taps.ts";
import { ownNetworks } from "./network/testing.ts";
import { FIRMWARE, firmware, openMachines, qemu, swtpm, swtpmSetup, type TestMachines } from "./testing.ts";

/** As long as an emulated machine on a busy computer may take. */
const SLOW_MS = 500_000;
const PROGRAM = new URL("../../testing/workload-host.ts", import.meta.url).pathname;

describeWith(
  [workloadImage, qemu, swtpm, swtpmSetup, firmware, ownNetworks],
  "a workload in a machine",
  () => {
    let bench: TestMachines;
    let image: { metadataSha256: string; folder: string };
    const id = newMachineId();
    const host = `casemate-host-${randomBytes(3).toString("hex")}`;
    const children = new Set<ChildProcess>();
    beforeAll(async () => {
      image = await buildWorkloadImage();
      bench = openMachines();
      execFileSync("ip", ["netns", "add", host]);
      execFileSync("ip", ["-n", host, "link", "set", "lo", "up"]);
    }, IMAGE_MS);
    afterAll(async () => {
      for (const child of children) child.kill("SIGKILL");
      if (bench === undefined) return;
      const { call, kill } = open();
      await call("reap");
      await kill();
      spawnSync("ip", ["netns", "del", host]);
      await bench.close();
    }, SLOW_MS);

    const open = () => {
      const folder = join(bench.options.folder, "d");
      mkdirSync(folder, { recursive: true });
      const options = {
        ...{ ...bench.options, folder, isolation: "vm-vtpm", imagesFolder: join(image.folder, "../..") },
        ...{ firmware: FIRMWARE, tpmSetupProgram: "/usr/bin/swtpm_setup", lookMs: 500 },
        ...{ answerMs: 200_000, bootMs: 400_000, shutdownMs: 120_000 },
      };
      const input = { options, image: image.metadataSha256, machineId: id, folder: bench.options.folder };
      const words = [`--net=/run/netns/${host}`, process.execPath, "--disable-warning=ExperimentalWarning"];
      const child = spawn("nsenter", [...words, PROGRAM, JSON.stringify(input)], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      children.add(child);
      const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
      const call = async <T>(name: string, args?: unknown): Promise<T> => {
        child.stdin!.write(`${JSON.stringify([name, args ?? null])}\n`);
        const { value } = await lines.next();
        const { ok, error } = JSON.parse(value as string) as { ok: T; error?: string };
        if (error !== undefined) throw new Error(error);
        return ok;
      };
      const kill = async () => {
        children.delete(child);
        child.kill("SIGKILL");
        await once(child, "exit");
      };
      return { call, kill };
    };
    const programOf = (pid: number) => basename(readlinkSync(`/proc/${pid}/exe`));
    const filesWith = (...words: string[]) => {
      const said = spawnSync("grep", [
        "-rlF",
        ...words.flatMap((word) => ["-e", word]),
        bench.options.folder,
      ]);
      return said.stdout
        .toString()
        .split("\n")
        .filter((line) => line !== "");
    };
    const traces = () => {
      const link = new Taps(bench.options.owner).linkOf(id);
      const names = execFileSync("ip", ["netns", "list"], { encoding: "utf8" });
      const rules = spawnSync("nsenter", [
        `--net=/run/netns/${host}`,
        "sh",
        "-c",
        "nft list ruleset; ip -o link",
      ]);
      const lines = `${names}\n${rules.stdout}`.split("\n");
      return [...bench.traces(id), ...lines.filter((line) => line.includes(id) || line.includes(link))];
    };

    test(
      "is started with what was sealed, served by its own key, found by the next host process, started again with its disk, and removed",
      async () => {
        const stateKey = randomBytes(64).toString("base64");
        const first = open();
        const { endpoint, progress } = await first.call<{ endpoint: Endpoint; progress: string[] }>("start", {
          ...{ stateKey, word: "first-word-5c1d" },
        });
        expect(endpoint).toMatchObject({ port: 443, tlsInside: true });
        expect(progress).toEqual(expect.arrayContaining(["booting", "waiting for its secrets"]));
        expect(progress.some((text) => text.startsWith("pulling "))).toBe(true);
        await expect
          .poll(() => first.call("page", endpoint), { timeout: SLOW_MS })
          .toBe("200 first-word-5c1d");
        expect(await first.call("containers")).toMatchObject([
          { names: expect.arrayContaining(["web"]), state: "running" },
        ]);
        expect(await first.call("evidence")).toBe("tpm");
        await first.kill();

        const next = open();
        expect(await next.call("find")).toEqual({ state: "running", endpoint });
        expect(await next.call("page", endpoint)).toBe("200 first-word-5c1d");
        expect(await next.call("logs")).toEqual(["to stdout", "to stderr"]);
        expect(await next.call("errors")).toEqual(["to stderr"]);
        expect(await next.call("stats")).toMatchObject({ cpus: [{ name: expect.any(String) }] });
        // Port D: what is in the machine's own disk is encrypted, and no other file has a word of it.
        expect(filesWith("first-word-5c1d", "of-the-registry-1", stateKey)).toEqual([]);
        expect(filesWith('"claimId"')).not.toEqual([]);
        await next.call("halt");
        expect(bench.processes(id)).toEqual([]);
        expect(filesWith("first-word-5c1d", "of-the-registry-1", stateKey)).toEqual([]);

        // Port B: its disk was kept, and it has new values.
        const again = await next.call<{ endpoint: Endpoint }>("start", { stateKey, word: "second" });
        await expect
          .poll(() => next.call("page", again.endpoint), { timeout: SLOW_MS })
          .toBe("200 first-word-5c1d second");
        expect(await next.call("changes")).toEqual([]);
        // Port F.
        for (const pid of bench.processes(id).filter((each) => programOf(each) === "swtpm"))
          process.kill(pid, "SIGKILL");
        await expect
          .poll(() => next.call("changes"), { timeout: SLOW_MS })
          .toEqual([{ state: "interrupted", detail: "the program that plays its TPM has ended" }]);
        expect(bench.processes(id)).toEqual([]);
        expect(await next.call("reap")).toBe(1);
        await next.kill();
        expect(traces()).toEqual([]);
      },
      SLOW_MS,
    );
  },
);
