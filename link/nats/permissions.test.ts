// SPDX-License-Identifier: Apache-2.0
/** What the broker keeps a host from that holds its own credentials and nothing else. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import { PermissionViolationError } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newLeafKey, openAuthority } from "#host/ingress/authority.ts";
import { natsServer, startNatsServer, type TestNats } from "#testing/nats-server.ts";
import { describeWith } from "#testing/requirements.ts";
import { factsOf } from "../conformance.ts";
import { enter, newNkey } from "./access.ts";
import { natsConfig } from "./config.ts";
import { dialNats } from "./dial.ts";
import { listenNats } from "./listen.ts";
import { replaceNatsConfig } from "./reload.ts";

const backoff = { firstMs: 2, mostMs: 20 };
/** The broker hangs up behind its words, which may be noticed before them. */
const REFUSED = /Authorization|EPIPE|ECONNRESET/i;
const idle = { onDesired() {}, onStream() {} };

async function until(what: string, look: () => boolean): Promise<void> {
  for (const since = performance.now(); !look(); ) {
    if (performance.now() - since > 15_000) throw new Error(`never seen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

describeWith([natsServer], "a broker with the generated configuration", () => {
  let nats: TestNats;
  beforeAll(async () => {
    nats = await startNatsServer(["host_a", "host_b"]);
  });
  afterAll(() => nats.stop());

  const as = (seed: string) => enter({ servers: [nats.url], credentials: { nkeySeed: seed } }, "test", 5_000);

  /** What the server said about these acts, once it has seen them all. */
  async function refusals(seed: string, act: (broker: NatsConnection) => void): Promise<string[]> {
    const broker = await as(seed);
    const refused: string[] = [];
    const watching = (async () => {
      for await (const status of broker.status())
        if (status.type === "error" && status.error instanceof PermissionViolationError)
          refused.push(`${status.error.operation} ${status.error.subject}`);
    })();
    act(broker);
    await broker.flush();
    await broker.close();
    await watching;
    return refused;
  }

  const HEARD_ELSEWHERE = [
    "casemate.host.host_b.down.>",
    "casemate.host.host_b.up.>",
    "casemate.host.*.down.>",
    "casemate.host.host_a.up.>",
    "casemate.>",
    ">",
    "$SYS.>",
    "_INBOX.>",
  ];
  test.each(HEARD_ELSEWHERE)("a host cannot listen on %s", async (subject) => {
    const refused = await refusals(nats.seedOf("host_a"), (broker) => {
      broker.subscribe(subject, { callback() {} });
    });
    expect(refused).toEqual([`subscription ${subject}`]);
  });

  const SAID_ELSEWHERE = [
    "casemate.host.host_b.up.here",
    "casemate.host.host_b.down.call",
    "casemate.host.host_a.down.call",
    "casemate.host.host_a",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.USER.INFO",
    "_INBOX.somebody",
  ];
  test.each(SAID_ELSEWHERE)("a host cannot speak on %s", async (subject) => {
    const refused = await refusals(nats.seedOf("host_a"), (broker) => broker.publish(subject, "00"));
    expect(refused).toEqual([`publish ${subject}`]);
  });

  test("a host hears and says what is its own, and control what is its side", async () => {
    const control = await as(nats.controlSeed);
    const heard: string[] = [];
    control.subscribe("casemate.host.*.up.>", {
      callback: (_error, { subject }) => void heard.push(subject),
    });
    await control.flush();
    const own = await refusals(nats.seedOf("host_a"), (broker) => {
      broker.subscribe("casemate.host.host_a.down.>", { callback() {} });
      broker.publish("casemate.host.host_a.up.here", "00");
    });
    expect(own).toEqual([]);
    await until("what the host said", () => heard.length > 0);
    expect(heard).toEqual(["casemate.host.host_a.up.here"]);
    await control.close();
    const beyond = await refusals(nats.controlSeed, (broker) => {
      broker.publish("casemate.host.host_a.up.here", "00");
      broker.subscribe("$SYS.>", { callback() {} });
    });
    expect(beyond.sort()).toEqual(["publish casemate.host.host_a.up.here", "subscription $SYS.>"]);
  });

  test("nobody enters without a key, or with one that the broker does not know", async () => {
    await expect(as(newNkey().seed)).rejects.toThrow(REFUSED);
    const credentials = { user: "host_a", password: "" };
    await expect(enter({ servers: [nats.url], credentials }, "test", 5_000)).rejects.toThrow(
      /Authorization/i,
    );
  });

  test("a host that is removed is cut off at once, streams and all, and others stay", async () => {
    const gone: string[] = [];
    // Control is told of a cut host by its silence, four beats; the host by the broker.
    const heartbeatMs = 3_000;
    const link = await listenNats({
      servers: [nats.url],
      credentials: { nkeySeed: nats.controlSeed },
      handlers: { async onHost() {}, onHostGone: (hostId) => gone.push(hostId), async onObserved() {} },
      ...{ replica: "control-1", heartbeatMs, backoff },
    });
    const ends: string[] = [];
    let served = 0;
    const dialled = (hostId: string) =>
      dialNats({
        servers: [nats.url],
        credentials: { nkeySeed: nats.seedOf(hostId) },
        facts: factsOf(hostId),
        handlers: {
          onDesired() {},
          onStream(_request, stream) {
            served += 1;
            void stream.ended.then(({ kind }) => ends.push(`${hostId} ${kind}`));
          },
        },
        ...{ heartbeatMs, backoff },
      });
    const revoked = dialled("host_a");
    const other = dialled("host_b");
    await until("both", () => link.hosts().length === 2);
    const streams = ["host_a", "host_b"].map((hostId) =>
      link.openStream(hostId, { kind: "file-get", machineId: "m", path: "p" }),
    );
    await until("both served", () => served === 2);
    await nats.revoke("host_a");
    const since = performance.now();
    await until("the end of its stream", () => ends.includes("host_a lost"));
    expect(performance.now() - since).toBeLessThan(2 * heartbeatMs);
    await expect(revoked.report([])).rejects.toThrow(/not connected/);
    expect(await streams[0]!.ended).toEqual({ kind: "lost" });
    expect(gone).toEqual(["host_a"]);
    expect(link.hosts().map(({ hostId }) => hostId)).toEqual(["host_b"]);
    expect(ends).toEqual(["host_a lost"]);
    await revoked.close();
    await nats.admit("host_a");
    const again = dialled("host_a");
    await until("its return with a new key", () => link.hosts().some(({ hostId }) => hostId === "host_a"));
    await again.close();
    await other.close();
    await link.close();
  });
});

const key = () => ({ publicKey: newNkey().publicKey });
const listen = { host: "127.0.0.1", port: 4222 };

test.each(["host.b", "*", ">", "host b", "", 'host"', "host_é", "h".repeat(65)])(
  "no host id reaches beyond its own branch: %j",
  (hostId) => {
    expect(() =>
      natsConfig({ listen, control: key(), hosts: [{ hostId, ...key() }], pidFile: "/p" }),
    ).toThrow(/host id/);
    expect(() =>
      dialNats({
        servers: ["nats://127.0.0.1:1"],
        credentials: { nkeySeed: newNkey().seed },
        facts: factsOf(hostId),
        handlers: idle,
      }),
    ).toThrow(/host id/);
  },
);

test("a broker that others can reach is not configured nor entered without TLS", async () => {
  const open = { host: "0.0.0.0", port: 4222 };
  expect(() => natsConfig({ listen: open, control: key(), hosts: [], pidFile: "/p" })).toThrow(/tls/);
  const tls = { certFile: "/c", keyFile: "/k" };
  expect(natsConfig({ listen: open, control: key(), hosts: [], tls, pidFile: "/p" })).toContain("cert_file");
  await expect(
    enter({ servers: ["10.1.2.3:4222"], credentials: { nkeySeed: "" } }, "test", 5_000),
  ).rejects.toThrow(/not on this machine/);
});

test("a public key is one, and a password cannot be guessed from its length", () => {
  const config = (secret: { publicKey: string } | { password: string }) =>
    natsConfig({ listen, control: key(), hosts: [{ hostId: "host_a", ...secret }], pidFile: "/p" });
  expect(() => config({ publicKey: newNkey().seed })).toThrow(/public key/);
  expect(() => config({ password: "short" })).toThrow(/password/);
  expect(config({ password: "long-enough-for-it" })).toContain('"user": "host_a"');
});

describeWith([natsServer], "a broker with TLS", () => {
  test("is entered by its name and the authority given, with a key or a password, and by nobody else", async () => {
    const folder = mkdtempSync(join(tmpdir(), "casemate-nats-"));
    const now = new Date();
    const { authority } = await openAuthority(join(folder, "ours"), now);
    const stranger = (await openAuthority(join(folder, "theirs"), now)).authority;
    const leaf = await newLeafKey();
    const tls = { certFile: join(folder, "server.crt"), keyFile: join(folder, "server.key") };
    writeFileSync(tls.certFile, (await authority.sign("localhost", leaf, now)).certificatePem);
    writeFileSync(tls.keyFile, leaf.keyPem, { mode: 0o600 });
    const password = "only-for-this-test";
    const nats = await startNatsServer([], { tls, passwords: { host_a: password } });
    try {
      const named = `nats://localhost:${nats.port}`;
      const control = { nkeySeed: nats.controlSeed };
      const to = (server: string, ca: string) =>
        enter({ servers: [server], credentials: control, tls: { ca } }, "test", 5_000);
      await expect(to(named, stranger.caPem)).rejects.toThrow(/certificate/i);
      await expect(to(nats.url, authority.caPem)).rejects.toThrow(/127\.0\.0\.1|altnames/i);
      const joined = Promise.withResolvers<string>();
      const access = { servers: [named], tls: { ca: authority.caPem } };
      const link = await listenNats({
        ...{ ...access, credentials: control, replica: "control-1", backoff },
        handlers: {
          onHost: async ({ hostId }) => joined.resolve(hostId),
          onHostGone() {},
          async onObserved() {},
        },
      });
      const dialled = dialNats({
        ...{ ...access, credentials: { user: "host_a", password }, backoff },
        ...{ facts: factsOf("host_a"), handlers: idle },
      });
      expect(await joined.promise).toBe("host_a");
      await dialled.report([]);
      await dialled.close();
      await link.close();
    } finally {
      await nats.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test("is demanded: a broker without it is not entered", async () => {
    const nats = await startNatsServer([]);
    try {
      const access = { servers: [nats.url], credentials: { nkeySeed: nats.controlSeed }, tls: {} };
      await expect(enter(access, "test", 5_000)).rejects.toThrow(/tls/);
    } finally {
      await nats.stop();
    }
  });
});

describeWith([natsServer], "a new configuration", () => {
  test("is judged before it replaces the old one, is closed to other users, and signals no stranger", async () => {
    const folder = mkdtempSync(join(tmpdir(), "casemate-nats-"));
    try {
      const configFile = join(folder, "nats.conf");
      const pidFile = join(folder, "nats.pid");
      const good = natsConfig({ listen, control: key(), hosts: [], pidFile });
      // This very process has the number: a hang-up would end the test.
      writeFileSync(pidFile, String(process.pid));
      expect(await replaceNatsConfig({ configFile, pidFile }, good)).toBe(false);
      expect(readFileSync(configFile, "utf8")).toBe(good);
      expect(statSync(configFile).mode & 0o777).toBe(0o600);
      await expect(replaceNatsConfig({ configFile, pidFile }, "port: nowhere")).rejects.toThrow(/refuses/);
      expect(readFileSync(configFile, "utf8")).toBe(good);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
