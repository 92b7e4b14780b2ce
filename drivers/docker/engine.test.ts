// SPDX-License-Identifier: Apache-2.0
/** What is this engine's own, beside the suite that every driver of kept machines passes. */
import { existsSync, readFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dockerd } from "#testing/docker.ts";
import { describeWith } from "#testing/requirements.ts";
import { ask, KEPT_SPEC, linesOf, nextChange, payloadOf, startKept } from "../conformance/kept-machine.ts";
import { newMachineId } from "../conformance/machine.ts";
import type { KeptChange, ResolvedImage } from "../kept-driver.ts";
import { cgroupParent } from "./cgroup-parent.ts";
import { DockerDriver } from "./driver.ts";
import { listContainers } from "./engine.ts";
import { type FakeRegistry, fakeRegistry } from "./fake-registry.ts";
import { filePlaces, removeFiles } from "./files.ts";
import { isConfined } from "./start.ts";
import { type DockerSubject, dockerSubject } from "./testing.ts";

describeWith([dockerd], "a Docker engine with kept machines", () => {
  let subject: DockerSubject;
  beforeAll(async () => {
    subject = await dockerSubject();
  });

  let driver: DockerDriver;
  const changes: ({ machineId: string } & KeptChange)[] = [];
  const machines: string[] = [];
  const newMachine = () => {
    machines.push(newMachineId());
    return machines.at(-1)!;
  };
  beforeAll(() => {
    driver = new DockerDriver(subject.options);
    driver.onChange((machineId, change) => changes.push({ machineId, ...change }));
  });
  afterAll(async () => {
    try {
      for (const id of machines) await driver?.remove(id, null);
      await driver?.close();
    } finally {
      await subject?.close();
    }
  });

  test.concurrent("says what is missing, and the line that brings it", async () => {
    const absent = new DockerDriver({ ...subject.options, socketPath: "/nowhere/docker.sock" });
    expect(await absent.probe()).toMatchObject({
      ready: false,
      missing: expect.stringMatching(/\/nowhere\/docker\.sock: apt-get install -y docker\.io/),
    });
    await absent.close();
    const without = new DockerDriver({ ...subject.options, composeCommand: ["/nowhere/compose"] });
    expect(await without.probe()).toMatchObject({
      missing: expect.stringMatching(/compose is missing: apt-get/),
    });
    await without.close();
  });

  test.concurrent("all services together have what the machine has, and no dangerous power", async () => {
    const id = newMachine();
    const other = { command: ["httpd", "-f", "-p", "80"], cpus: 64, mem_limit: "4g" };
    const { endpoint } = await startKept(
      driver,
      id,
      payloadOf({ image: subject.image, services: { other } }),
      { spec: { ...KEPT_SPEC, cpuMillis: 500, memoryMiB: 96, pidsMax: 40 } },
    );
    const status = await ask(endpoint, "cat /proc/self/status; wc -c /proc/mounts; id -u");
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    const bounding = BigInt(`0x${/^CapBnd:\t(\w+)$/m.exec(status)![1]}`);
    for (const [name, bit] of Object.entries({
      NET_RAW: 13n,
      SYS_CHROOT: 18n,
      SYS_ADMIN: 21n,
      MKNOD: 27n,
      AUDIT_WRITE: 29n,
    }))
      expect(bounding & (1n << bit), name).toBe(0n);
    expect(bounding & (1n << 10n), "NET_BIND_SERVICE").not.toBe(0n);

    const pids = new Set<string>();
    for (const { id: container } of await listContainers(subject.docker.engine, subject.options.owner, id)) {
      const { State } = await subject.docker.engine.getContainer(container).inspect();
      const groups = readFileSync(`/proc/${State.Pid}/cgroup`, "utf8");
      expect(groups).toContain(`/casemate/${subject.options.owner}/${id}/`);
      pids.add(groups);
    }
    expect(pids.size).toBe(2);
    const group = `casemate/${subject.options.owner}/${id}`;
    const read = (v1: string, v2: string) =>
      readFileSync(
        existsSync(join("/sys/fs/cgroup", v1.split("/")[0]!))
          ? join("/sys/fs/cgroup", v1.replace("GROUP", group))
          : join("/sys/fs/cgroup", group, v2),
        "utf8",
      ).trim();
    expect(read("memory/GROUP/memory.limit_in_bytes", "memory.max")).toBe(String(96 * 1024 * 1024));
    expect(read("pids/GROUP/pids.max", "pids.max")).toBe("40");
    expect(read("cpu/GROUP/cpu.cfs_quota_us", "cpu.max")).toMatch(/^50000/);
    const bomb = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); sleep 3 & done 2>&1 | tail -n 1; wait";
    expect(await ask(endpoint, bomb)).toMatch(/fork|Resource temporarily unavailable/);
    await driver.remove(id, null);
  });

  test.concurrent("takes every construct that control lets through", async () => {
    const id = newMachine();
    const payload = payloadOf({
      image: subject.image,
      web: {
        ports: ["8081:80/tcp", "7000-7002:7000-7002/tcp"],
        volumes: [
          { type: "volume", source: "data", target: "/data" },
          { type: "bind", source: "/__files__/foo/bar.txt", target: "/etc/bar", read_only: true },
          { type: "tmpfs", target: "/scratch", tmpfs: { size: 1024 * 1024, mode: 0o700 } },
        ],
        tmpfs: ["/more:size=64k,mode=1777"],
        deploy: {
          replicas: 1,
          resources: {
            limits: { cpus: "0.5", memory: "67108864b", pids: 50 },
            reservations: { memory: "16777216b" },
          },
          restart_policy: { condition: "on-failure", max_attempts: 3 },
        },
        configs: [{ source: "c", target: "/etc/c", mode: 0o440 }],
        healthcheck: {
          test: ["CMD", "true"],
          interval: "1s",
          retries: 2,
          start_interval: "1s",
          start_period: "0s",
        },
        networks: { default: { aliases: ["front"], priority: 1 }, back: null },
        restart: "always",
        expose: ["9000"],
        extra_hosts: ["far:192.0.2.9"],
        ulimits: { nofile: { soft: 100, hard: 200 } },
        ...{
          init: true,
          tty: true,
          stdin_open: true,
          shm_size: "1048576b",
          working_dir: "/tmp",
          hostname: "me",
        },
        ...{ group_add: ["7"], stop_grace_period: "1s", platform: "linux/amd64", pull_policy: "missing" },
        ...{
          cap_drop: ["CHOWN"],
          ipc: "shareable",
          labels: { a: "b" },
          mem_limit: "67108864b",
          pids_limit: 50,
        },
      },
      services: {
        db: {
          extends: { service: "base" },
          networks: ["back"],
          depends_on: { web: { condition: "service_healthy", restart: true, required: true } },
        },
        base: { image: "postgres:17", command: ["sleep", "1000"], profiles: ["never"] },
        plain: { command: ["sleep", "1000"], cap_drop: ["CHOWN"], mem_limit: "32m" },
        heir: { extends: "plain", deploy: { resources: { limits: { cpus: "0.5" } } } },
        side: {
          command: ["sleep", "1000"],
          network_mode: "service:web",
          pid: "service:web",
          ipc: "service:web",
          links: [],
        },
      },
      top: {
        networks: { back: { internal: true } },
        volumes: { data: {} },
        configs: { c: { content: "price: $5" } },
      },
      files: { "foo/bar.txt": "bar" },
    });
    // `base` itself is only extended; its image is on no host of ours and must not be needed.
    const compose = JSON.parse(payload.compose);
    compose.services.db.image = subject.image;
    compose.services.db.profiles = undefined;
    const { endpoint } = await startKept(driver, id, { ...payload, compose: JSON.stringify(compose) });
    expect(
      await ask(
        endpoint,
        "cat /etc/bar /etc/c; hostname; stat -c %a /scratch; touch /data/x && echo written",
      ),
    ).toBe("barprice: $5me\n700\nwritten");
    // Also the one that says nothing of it itself, and inherits it.
    const made = await listContainers(subject.docker.engine, subject.options.owner, id);
    expect(made.map(({ service }) => service).sort()).toEqual(["heir", "plain", "side", "web"]);
    const parent = cgroupParent({ driver: "cgroupfs", version: 1 }, subject.options.owner, id);
    for (const { id: container } of made) {
      const seen = await subject.docker.engine.getContainer(container).inspect();
      expect(isConfined(seen, parent)).toBe(true);
      for (const change of [
        { Privileged: true },
        { CapDrop: [] },
        { CapAdd: ["CHOWN", "CAP_SYS_ADMIN"] },
        { SecurityOpt: null },
        { SecurityOpt: ["no-new-privileges:true", "seccomp=unconfined"] },
        { CgroupParent: "" },
        { PidMode: "host" },
        { NetworkMode: "host" },
      ])
        expect(isConfined({ ...seen, HostConfig: { ...seen.HostConfig, ...change } as never }, parent)).toBe(
          false,
        );
    }
    await driver.remove(id, null);
  });

  test("the engine starts no container by itself after the host has restarted", async () => {
    const id = newMachine();
    // The second has no file of its own that could be missing.
    const bare = { command: ["sleep", "1000"], restart: "always" };
    const payload = payloadOf({ image: subject.image, web: { restart: "always" }, services: { bare } });
    const { record } = await startKept(driver, id, payload);
    // What a restart of the host takes away, under a machine that would come up again with the engine.
    await removeFiles(filePlaces(subject.options.folder, id));
    await subject.docker.restart();
    const states = await listContainers(subject.docker.engine, subject.options.owner, id);
    expect(states.map(({ info }) => info.State)).not.toContain("running");
    expect(await driver.find(id, record)).toEqual({ state: "halted", endpoint: null });
    expect(await subject.running(id)).toEqual([]);
    await driver.remove(id, null);
  });

  test("a crash of the engine is survived by what restarts, and what does not is to be started anew", async () => {
    const [stays, ends, half] = [newMachine(), newMachine(), newMachine()];
    const restarts = payloadOf({ image: subject.image, web: { restart: "always" } });
    const [{ endpoint }] = await Promise.all([
      startKept(driver, stays, restarts),
      startKept(driver, ends, payloadOf({ image: subject.image })),
      // Its public service comes back with the engine, the other does not.
      startKept(
        driver,
        half,
        payloadOf({
          image: subject.image,
          web: { restart: "always" },
          services: { db: { command: ["sleep", "1000"] } },
        }),
      ),
    ]);
    await subject.docker.restart("SIGKILL");
    expect(await nextChange(changes, ends, /ended/)).toMatchObject({ state: "interrupted" });
    expect(await nextChange(changes, half, /ended/)).toMatchObject({
      state: "interrupted",
      detail: expect.stringMatching(/^db was ended/),
    });
    expect(await nextChange(changes, stays, /restarted with the Docker engine/)).toMatchObject({
      state: "restarting",
    });
    expect(await nextChange(changes, stays, /is back/)).toMatchObject({ state: "running", endpoint });
    // The same port: the ingress was not told of another.
    for (let tries = 0; ; tries++) {
      const said = await ask(endpoint, "echo back").catch(() => "");
      if (said === "back") break;
      if (tries > 100) throw new Error("the machine did not come back");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(await linesOf(driver, ends, null)).toContain(
      changes.find(({ machineId }) => machineId === ends)!.detail,
    );
    for (const id of [stays, ends, half]) await driver.remove(id, null);
  });

  test.concurrent("a machine above its disk is told of, and one far above it is halted with its volumes", async () => {
    const own = new DockerDriver({ ...subject.options, diskEveryMs: 300 });
    const told: ({ machineId: string } & KeptChange)[] = [];
    own.onChange((machineId, change) => told.push({ machineId, ...change }));
    const id = newMachine();
    const spec = { ...KEPT_SPEC, kept: { ...KEPT_SPEC.kept!, diskMiB: 20 } };
    const payload = payloadOf({
      image: subject.image,
      web: { volumes: ["data:/data"] },
      top: { volumes: { data: null } },
    });
    try {
      const { endpoint, record } = await startKept(own, id, payload, { spec });
      // Both count: a volume, and what is written beside it.
      await ask(endpoint, "head -c 11000000 /dev/urandom > /data/a; head -c 10500000 /dev/urandom > /b");
      expect(await nextChange(told, id, /of its disk/)).toMatchObject({
        state: "running",
        detail: expect.stringMatching(/^it uses 0\.02 of 0\.02 GiB of its disk/),
      });
      const { disks } = await own.stats(id);
      expect(disks[0]!.usedBytes).toBeGreaterThan(21_000_000);
      expect(disks[0]!.usedBytes).toBeLessThan(23_000_000);
      await ask(endpoint, "head -c 5000000 /dev/urandom > /data/c");
      expect(await nextChange(told, id, /was stopped/)).toMatchObject({ state: "halted" });
      expect(told.filter(({ detail }) => /it uses/.test(detail))).toHaveLength(1);
      await own.halt(id, record);
      expect(await subject.traces(id)).toEqual(expect.arrayContaining([expect.stringMatching(/^volume/)]));
    } finally {
      await own.remove(id, null);
      await own.close();
    }
  });

  test.concurrent("does not call its own what another installation of the same owner left", async () => {
    const { engine } = subject.docker;
    await driver.list(); // makes the number
    const made: [string, Record<string, string>][] = [];
    const volume = async (id: string, more: Record<string, string>) => {
      const name = `stray-${id}-${made.length}`;
      const labels = { "casemate.owner": subject.options.owner, "casemate.machine": id, ...more };
      await engine.createVolume({ Name: name, Labels: labels });
      made.push([name, labels]);
    };
    const own = {
      "casemate.installation": readFileSync(join(subject.options.folder, "installation"), "utf8").trim(),
    };
    const [mine, theirs, unmarked, both, foreign] = [
      newMachineId(),
      newMachineId(),
      newMachineId(),
      newMachineId(),
      newMachineId(),
    ];
    await volume(mine, own);
    await volume(theirs, { "casemate.installation": "0123456789abcdef0123456789abcdef" });
    await volume(unmarked, {});
    await volume(both, own);
    await volume(both, {});
    await volume(foreign, { ...own, "casemate.owner": "another-owner" });
    const listed = await driver.list();
    expect([mine, theirs, unmarked, both, foreign].map((id) => listed.has(id))).toEqual([
      true,
      false,
      false,
      false,
      false,
    ]);
    for (const [name] of made) await engine.getVolume(name).remove();
  });

  test("a start that loses the engine on the way says so, and not that the payload is at fault", async () => {
    const socketPath = join(subject.docker.folder, "between.sock");
    const sockets = new Set<Socket>();
    const between = createServer((near) => {
      const far = connect(subject.docker.socketPath);
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(one);
        one.on("error", () => other.destroy()).pipe(other);
      }
    });
    await new Promise<void>((resolve) => between.listen(socketPath, resolve));
    const cut = () => {
      between.close();
      for (const socket of sockets) socket.destroy();
    };
    const own = new DockerDriver({ ...subject.options, socketPath });
    const id = newMachine();
    try {
      const start = own.start(id, KEPT_SPEC, payloadOf({ image: subject.image }), {
        onRecord: async () => {},
        onProgress: (text) => {
          if (text === "starting services") setTimeout(cut, 300);
        },
        onImage: () => {},
        signal: new AbortController().signal,
      });
      await expect(start).rejects.toMatchObject({ code: "host.not-ready" });
    } finally {
      cut();
      await own.close();
    }
    await driver.remove(id, null);
    expect(await subject.traces(id)).toEqual([]);
  });

  describe("with a registry that wants a login", () => {
    let registry: FakeRegistry;
    let registryDriver: DockerDriver;
    beforeAll(async () => {
      registry = await fakeRegistry("reader", "word-for-the-registry-81c2");
      registryDriver = new DockerDriver({ ...subject.options, registriesInside: [registry.server] });
    });
    afterAll(async () => {
      await registryDriver.close();
      await registry.close();
    });
    const withApp = (password: string | null, more: object = {}) => ({
      ...payloadOf({ image: subject.image, services: { app: { image: registry.image, ...more } } }),
      registries:
        password === null ? [] : [{ server: `http://${registry.server}/v2/`, username: "reader", password }],
    });

    test("an image is pulled with it, and the password is on no disk", async () => {
      const [wrong, id, stranger] = [newMachine(), newMachine(), newMachine()];
      await expect(startKept(registryDriver, wrong, withApp("not-the-word"))).rejects.toMatchObject({
        code: "machine.start-failed",
        message: expect.stringMatching(/^image 127\.0\.0\.1:\d+\/team\/app:v1 cannot be pulled/),
      });
      const progress: string[] = [];
      const images: ResolvedImage[] = [];
      const payload = withApp("word-for-the-registry-81c2");
      const during: string[] = [];
      await registryDriver.start(id, KEPT_SPEC, payload, {
        onRecord: async () => {},
        onProgress: (text) => void progress.push(text),
        onImage: (image) => void images.push(image),
        signal: new AbortController().signal,
      });
      during.push(...(await subject.filesWith("word-for-the-registry-81c2")));
      expect(progress).toEqual([
        `pulling ${registry.image}`,
        `pulled ${registry.image}`,
        "starting services",
      ]);
      expect(during).toEqual([]);
      expect(images).toContainEqual({
        service: "app",
        reference: registry.image,
        digest: `${registry.server}/team/app@${registry.digest}`,
      });
      const { Id } = await subject.docker.engine.getImage(subject.image).inspect();
      expect(images).toContainEqual({ service: "web", reference: subject.image, digest: Id });
      expect(
        (await registryDriver.containers(id)).map(({ names, state }) => [names[0], state]),
      ).toContainEqual(["app", "running"]);

      // It is there now, and still nobody's who cannot log in.
      await expect(startKept(registryDriver, stranger, withApp(null))).rejects.toMatchObject({
        message: expect.stringMatching(/cannot be pulled/),
      });
      await expect(
        startKept(registryDriver, stranger, withApp(null, { pull_policy: "never" })),
      ).rejects.toMatchObject({ message: expect.stringMatching(/is not on this host/) });
      const before = registry.requests.length;
      await startKept(registryDriver, id, withApp(null));
      expect(registry.requests.length).toBe(before);
      for (const each of [wrong, id, stranger]) await registryDriver.remove(each, null);
    });

    test("a registry inside is spoken to only when the operator listed it", async () => {
      const id = newMachine();
      const before = registry.requests.length;
      const aims = [registry.image, "localhost:1/a", "169.254.169.254/a", "10.0.0.1:80/a"];
      for (const image of aims)
        await expect(
          startKept(driver, id, payloadOf({ image: subject.image, services: { app: { image } } })),
          image,
        ).rejects.toMatchObject({ message: expect.stringMatching(/does not speak to$/) });
      expect(registry.requests.length).toBe(before);
      await driver.remove(id, null);
    });
  });
});
