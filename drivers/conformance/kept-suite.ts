// SPDX-License-Identifier: Apache-2.0
/**
 * What every driver of kept machines keeps (the letters are those of kept-driver.ts). A driver's own
 * test calls `keptConformance` with a way to look at the host from outside; all that is said about the
 * inside is asked from inside.
 */
import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { ComposePayload } from "#contract/link/payload.ts";
import type { Endpoint, KeptChange, KeptDriver } from "../kept-driver.ts";
import { ask, KEPT_SPEC, linesOf, nextChange, payloadOf, reachable, startKept } from "./kept-machine.ts";
import { newMachineId } from "./machine.ts";

export interface KeptSubject {
  /** A driver on the host under test; the second is what a restarted host process would have. */
  open(): KeptDriver;
  /** An image with busybox that machines can start. */
  image: string;
  /** Everything the host has of a machine: what runs, networks, disks, files, mounts, limits, rules. */
  traces(machineId: string): Promise<string[]>;
  /** Those of it that hold memory or cpu. */
  running(machineId: string): Promise<string[]>;
  /** Files on disk, other than what machines themselves wrote, that hold the text. */
  filesWith(text: string): Promise<string[]>;
  /** Ends of the paths of files in which values of environment variables stay, against rule D; the driver says so. */
  environmentStaysIn: string[];
  /** Starts a machine in another process, and kills that one with SIGKILL when the first service runs. */
  killInTheMiddle(machineId: string, spec: MachineSpec, payload: ComposePayload): Promise<void>;
  /** The address that a machine's public service has, and those of the host that it could see. */
  addresses(machineId: string): Promise<{ own: string; host: string[] }>;
  /**
   * Lets a machine's packets out, to a place with something listening on each: `world`, which it may
   * reach, and `forbidden`, which are the metadata address and one of a private network.
   */
  outside(machineId: string): Promise<{ world: string; forbidden: string[] }>;
  /** Takes away the rules that contain a machine, as a restart of the host's firewall would. */
  loseRules(machineId: string): Promise<void>;
  close(): Promise<void>;
}

export function keptConformance(make: () => Promise<KeptSubject>): void {
  describe("a driver of kept machines", () => {
    let subject: KeptSubject;
    let driver: KeptDriver;
    // A start waits more than it works: what concerns one machine only runs side by side.
    const changes: ({ machineId: string } & KeptChange)[] = [];
    const machines = new Set<string>();
    const newMachine = () => {
      const id = newMachineId();
      machines.add(id);
      return id;
    };
    const withoutKnown = async (text: string) =>
      (await subject.filesWith(text)).filter(
        (path) => !subject.environmentStaysIn.some((end) => path.endsWith(end)),
      );
    beforeAll(async () => {
      subject = await make();
      driver = subject.open();
      driver.onChange((machineId, change) => changes.push({ machineId, ...change }));
    });
    afterAll(async () => {
      try {
        for (const id of machines) await driver.remove(id, null);
        await driver.close();
      } finally {
        await subject.close();
      }
    });

    test.concurrent("is ready where it is tested", async () => {
      expect(await driver.probe()).toEqual({ ready: true, missing: null });
    });

    test.concurrent("gives the payload's values and files to its services, and tells about them", async () => {
      const id = newMachine();
      const payload = payloadOf({
        image: subject.image,
        web: {
          environment: { BARE: null, ABSENT: null, SET: "a$b" },
          env_file: ["/__files__/more.env"],
          secrets: ["token"],
          depends_on: { once: { condition: "service_completed_successfully" } },
          volumes: ["/__files__/note.txt:/note.txt:ro"],
        },
        services: {
          once: { command: ["sh", "-c", "echo first; echo second >&2"] },
        },
        top: { secrets: { token: { environment: "TOKEN" } } },
        env: { BARE: 'line $HOME "quoted"', TOKEN: "token-value", UNASKED: "x" },
        files: { "note.txt": "a note", "more.env": "MORE=from a file\n" },
      });
      const records: string[] = [];
      const images: string[] = [];
      const { endpoint, record } = await driver.start(id, KEPT_SPEC, payload, {
        onRecord: async (each) => {
          records.push(JSON.stringify(each));
          expect(await subject.traces(id)).toEqual([]);
        },
        onProgress: () => {},
        onImage: ({ service, reference }) => void images.push(`${service} ${reference}`),
        signal: new AbortController().signal,
      });
      expect(records).toHaveLength(1);
      expect(images.sort()).toEqual([`once ${subject.image}`, `web ${subject.image}`]);
      expect(JSON.stringify(record)).not.toMatch(/token-value|quoted/);
      const said = await ask(
        endpoint,
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
        'echo "$BARE|${ABSENT-none}|$SET|$MORE|${UNASKED-none}"; cat /run/secrets/token; echo; cat /note.txt',
      );
      expect(said).toBe('line $HOME "quoted"|none|a$b|from a file|none\ntoken-value\na note');

      const facts = await driver.containers(id);
      expect(facts.map(({ names, state, image }) => [names[0], state, image])).toEqual(
        expect.arrayContaining([
          ["web", "running", subject.image],
          ["once", "exited", subject.image],
        ]),
      );
      expect(await linesOf(driver, id, "once", { stream: "stdout" })).toEqual(["first"]);
      expect(await linesOf(driver, id, "once", { stream: "stderr" })).toEqual(["second"]);
      expect(await linesOf(driver, id, null)).toContain("running");
      await expect(linesOf(driver, id, "nobody")).rejects.toMatchObject({ code: "machine.no-container" });
      for (const container of ["web", null])
        for (const since of ["yesterday", "2026-13-45T00:00:00Z"])
          await expect(linesOf(driver, id, container, { since })).rejects.toMatchObject({
            code: "request.invalid",
          });

      const stats = await driver.stats(id);
      expect(stats.memory.totalBytes).toBe(KEPT_SPEC.memoryMiB * 1024 * 1024);
      expect(stats.memory.usedBytes).toBeGreaterThan(100_000);
      expect(stats.memory.usedBytes).toBeLessThan(stats.memory.totalBytes);
      expect(stats.cpus).toHaveLength(2);
      expect(stats.disks[0]).toMatchObject({ sizeBytes: 1024 * 1024 * 1024 });
      await driver.remove(id, record);
    });

    test.concurrent("gives lines of a log from the end, from the start, since a time, and as they come", async () => {
      const id = newMachine();
      const count = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo out $i; echo err $i >&2; done";
      const { endpoint } = await startKept(
        driver,
        id,
        payloadOf({
          image: subject.image,
          services: {
            teller: {
              image: subject.image,
              command: ["sh", "-c", `${count}; nc -l -p 9; echo woken; sleep 1000`],
            },
          },
        }),
      );
      const out = await linesOf(driver, id, "teller", { stream: "stdout", linesMax: 3 });
      expect(out).toEqual(["out 48", "out 49", "out 50"]);
      const first = await linesOf(driver, id, "teller", { stream: "stderr", tail: false, linesMax: 2 });
      expect(first).toEqual(["err 1", "err 2"]);
      const all = await linesOf(driver, id, "teller", { timestamps: true });
      expect(all).toHaveLength(100);
      const [since] = all[59]!.split(" ");
      const after = await linesOf(driver, id, "teller", { timestamps: true, since: since! });
      expect(after).toEqual(all.slice(60));

      const followed: string[] = [];
      const end = new AbortController();
      const following = (async () => {
        const asked = {
          container: "teller",
          stream: "stdout",
          tail: true,
          linesMax: 2,
          follow: true,
        } as const;
        for await (const line of driver.logs(id, { ...asked, timestamps: false, signal: end.signal })) {
          followed.push(line);
          if (line === "out 50") await ask(endpoint, "nc -w 1 teller 9 </dev/null");
          if (line === "woken") end.abort();
        }
      })();
      await following;
      expect(followed).toEqual(["out 49", "out 50", "woken"]);
      await driver.remove(id, null);
    });

    test.concurrent("B: halt ends what runs and keeps the disks, also those without a name; start brings new values", async () => {
      const id = newMachine();
      const withValue = (value: string) =>
        payloadOf({
          image: subject.image,
          web: { environment: ["VALUE"], volumes: ["data:/data", "/unnamed"] },
          top: { volumes: { data: null } },
          env: { VALUE: value },
        });
      const first = await startKept(driver, id, withValue("one"));
      expect(await ask(first.endpoint, "echo kept > /data/a; echo too > /unnamed/b; echo $VALUE")).toBe(
        "one",
      );
      await driver.halt(id, first.record);
      expect(await subject.running(id)).toEqual([]);
      expect(await driver.find(id, first.record)).toEqual({ state: "halted", endpoint: null });
      await driver.halt(id, first.record);

      const again = await startKept(driver, id, withValue("two"));
      expect(await ask(again.endpoint, "cat /data/a /unnamed/b; echo $VALUE")).toBe("kept\ntoo\ntwo");
      // A: over a running one.
      const over = await startKept(driver, id, withValue("three"));
      expect(await ask(over.endpoint, "cat /data/a; echo $VALUE")).toBe("kept\nthree");
      await driver.remove(id, null);
    });

    test.concurrent("C: remove leaves nothing, twice, and of a machine that never was", async () => {
      const id = newMachine();
      const payload = payloadOf({
        image: subject.image,
        web: { volumes: ["data:/data", "/unnamed"], networks: ["default", "back"] },
        services: { db: { command: ["sleep", "1000"], networks: ["back"] } },
        top: { volumes: { data: null }, networks: { back: { internal: true } } },
      });
      const { record } = await startKept(driver, id, payload);
      expect((await subject.traces(id)).length).toBeGreaterThan(5);
      await driver.remove(id, record);
      expect(await subject.traces(id)).toEqual([]);
      await driver.remove(id, record);
      await driver.remove(newMachineId(), null);
      expect(await driver.find(id, record)).toEqual({ state: "gone", endpoint: null });
    });

    test.concurrent("another process finds the machine, where it is reached and what happens to it", async () => {
      const id = newMachine();
      const mortal = { command: ["sh", "-c", "nc -l -p 9; exit 7"] };
      const { record, endpoint } = await startKept(
        driver,
        id,
        payloadOf({ image: subject.image, services: { mortal } }),
      );
      const other = subject.open();
      try {
        const told: typeof changes = [];
        other.onChange((machineId, change) => told.push({ machineId, ...change }));
        expect(await other.find(id, JSON.parse(JSON.stringify(record)))).toEqual({
          state: "running",
          endpoint,
        });
        await ask(endpoint, "nc -w 1 mortal 9 </dev/null");
        expect(await nextChange(told, id, /mortal.*\b7\b/)).toMatchObject({ state: "running" });
        expect(await nextChange(changes, id, /mortal.*\b7\b/)).toMatchObject({ state: "running" });
        await other.remove(id, record);
      } finally {
        await other.close();
      }
    });

    test.concurrent("tells when the last of a machine ends, and when memory was the reason", async () => {
      const id = newMachine();
      const { endpoint } = await startKept(driver, id, payloadOf({ image: subject.image }));
      void ask(endpoint, "tail -c 400000000 /dev/zero").catch(() => {});
      await nextChange(changes, id, /memory/);
      await driver.remove(id, null);

      const short = newMachine();
      const web = { command: ["sh", "-c", "httpd -p 80 -h /www; nc -l -p 9; exit 3"] };
      const started = await startKept(driver, short, payloadOf({ image: subject.image, web }));
      await ask(started.endpoint, "nc -w 1 127.0.0.1 9 </dev/null").catch(() => {});
      expect(await nextChange(changes, short, /web exited with code 3/)).toMatchObject({ state: "halted" });
      await driver.remove(short, null);
    });

    test.concurrent("F: tells that the public service is down while it is brought back, and where it is then", async () => {
      const id = newMachine();
      // Its second life begins after a while, so that there is something to be seen.
      const web = {
        restart: "always",
        command: [
          "sh",
          "-c",
          "[ -e /tmp/a ] && sleep 1; touch /tmp/a; httpd -p 80 -h /www; nc -l -p 9; exit 4",
        ],
      };
      const other = { command: ["sleep", "1000"] };
      const { endpoint } = await startKept(
        driver,
        id,
        payloadOf({ image: subject.image, web, services: { other } }),
      );
      await ask(endpoint, "nc -w 1 127.0.0.1 9 </dev/null").catch(() => {});
      expect(await nextChange(changes, id, /web exited with code 4/)).toMatchObject({ state: "restarting" });
      const back = await nextChange(changes, id, /back/);
      expect(back).toMatchObject({ state: "running", endpoint: { host: "127.0.0.1" } });
      // Not by expect.poll: this once ran when the runner had lost which test it was in.
      const answer = () => ask(back.endpoint!, "echo well").catch(() => "");
      await vi.waitUntil(async () => (await answer()) === "well", { timeout: 10_000, interval: 50 });
      await driver.remove(id, null);
    });

    test.concurrent("F: a machine whose public service is gone is halted, also when others of it run", async () => {
      const id = newMachine();
      const web = { command: ["sh", "-c", "httpd -p 80 -h /www; nc -l -p 9; exit 3"] };
      const payload = payloadOf({
        image: subject.image,
        web,
        services: { other: { command: ["sleep", "1000"] } },
      });
      const { endpoint, record } = await startKept(driver, id, payload);
      await ask(endpoint, "nc -w 1 127.0.0.1 9 </dev/null").catch(() => {});
      expect(await nextChange(changes, id, /web exited with code 3/)).toMatchObject({ state: "halted" });
      const other = subject.open();
      try {
        expect(await other.find(id, record)).toEqual({ state: "halted", endpoint: null });
        expect(await subject.running(id)).toEqual([]);
      } finally {
        await other.close();
      }
      await driver.remove(id, null);
    });

    test.concurrent("a service that exits at once makes the start fail with its name, code and last words", async () => {
      const id = newMachine();
      const before = await startKept(driver, id, payloadOf({ image: subject.image }));
      const broken = {
        image: subject.image,
        command: ["sh", "-c", "echo no such thing: my-password-1; exit 5"],
      };
      for (const restart of ["no", "always"]) {
        const payload = payloadOf({
          image: subject.image,
          services: { broken: { ...broken, restart } },
          env: { P: "my-password-1" },
        });
        await expect(startKept(driver, id, payload)).rejects.toMatchObject({
          code: "machine.start-failed",
          message: expect.stringMatching(/^service broken exited with code 5: (no such thing: \*\*\*\n?)+$/),
        });
        expect(await subject.running(id)).toEqual([]);
      }
      expect(await driver.find(id, before.record)).toEqual({ state: "halted", endpoint: null });
      const unreadable = { ...payloadOf({ image: subject.image }), compose: "{" };
      await startKept(driver, id, payloadOf({ image: subject.image }));
      await expect(startKept(driver, id, unreadable)).rejects.toMatchObject({ code: "machine.start-failed" });
      expect(await subject.running(id)).toEqual([]);
      await driver.remove(id, null);
    });

    test.concurrent("a start that is called off, or whose record cannot be stored, leaves nothing running", async () => {
      const id = newMachine();
      const payload = payloadOf({
        image: subject.image,
        web: { depends_on: { slow: { condition: "service_healthy" } } },
        services: {
          slow: {
            command: ["sleep", "1000"],
            healthcheck: { test: ["CMD", "false"], interval: "1s", retries: 1000 },
          },
        },
      });
      const end = new AbortController();
      const starting = startKept(driver, id, payload, { signal: end.signal });
      const outcome = expect(starting).rejects.toMatchObject({ code: "machine.start-failed" });
      while ((await driver.containers(id)).every(({ state }) => state !== "running"))
        await new Promise((resolve) => setTimeout(resolve, 50));
      end.abort();
      await outcome;
      expect(await subject.running(id)).toEqual([]);

      const full = {
        onRecord: () => Promise.reject(new Error("disk full")),
        ...{ onProgress: () => {}, onImage: () => {} },
      };
      const { signal } = new AbortController();
      await expect(driver.start(id, KEPT_SPEC, payload, { ...full, signal })).rejects.toThrow();
      expect(await subject.running(id)).toEqual([]);
      await driver.remove(id, null);
    });

    test.concurrent("D: no secret of a payload is on a disk once it was started, nor after a start that failed", async () => {
      const id = newMachine();
      const payload = {
        ...payloadOf({
          image: subject.image,
          web: { environment: ["SECRET_A"], secrets: ["b"], volumes: ["/__files__/c:/c"] },
          top: { secrets: { b: { environment: "SECRET_B" } } },
          env: { SECRET_A: "plain-env-5c1d", SECRET_B: "given-as-file-77aa" },
          files: { c: "in-a-file-90fe" },
        }),
        registries: [{ server: "registry.invalid", username: "me", password: "registry-word-3311" }],
      };
      const { endpoint } = await startKept(driver, id, payload);
      expect(await ask(endpoint, "cat /c /run/secrets/b")).toBe("in-a-file-90fegiven-as-file-77aa");
      for (const secret of ["given-as-file-77aa", "in-a-file-90fe", "registry-word-3311"])
        expect(await subject.filesWith(secret), secret).toEqual([]);
      await driver.halt(id, null);
      expect(await withoutKnown("plain-env-5c1d")).toEqual([]);

      const compose = JSON.parse(payload.compose);
      compose.services.bad = { command: ["sh", "-c", "sleep 0.1; exit 1"] };
      await expect(startKept(driver, id, { ...payload, compose: JSON.stringify(compose) })).rejects.toThrow();
      expect(await withoutKnown("plain-env-5c1d")).toEqual([]);
      for (const secret of ["given-as-file-77aa", "in-a-file-90fe", "registry-word-3311"])
        expect(await subject.filesWith(secret), secret).toEqual([]);
      await driver.remove(id, null);
    });

    describe("with two machines of equal documents", () => {
      let ids: [string, string];
      let endpoints: Endpoint[];
      const servers: Server[] = [];
      beforeAll(async () => {
        ids = [newMachine(), newMachine()];
        const payload = (name: string) =>
          payloadOf({
            image: subject.image,
            web: { environment: ["NAME"], volumes: ["data:/data"], container_name: "front" },
            services: {
              db: { command: ["httpd", "-f", "-p", "80"], container_name: "store" },
            },
            top: { volumes: { data: { name: "one-name" } }, networks: { default: { name: "one-network" } } },
            env: { NAME: name },
          });
        endpoints = [];
        for (const id of ids) endpoints.push((await startKept(driver, id, payload(id))).endpoint);
      });
      afterAll(async () => {
        for (const server of servers) server.close();
        for (const id of ids) await driver.remove(id, null);
      });

      test("each has its own services, disks and values", async () => {
        for (const [index, endpoint] of endpoints.entries())
          expect(await ask(endpoint, "ls /data; echo $NAME > /data/name; echo $NAME")).toBe(ids[index]);
        expect(await ask(endpoints[0]!, "cat /data/name")).toBe(ids[0]);
      });

      test("E: services of one reach each other by name, and nothing of the host or of the other", async () => {
        const { world, forbidden } = await subject.outside(ids[0]);
        const { host } = await subject.addresses(ids[0]);
        const other = await subject.addresses(ids[1]);
        await subject.outside(ids[1]);
        expect(host.length).toBeGreaterThanOrEqual(2);
        const listening: string[] = [];
        for (const address of [...host, ...other.host]) {
          const server = createServer((socket) => socket.end());
          servers.push(server);
          await new Promise<void>((resolve) => server.listen(0, address, resolve));
          listening.push(`${address}:${(server.address() as { port: number }).port}`);
        }
        const loopback = listening.map((each) => each.replace(/.*:/, "127.0.0.1:"));
        const inside = ["db:80", "store:80", "web:80", "front:80"];
        const targets = [...inside, world, ...listening, ...loopback, ...forbidden, `${other.own}:80`];
        expect(await reachable(endpoints[0]!, targets)).toEqual(expect.arrayContaining([...inside, world]));
        expect((await reachable(endpoints[0]!, targets)).sort()).toEqual([...inside, world].sort());
      });

      test("E holds for a machine that another process found after its rules were lost", async () => {
        const { forbidden, world } = await subject.outside(ids[0]);
        const { host } = await subject.addresses(ids[0]);
        const server = createServer((socket) => socket.end());
        servers.push(server);
        await new Promise<void>((resolve) => server.listen(0, host[0], resolve));
        const target = `${host[0]}:${(server.address() as { port: number }).port}`;
        await subject.loseRules(ids[0]);
        // Without them everything is reached: what is above is not true for another reason.
        expect((await reachable(endpoints[0]!, [target, world, ...forbidden])).sort()).toEqual(
          [target, world, ...forbidden].sort(),
        );
        const other = subject.open();
        try {
          expect(await other.find(ids[0], {})).toMatchObject({ state: "running" });
          expect(await reachable(endpoints[0]!, [target, world, ...forbidden])).toEqual([world]);
        } finally {
          await other.close();
        }
      });

      test("list names every machine of which there is anything", async () => {
        expect([...(await driver.list())]).toEqual(expect.arrayContaining(ids));
        expect(await driver.list()).not.toContain(newMachineId());
      });

      test("reap removes the one that is not to be kept", async () => {
        const keep = new Set([...machines].filter((id) => id !== ids[1]));
        expect(await driver.reap(keep)).toBe(1);
        expect(await subject.traces(ids[1])).toEqual([]);
        expect(await ask(endpoints[0]!, "cat /data/name")).toBe(ids[0]);
        expect(await driver.reap(keep)).toBe(0);
      });
    });

    test("half a start of a killed process is ended by find, and a start after it converges", async () => {
      const id = newMachine();
      const slow = {
        image: subject.image,
        command: ["sleep", "1000"],
        healthcheck: { test: ["CMD", "false"] },
      };
      const half = payloadOf({
        image: subject.image,
        web: { depends_on: { slow: { condition: "service_healthy" } } },
        services: {
          slow: {
            ...slow,
            environment: ["SECRET"],
            healthcheck: { ...slow.healthcheck, interval: "1s", retries: 1000 },
          },
        },
        env: { SECRET: "left-by-a-kill" },
      });
      await subject.killInTheMiddle(id, KEPT_SPEC, half);
      expect(await subject.running(id)).not.toEqual([]);
      const other = subject.open();
      try {
        expect(await other.find(id, {})).toEqual({ state: "halted", endpoint: null });
        expect(await subject.running(id)).toEqual([]);
        await subject.killInTheMiddle(id, KEPT_SPEC, half);
        const { endpoint } = await startKept(other, id, payloadOf({ image: subject.image }));
        expect((await other.containers(id)).map(({ names }) => names[0])).toEqual(["web"]);
        expect(await ask(endpoint, "echo well")).toBe("well");
        await subject.killInTheMiddle(id, KEPT_SPEC, half);
        await other.remove(id, null);
        expect(await subject.traces(id)).toEqual([]);
        expect(await withoutKnown("left-by-a-kill")).toEqual([]);
      } finally {
        await other.close();
      }
    });
  });
}
