// SPDX-License-Identifier: Apache-2.0
/** A host with a real engine that is stopped and started under its machines. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ask, KEPT_SPEC, payloadOf } from "#drivers/conformance/kept-machine.ts";
import { DockerDriver } from "#drivers/docker/driver.ts";
import { type DockerSubject, dockerSubject } from "#drivers/docker/testing.ts";
import { dockerd } from "#testing/docker.ts";
import { describeWith } from "#testing/requirements.ts";
import { KeptBench, newId, wish } from "./testing.ts";

const PATIENCE = { timeout: 60_000 };

describeWith([dockerd], "an engine that is restarted", () => {
  describe.each([{ liveRestore: false }, { liveRestore: true }])("with %o", ({ liveRestore }) => {
    let subject: DockerSubject;
    let driver: DockerDriver;
    let bench: KeptBench;
    beforeAll(async () => {
      subject = await dockerSubject({ liveRestore });
    });
    afterAll(() => subject?.close());
    beforeEach(() => {
      driver = new DockerDriver(subject.options);
      bench = new KeptBench({ clock: () => performance.now() }, driver);
    });
    afterEach(async () => {
      await bench.close();
      await driver.reap(new Set());
      await driver.close();
    });

    const content = () =>
      payloadOf({
        image: subject.image,
        web: { volumes: ["data:/data"] },
        services: { db: { command: ["sleep", "1000"] } },
        top: { volumes: { data: null } },
      });
    const of = (id: string) => bench.said.filter(({ machineId }) => machineId === id);
    const until = (id: string, state: string) =>
      expect.poll(() => of(id).at(-1)?.state, PATIENCE).toBe(state);

    test("ends no machine for good: it runs again, with its volumes, and nobody is told that it failed", async () => {
      const id = newId();
      const up = {
        ...wish(id),
        spec: { ...KEPT_SPEC, kept: { ...KEPT_SPEC.kept!, domains: ["a.example"] } },
      };
      bench.host.accept([up], false);
      bench.host.give(id, 1, content());
      await until(id, "running");
      await ask(bench.routes[0]!.target!, "echo kept > /data/a; echo lost > /b");
      const before = bench.said.length;

      await subject.docker.restart();
      const payload = setInterval(() => {
        if (of(id).at(-1)?.wantsPayload) bench.host.give(id, 1, content());
      }, 50);
      try {
        if (!liveRestore)
          await expect.poll(() => of(id).some(({ restarted }) => restarted), PATIENCE).toBe(true);
        await until(id, "running");
        const said = () => ask(bench.routes[0]!.target!, "cat /data/a /b 2>/dev/null").catch(() => "");
        await expect.poll(said, PATIENCE).toBe(liveRestore ? "kept\nlost" : "kept");
      } finally {
        clearInterval(payload);
      }
      const after = bench.said.slice(before);
      expect(after.filter(({ code, state }) => code !== undefined || state === "halted")).toEqual([]);
      // Of an engine that leaves its containers alone nothing is noticed.
      if (liveRestore) expect(after.filter(({ state }) => state !== "running")).toEqual([]);
      expect((await driver.containers(id)).map(({ state }) => state)).toEqual(["running", "running"]);
    });
  });
});
