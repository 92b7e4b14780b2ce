// SPDX-License-Identifier: Apache-2.0
/** A registry that sends the engine to a place inside, and an engine that is kept from going there. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dockerd, startDocker, type TestDocker } from "#testing/docker.ts";
import { describeWith, type Requirement } from "#testing/requirements.ts";
import { EngineEgress } from "./engine-egress.ts";
import { Firewall } from "./firewall.ts";
import { parseImage } from "./image-name.ts";
import { Images } from "./images.ts";

const TREE = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find((path) =>
  existsSync(join(path, "cgroup.procs")),
);
const unified: Requirement = {
  met: TREE !== undefined && existsSync(join(TREE, "cgroup.controllers")),
  reason: "needs a cgroup v2 tree",
};
const NAME = `casemate-egress-${process.pid}`;
const OWNER = `egress.${process.pid}`;

describeWith([dockerd, unified], "an engine that pulls for clients", () => {
  let docker: TestDocker;
  /** A service of the operator's, and the registry of somebody who would like to ask it something. */
  let inside: Server;
  let registry: Server;
  const asked: string[] = [];
  let lure: "realm" | "redirect" = "realm";
  let lured = 0;
  let heard = 0;
  const portOf = (server: Server) => (server.address() as AddressInfo).port;
  const cgroup = join(TREE ?? "/", NAME);
  beforeAll(async () => {
    inside = createServer((request, response) => {
      asked.push(request.url!);
      response.end("{}");
    }).listen(0, "127.0.0.1");
    registry = createServer((_request, response) => {
      const there = `http://127.0.0.1:${portOf(inside)}/${lure}`;
      heard++;
      response.once("finish", () => lured++);
      if (lure === "redirect") response.writeHead(307, { location: there }).end();
      else response.writeHead(401, { "www-authenticate": `Bearer realm="${there}",service="x"` }).end("{}");
    }).listen(0, "127.0.0.1");
    await Promise.all([once(inside, "listening"), once(registry, "listening")]);
    docker = await startDocker();
    mkdirSync(cgroup);
    writeFileSync(
      join(cgroup, "cgroup.procs"),
      readFileSync(join(docker.folder, "dockerd.pid"), "utf8").trim(),
    );
  });
  afterAll(async () => {
    await new Firewall(OWNER).holdEngine(null);
    await docker?.stop();
    for (const server of [inside, registry]) server?.close().closeAllConnections();
    if (existsSync(cgroup)) {
      for (const pid of readFileSync(join(cgroup, "cgroup.procs"), "utf8").split("\n").filter(Boolean))
        writeFileSync(join(TREE!, "cgroup.procs"), pid);
      rmdirSync(cgroup);
    }
  });

  const pull = async (egress: EngineEgress | null, signal: AbortSignal) => {
    const server = `127.0.0.1:${portOf(registry)}`;
    const images = new Images({
      ...{ engine: docker.engine, folder: docker.folder, registriesInside: new Set([server]) },
      beforePull: async () => egress?.hold(),
    });
    const image = parseImage(`${server}/team/app:v1`, "image");
    await images.provide("mach_1", [{ name: "app", image, pullPolicy: "always" }], [], () => {}, signal);
  };
  const dropped = () =>
    execFileSync("iptables", ["-w", "20", "-t", "mangle", "-nvxL"], { encoding: "utf8" })
      .split("\n")
      .filter((line) => line.includes(`casemate:${OWNER}:engine`) && line.includes("DROP"))
      .reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[0]), 0);

  test("does not pull when the rules cannot be made", async () => {
    // The first of all: an engine tries again what was broken off.
    const egress = new EngineEgress(new Firewall(OWNER), `${NAME}-none`, []);
    await expect(pull(egress, new AbortController().signal)).rejects.toMatchObject({
      message: expect.stringMatching(/cannot be kept/),
    });
    expect(heard).toBe(0);
    expect(() => new EngineEgress(new Firewall(OWNER), "a -j ACCEPT", [])).toThrow(TypeError);
  });

  test("without a rule goes wherever a registry sends it", async () => {
    for (lure of ["realm", "redirect"] as const) {
      asked.length = 0;
      await expect(pull(null, new AbortController().signal)).rejects.toThrow();
      expect(asked.length, lure).toBeGreaterThan(0);
    }
  });

  test("reaches the registry, and not the place inside that it names", async () => {
    const egress = new EngineEgress(new Firewall(OWNER), NAME, [`127.0.0.1:${portOf(registry)}`]);
    for (lure of ["realm", "redirect"] as const) {
      asked.length = 0;
      lured = 0;
      const enough = new AbortController();
      const pulling = pull(egress, enough.signal).catch(() => "ended");
      await expect.poll(() => lured, { timeout: 20_000 }).toBeGreaterThan(0);
      // It went, and what it sent was dropped: counted since the rules were made for this pull.
      await expect.poll(dropped, { timeout: 20_000 }).toBeGreaterThan(0);
      enough.abort();
      expect(await pulling).toBe("ended");
      expect(asked, lure).toEqual([]);
    }
    await egress.release();
    expect(execFileSync("iptables-save", ["-t", "mangle"], { encoding: "utf8" })).not.toContain(OWNER);
  });
});
