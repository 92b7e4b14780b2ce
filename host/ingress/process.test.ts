// SPDX-License-Identifier: Apache-2.0
/** The ingress in its own process: what it may and may not, and what the host makes of its words. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { statusOf } from "#testing/process-status.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { type IngressProcessOptions, startIngressProcess } from "./process.ts";
import { ask, DOMAIN, dial, type Logged, machine, route, scratch, textOf, undoLater } from "./testing.ts";

const UID = 63_914;

async function ingressProcess(changes: Partial<IngressProcessOptions> = {}) {
  const logged: Logged[] = [];
  const started = await startIngressProcess({
    ...{ folder: join(scratch(), "ca"), uid: UID, host: "127.0.0.1", httpPort: 0, httpsPort: 0 },
    log: (event, facts) => logged.push({ event, facts }),
    attester: ({ domain }, { method, url }) => ({
      ...{ status: 200, contentType: "text/plain", body: `${method} ${url} of ${domain}` },
    }),
    ...changes,
    limits: { closeMs: 100, ...changes.limits },
  });
  undoLater(() => started.close());
  const ended = () => logged.filter(({ event }) => event === "ingress.process-ended");
  return Object.assign(started, {
    logged,
    ended,
    /** The serving process itself, below what confines it. */
    program: () => descendants(started.pid!).find(isNode)!,
    /** When another one serves on the same ports. */
    anew: async (deaths: number) => {
      await expect.poll(() => ended().length, { timeout: 10_000 }).toBe(deaths);
      const status = () =>
        ask(started, "http").then(
          (answer) => answer.status,
          () => 0,
        );
      await expect.poll(status, { timeout: 10_000 }).toBeGreaterThan(0);
    },
  });
}

function descendants(pid: number): number[] {
  const below = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .split(" ")
    .filter(Boolean)
    .map(Number);
  return [pid, ...below.flatMap(descendants)];
}

const isNode = (pid: number) => readFileSync(`/proc/${pid}/comm`, "utf8").trim() !== "bwrap";

/** Writes on a copy of the process's own output: pidfd_open, pidfd_getfd. */
const SAY = `my $f = syscall(438, syscall(434, $ARGV[0] + 0, 0), 1, 0); $f >= 0 or die $!;
  open(my $out, ">&=", $f) or die $!; $SIG{PIPE} = sub { exit 0 }; local $/; my $rest = <STDIN>;
  while (length $rest) {
    my $count = syswrite($out, $rest);
    if (defined $count) { substr($rest, 0, $count) = "" } else { select(undef, undef, undef, 0.002) }
  }`;

/** Says something in the name of the process, as whoever has taken it over would. */
async function sayFor(pid: number, bytes: string): Promise<void> {
  const child = spawn("/usr/bin/perl", ["-e", SAY, String(pid)], { stdio: ["pipe", "inherit", "inherit"] });
  // It is ended in the middle when what it says is too much.
  child.stdin.on("error", () => {}).end(bytes);
  expect(await once(child, "exit")).toEqual([0, null]);
}

const named = async (name: string) => route(await machine((_asked, response) => response.end(name)));

test("a request after setRoutes finds the new table, over both ports, every time", async () => {
  const gate = await ingressProcess();
  const routes = [await named("a"), await named("b")];
  for (let flip = 0; flip < 40; flip++) {
    await gate.setRoutes([routes[flip % 2]!]);
    expect((await ask(gate, flip % 4 < 2 ? "http" : "https")).body).toBe("ab"[flip % 2]);
  }
  await gate.setRoutes([]);
  expect((await ask(gate, "http")).status).toBe(404);
});

test("the attester answers from the host", async () => {
  const gate = await ingressProcess();
  await gate.setRoutes([route(null)]);
  const { body, headers } = await ask(gate, "https", { path: "//nilcc/./x?y" });
  expect([body, headers["content-type"]]).toEqual([`GET /nilcc/x?y of ${DOMAIN}`, "text/plain"]);
});

test("strangers who ask more than the host will hear do not cost the others the process", async () => {
  const gate = await ingressProcess();
  await gate.setRoutes([await named("a")]);
  const began = performance.now();
  const statuses = new Set<number>();
  while (performance.now() - began < 2_500) {
    const sockets = await Promise.all(Array.from({ length: 8 }, () => dial(gate, "http")));
    const head = `GET /nilcc/x HTTP/1.1\r\nHost: ${DOMAIN}\r\n`;
    for (const socket of sockets) socket.write(`${`${head}\r\n`.repeat(99)}${head}Connection: close\r\n\r\n`);
    for (const text of await Promise.all(sockets.map(textOf)))
      for (const [, status] of text.matchAll(/^HTTP\/1\.1 (\d+) /gm)) statuses.add(Number(status));
  }
  expect(statuses).toEqual(new Set([200, 500]));
  expect(gate.ended()).toEqual([]);
  expect((await ask(gate, "http")).body).toBe("a");
}, 20_000);

test("one that is killed is started again with its ports, its routes and its keys", async () => {
  const gate = await ingressProcess();
  await gate.setRoutes([await named("a")]);
  expect((await ask(gate, "https")).body).toBe("a");
  const spki = await gate.spkiSha256(DOMAIN);
  process.kill(gate.program(), "SIGKILL");
  await gate.anew(1);
  expect((await ask(gate, "https")).body).toBe("a");
  expect(await gate.spkiSha256(DOMAIN)).toBe(spki);
});

test("one that hangs is ended, and the next begins with the table that it did not take", async () => {
  const gate = await ingressProcess();
  await gate.setRoutes([await named("a")]);
  process.kill(gate.program(), "SIGSTOP");
  await gate.setRoutes([await named("b")]);
  await gate.anew(1);
  expect((await ask(gate, "http")).body).toBe("b");
}, 20_000);

test("a bad table is refused in the host, and the one before stays", async () => {
  const gate = await ingressProcess();
  await gate.setRoutes([await named("a")]);
  expect(() => gate.setRoutes([route(null), route(null)])).toThrow();
  expect((await ask(gate, "http")).body).toBe("a");
});

test("a port that another program has is said at the start, and nothing is left behind", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  undoLater(() => other.close());
  const { port } = other.address() as { port: number };
  await expect(ingressProcess({ httpPort: port })).rejects.toThrow(/EADDRINUSE/);
  await expect.poll(() => descendants(process.pid).filter(serves)).toEqual([]);
});

const serves = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("host/ingress/main.ts");

test("close lets what is under way finish, and takes nothing new", async () => {
  const gate = await ingressProcess({ limits: { closeMs: 5_000 } });
  const answer = Promise.withResolvers<() => void>();
  const served = await machine((asked, response) => {
    if (asked.url === "/slow") answer.resolve(() => response.end("finished"));
    else response.end();
  });
  await gate.setRoutes([route(served)]);
  const underWay = ask(gate, "http", { path: "/slow" });
  const finish = await answer.promise;
  const closed = gate.close();
  await expect.poll(() => ask(gate, "http").catch(({ code }) => code)).toBe("ECONNREFUSED");
  finish();
  expect((await underWay).body).toBe("finished");
  await closed;
});

test("it does not outlive a host that is killed", async () => {
  const script = `
    const { startIngressProcess } = await import(${JSON.stringify(new URL("./process.ts", import.meta.url).href)});
    const { httpPort } = await startIngressProcess({ folder: process.argv[1], uid: ${UID}, host: "127.0.0.1",
      httpPort: 0, httpsPort: 0, log() {}, attester() {} });
    console.log(httpPort);`;
  const host = spawn(process.execPath, ["--input-type=module", "-e", script, join(scratch(), "ca")]);
  undoLater(() => host.kill("SIGKILL"));
  const [line] = (await once(host.stdout, "data")) as [Buffer];
  const port = Number(line);
  const code = async () => {
    const socket = connect(port, "127.0.0.1");
    const [error] = (await Promise.race([once(socket, "connect"), once(socket, "error")]).catch((why) => [
      why,
    ])) as [NodeJS.ErrnoException?];
    socket.destroy();
    return error?.code ?? "taken";
  };
  expect(await code()).toBe("taken");
  host.kill("SIGKILL");
  await expect.poll(code, { timeout: 10_000 }).toBe("ECONNREFUSED");
});

describeWith([bubblewrap, root], "as root", () => {
  test("it has a uid of its own, no capability and no way to one, and sees no other process", async () => {
    const gate = await ingressProcess();
    const status = statusOf(gate.program());
    expect(new Set([...status.uids, ...status.gids])).toEqual(new Set([UID]));
    expect(status.groups).toEqual([]);
    expect(new Set(Object.values(status.capabilities))).toEqual(new Set(["0000000000000000"]));
    expect(status.noNewPrivs).toBe(true);
    const proc = `/proc/${gate.program()}`;
    expect(readFileSync(`${proc}/limits`, "utf8")).toMatch(/^Max core file size +0 +0 /m);
    const seen = readdirSync(`${proc}/root/proc`).filter((name) => /^\d+$/.test(name));
    expect(seen.length).toBeLessThan(5);
  });

  test("it sees its program and the system, and no file of the host's", async () => {
    const folder = join(scratch(), "ca");
    const gate = await ingressProcess({ folder });
    const inside = (path: string) => existsSync(`/proc/${gate.program()}/root${path}`);
    const program = new URL("../..", import.meta.url).pathname;
    expect(inside(`${program}host/ingress/main.ts`)).toBe(true);
    for (const path of [
      ...[
        join(folder, "ca.key"),
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/root",
        "/home",
        "/etc/shadow",
      ],
      ...["host/assemble.ts", "drivers", "control", ".casemate"].map((name) => program + name),
    ])
      expect([path, inside(path)]).toEqual([path, false]);
  });

  test("the authority's key is not in its memory, the served one is", async () => {
    const folder = join(scratch(), "ca");
    const gate = await ingressProcess({ folder });
    await gate.setRoutes([await named("a")]);
    await ask(gate, "https");
    const secret = readFileSync(join(folder, "ca.key"), "utf8").split("\n").slice(1, 3).join("\n");
    expect(memoryHolds(gate.program(), "BEGIN PRIVATE KEY")).toBe(true);
    for (const part of secret.split("\n")) expect(memoryHolds(gate.program(), part.slice(-40))).toBe(false);
    const der = Buffer.from(secret.replace("\n", ""), "base64");
    // The private number itself, where PKCS #8 of P-256 has it.
    expect(memoryHolds(gate.program(), der.subarray(36, 60))).toBe(false);
  });

  test("a low port costs it the one capability that takes it", async () => {
    const httpPort = await freeLowPort();
    const gate = await ingressProcess({ httpPort });
    expect(gate.httpPort).toBe(httpPort);
    expect(BigInt(`0x${statusOf(gate.program()).capabilities.Eff}`)).toBe(1n << 10n);
  });

  describe("taken over", () => {
    const member = { said: "leaf", id: 1, domain: DOMAIN };
    test.each([
      ["rubbish", "rubbish\n", "business"],
      ["a word that nobody knows", '{"said":"open","path":"/"}\n', "business"],
      ["a member too many", `${JSON.stringify({ ...member, sign: "bank.test" })}\n`, "business"],
      ["another part's event", '{"said":"event","event":"host.started","facts":{}}\n', "business"],
      ["a line without end", "x".repeat(70_000), "too much"],
      ["too much at once", `${JSON.stringify(member)}\n`.repeat(10_000), "too much"],
    ])("one that says %s is ended and started anew", async (_what, bytes, why) => {
      const gate = await ingressProcess();
      await gate.setRoutes([await named("a")]);
      await sayFor(gate.program(), bytes);
      await gate.anew(1);
      expect((await ask(gate, "http")).body).toBe("a");
      expect(gate.ended()[0]!.facts.why).toContain(why);
    });

    test("it has no certificate made for a name without a route", async () => {
      const gate = await ingressProcess();
      await gate.setRoutes([route(null)]);
      for (const domain of ["bank.test", `x.${DOMAIN}`, `${DOMAIN}.`, "*.workloads.test", ""])
        await sayFor(gate.program(), `${JSON.stringify({ said: "leaf", id: 1_000_000, domain })}\n`);
      await sayFor(gate.program(), `${JSON.stringify({ said: "leaf", id: 1_000_001, domain: DOMAIN })}\n`);
      const made = () =>
        gate.logged.filter(({ event }) => /certificate/.test(event)).map(({ facts }) => facts.domain);
      await expect.poll(made).toEqual([DOMAIN]);
      await sleep(100);
      expect(made()).toEqual([DOMAIN]);
    });

    test("it cannot fill the host's log", async () => {
      const gate = await ingressProcess();
      const word = { said: "event", event: "ingress.machine-unreachable", facts: { machineId: "m" } };
      for (let times = 0; times < 10; times++) {
        await sayFor(gate.program(), `${JSON.stringify(word)}\n`.repeat(100));
        await sleep(100);
      }
      await gate.setRoutes([route(null)]);
      const lines = gate.logged.filter(({ event }) => event === word.event);
      expect(lines.length).toBeGreaterThan(10);
      expect(lines.length).toBeLessThanOrEqual(120);
    });
  });
});

function memoryHolds(pid: number, needle: string | Buffer): boolean {
  const memory = openSync(`/proc/${pid}/mem`, "r");
  try {
    return readFileSync(`/proc/${pid}/maps`, "utf8")
      .split("\n")
      .filter((line) => / rw/.test(line))
      .some((line) => {
        const [from, to] = line
          .split(" ")[0]!
          .split("-")
          .map((text) => Number.parseInt(text, 16));
        const bytes = Buffer.alloc(Math.min(to! - from!, 256 * 1024 * 1024));
        try {
          return bytes.subarray(0, readSync(memory, bytes, 0, bytes.length, from!)).includes(needle);
        } catch {
          return false; // Kept by the kernel from everybody.
        }
      });
  } finally {
    closeSync(memory);
  }
}

async function freeLowPort(): Promise<number> {
  for (let port = 1_023; port > 500; port--) {
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error("no low port is free");
}
