// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import type { ComposePayload } from "#contract/link/payload.ts";
import { readDocument } from "./document.ts";
import { parseImage } from "./image-name.ts";

const ID = `mach_${"0".repeat(32)}`;
const CONTEXT = {
  machineId: ID,
  owner: "own",
  installation: "0f",
  labels: { "casemate.machine": "forged", account: "a" },
  cpuMillis: 1500,
  pidsMax: 100,
  layerMiB: 0,
  cgroupParent: "/casemate/own/x",
  filesFolder: "/d/files",
  madeFolder: "/d/made",
  leash: "/d/leash",
};

const payload = (compose: unknown, more: Partial<ComposePayload> = {}): ComposePayload => ({
  kind: "compose",
  compose: typeof compose === "string" ? compose : JSON.stringify(compose),
  env: { SET: "a$b", LD_PRELOAD: "/__files__/evil.so" },
  files: { "a/b.txt": "" },
  registries: [],
  publicService: "api",
  publicPort: 80,
  ...more,
});
const withService = (service: object, top: object = {}) =>
  payload({ services: { api: { image: "caddy:2", ...service }, db: { image: "db" } }, ...top });
const written = (from: ComposePayload, declared: string[] = []) =>
  JSON.parse(readDocument(from, CONTEXT).write(() => declared, 20_001));
const api = (service: object, top: object = {}) => written(withService(service, top)).services.api;

describe("a document for an engine that many machines share", () => {
  test.each<[string, object, object?]>([
    ["privileged", { privileged: true }],
    ["cap_add", { cap_add: ["SYS_ADMIN"] }],
    ["security_opt", { security_opt: ["seccomp:unconfined"] }],
    ["devices", { devices: ["/dev/sda"] }],
    ["cgroup_parent", { cgroup_parent: "/" }],
    ["runtime", { runtime: "runc" }],
    ["build", { build: "." }],
    ["provider", { provider: { type: "sh" } }],
    ["volumes_from", { volumes_from: ["container:other"] }],
    ["external_links", { external_links: ["other"] }],
    ["post_start", { post_start: [{ command: "x", privileged: true }] }],
    ["oom_score_adj", { oom_score_adj: -1000 }],
    ["pid", { pid: "host" }],
    ["pid", { pid: "container:other" }],
    ["ipc", { ipc: "host" }],
    ["ipc", { ipc: "container:other" }],
    ["network_mode", { network_mode: "host" }],
    ["network_mode", { network_mode: "bridge" }],
    ["network_mode", { network_mode: "container:other" }],
    ["network_mode", { network_mode: "service:nobody" }],
    ["a member that nobody knows yet", { tomorrow: true }],
    ["an address of its own", { networks: { default: { ipv4_address: "10.0.0.1" } } }],
    ["a host path", { volumes: ["/:/host"] }],
    ["a host path in the long form", { volumes: [{ type: "bind", source: "/", target: "/host" }] }],
    ["a path out of the files", { volumes: ["/__files__/../../x:/x"] }],
    ["a file that was not uploaded", { volumes: ["/__files__/none:/x"] }],
    ["a name that only begins like the files", { volumes: ["/__files__evil/a:/x"] }],
    ["an undeclared volume", { volumes: ["other:/x"] }],
    ["the engine's socket as a volume type", { volumes: [{ type: "npipe", source: "x", target: "/x" }] }],
    ["env_file of the host", { env_file: ["/etc/shadow"] }],
    ["extends from a file", { extends: { service: "db", file: "/etc/x.yml" } }],
    ["devices among resources", { deploy: { resources: { reservations: { devices: [] } } } }],
    ["a volume driver's options", {}, { volumes: { v: { driver_opts: { device: "/" } } } }],
    ["an external volume", {}, { volumes: { v: { external: true } } }],
    ["a network's addresses", {}, { networks: { n: { ipam: { config: [{ subnet: "1.1.1.0/24" }] } } } }],
    ["a network driver", {}, { networks: { n: { driver: "host" } } }],
    [
      "another bridge",
      {},
      { networks: { n: { driver_opts: { "com.docker.network.bridge.name": "eth0" } } } },
    ],
    ["a config of the host", { configs: ["c"] }, { configs: { c: { file: "/etc/shadow" } } }],
    ["include", {}, { include: ["x.yml"] }],
    ["a circle", { depends_on: ["api"] }],
    ["an image by id", { image: `sha256:${"a".repeat(64)}` }],
  ])("refuses %s", (_, service, top) => {
    expect(() => readDocument(withService(service, top), CONTEXT)).toThrow(
      expect.objectContaining({ code: "machine.start-failed" }),
    );
  });

  test.each([
    "",
    "[]",
    "null",
    '{"services":{}}',
    '{"services":{"web":{"image":"a"}}}',
    '{"services":{"api":null}}',
  ])("refuses %s", (text) => {
    expect(() => readDocument(payload(text), CONTEXT)).toThrow(
      expect.objectContaining({ code: "machine.start-failed" }),
    );
  });

  test("publishes the public port on loopback and no other", () => {
    const { services } = written(withService({ ports: ["80:80", "0.0.0.0:22:22"] }));
    expect(services.api.ports).toEqual(["127.0.0.1:20001:80"]);
    expect(services.db.ports).toBeUndefined();
  });

  test("a service that extends another inherits its powers, says them not again, and leaves out no more", () => {
    const of = (api: object, base: object) =>
      written(payload({ services: { api: { extends: "base", ...api }, base: { image: "x", ...base } } }))
        .services;
    const { api, base } = of({}, { cap_drop: ["CAP_CHOWN"] });
    expect(base).toMatchObject({ security_opt: ["no-new-privileges:true"], cap_drop: ["ALL"] });
    expect(base.cap_add).not.toContain("CHOWN");
    for (const key of ["security_opt", "cap_drop", "cap_add"]) expect(api).not.toHaveProperty(key);
    expect(of({ cap_drop: ["CHOWN"] }, { cap_drop: ["CHOWN", "KILL"] }).api).not.toHaveProperty("cap_add");
    expect(() => of({ cap_drop: ["KILL"] }, { cap_drop: ["CHOWN"] })).toThrow(/services\.api\.cap_drop/);
  });

  test("holds each container's layer to the disk where the engine can", () => {
    const held = readDocument(withService({}), { ...CONTEXT, layerMiB: 2048 }).write(() => [], 20_001);
    expect(JSON.parse(held).services.db.storage_opt).toEqual({ size: "2048m" });
    expect(api({})).not.toHaveProperty("storage_opt");
  });

  test("takes no name, label or port from the document that is the engine's", () => {
    const document = written(
      withService(
        { container_name: "engine-wide", labels: { "casemate.machine": "other", "proxy.rule": "all" } },
        { networks: { default: { name: "shared" } }, volumes: { v: { name: "other_v" } }, name: "project" },
      ),
    );
    expect(document.name).toBeUndefined();
    expect(document.services.api.container_name).toBeUndefined();
    expect(document.services.api.networks).toEqual({ default: { aliases: ["engine-wide"] } });
    expect(document.services.api.labels).toEqual({
      account: "a",
      "casemate.owner": "own",
      "casemate.installation": "0f",
      "casemate.machine": ID,
      "casemate.level": "0",
    });
    expect(document.networks.default.name).toBeUndefined();
    expect(document.volumes.v.name).toBeUndefined();
  });

  test("puts walls around every service", () => {
    const { services } = written(withService({ pids_limit: 5000, cpus: 8, cap_drop: ["CAP_CHOWN"] }));
    expect(services.api).toMatchObject({
      cgroup_parent: "/casemate/own/x",
      security_opt: ["no-new-privileges:true"],
      cap_drop: ["ALL"],
      pids_limit: 100,
      cpus: 1.5,
      pull_policy: "never",
      logging: { driver: "json-file", options: { "max-size": "10m", "max-file": "3" } },
    });
    for (const absent of ["CHOWN", "NET_RAW", "MKNOD", "AUDIT_WRITE", "SYS_CHROOT", "SYS_ADMIN"])
      expect(services.api.cap_add).not.toContain(absent);
    expect(services.db.cap_add).toContain("CHOWN");
    expect(api({ cap_drop: ["ALL"] }).cap_add).toEqual([]);
    expect(services.db.volumes).toContainEqual({
      type: "bind",
      source: "/d/leash",
      target: "/run/casemate",
      read_only: true,
    });
  });

  test("gives bare names their values, with dollars that compose leaves alone, and nothing else of the environment", () => {
    const { environment } = api({ environment: ["SET", "UNSET", "OWN=x"] });
    expect(environment).toEqual({ SET: "a$$b", OWN: "x" });
    expect(api({ environment: { SET: null, N: 1 } }).environment).toEqual({ SET: "a$$b", N: 1 });
  });

  test("turns configs and secrets into files on memory", () => {
    const from = withService(
      {
        configs: [{ source: "c", target: "/etc/c", mode: 288 }],
        secrets: ["s", { source: "f", target: "as" }],
      },
      {
        configs: { c: { content: "price: $$5" } },
        secrets: { s: { environment: "SET" }, f: { file: "/__files__/a/b.txt" } },
      },
    );
    const document = readDocument(from, CONTEXT);
    expect([...document.made.values()].sort()).toEqual(["a$b", "price: $5"]);
    const { services } = JSON.parse(document.write(() => [], 1));
    expect(services.api.volumes.map((each: { target: string }) => each.target)).toEqual(
      expect.arrayContaining(["/etc/c", "/run/secrets/s", "/run/secrets/as"]),
    );
    expect(services.api.volumes).toContainEqual({
      type: "bind",
      source: "/d/files/a/b.txt",
      target: "/run/secrets/as",
      read_only: true,
    });
    expect(JSON.stringify(services)).not.toContain("price");
  });

  test("names what is anonymous, also what the image declares, unless it is on memory", () => {
    const document = written(withService({ volumes: ["/one"], tmpfs: ["/three:size=1m"] }), [
      "/one",
      "/two",
      "/three",
    ]);
    const named = document.services.api.volumes.filter((each: { type: string }) => each.type === "volume");
    expect(named.map((each: { target: string }) => each.target)).toEqual(["/one", "/two"]);
    for (const { source } of named) expect(Object.keys(document.volumes)).toContain(source);
  });

  test("stops services before what they depend on", () => {
    const services = {
      api: { image: "a", depends_on: ["b"] },
      b: { image: "b", depends_on: { c: {} } },
      c: { image: "c" },
    };
    const document = written(payload({ services }));
    const levels = Object.values<{ labels: Record<string, string> }>(document.services);
    expect(levels.map(({ labels }) => labels["casemate.level"])).toEqual(["2", "1", "0"]);
  });

  test("does not fetch images of services that are not started", () => {
    const services = { api: { image: "a" }, base: { image: "b", profiles: ["never"] } };
    expect(readDocument(payload({ services }), CONTEXT).services.map(({ active }) => active)).toEqual([
      true,
      false,
    ]);
  });
});

test("an image has one whole name, however it is written", () => {
  const full = (text: string) => parseImage(text, "services.api").full;
  const digest = `sha256:${"a".repeat(64)}`;
  expect(full("caddy:2")).toBe("docker.io/library/caddy:2");
  expect(full("deadbeef")).toBe("docker.io/library/deadbeef:latest");
  expect(full("team/app")).toBe("docker.io/team/app:latest");
  expect(full("docker.io/caddy")).toBe("docker.io/library/caddy:latest");
  expect(full(`ghcr.io/a/b:v1@${digest}`)).toBe(`ghcr.io/a/b:v1@${digest}`);
  expect(full("localhost:5000/a")).toBe("localhost:5000/a:latest");
  for (const bad of [
    "",
    "A",
    "a:b:c",
    digest,
    "a".repeat(64),
    "-v",
    "a b",
    "a@sha256:1",
    "http://x/y",
    "../x",
  ])
    expect(() => full(bad), bad).toThrow();
});
