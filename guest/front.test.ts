// SPDX-License-Identifier: Apache-2.0
/** The agent's front as strangers meet it: its own process, HTTPS with a certificate for the guest's key, a service behind it. */
import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect, createServer as createTcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { askMachine } from "#cli/served-evidence.ts";
import { swtpm, swtpmSetup } from "#drivers/qemu/testing.ts";
import { hexOf } from "#evidence/bytes.ts";
import { type LaunchManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import { qualifyingDataOf, reportDataOf } from "#evidence/launch/report-data.ts";
import { judgeServed } from "#evidence/launch/served.ts";
import { tpmDemandsOf } from "#evidence/policy/tpm.ts";
import { recogniseEvidence } from "#evidence/recognise.ts";
import { makeCredential } from "#evidence/tpm/credential.ts";
import { nameOf, parseSigningKey } from "#evidence/tpm/public.ts";
import { extendedBy, writeEventLog } from "#evidence/tpm/specimen.ts";
import { verifyTpm } from "#evidence/tpm/verify.ts";
import { parseCertificate } from "#evidence/x509/certificate.ts";
import { type Authority, openAuthority } from "#host/ingress/authority.ts";
import { certifyRequest } from "#host/ingress/certify.ts";
import { type Ask, ask, DOMAIN, type Gate, textOf } from "#host/ingress/testing.ts";
import { freePort } from "#testing/free-port.ts";
import {
  COMPILE_MS,
  compileGuestProgram,
  type DrivenGuest,
  type DrivenSettings,
  guestCompiler,
  startDrivenGuest,
} from "#testing/guest-program.ts";
import { describeWith } from "#testing/requirements.ts";
import { type SoftwareTpm, startSoftwareTpm } from "#testing/software-tpm.ts";

const ASK = { timeoutMs: 30_000 };
const OTHER = "b.workloads.test";
const MEASURED = Buffer.from("measured into 4");
const sha = (bytes: Uint8Array | string) => Uint8Array.from(createHash("sha256").update(bytes).digest());
const manifest: LaunchManifest = {
  ...{ v: 1, compose: "a".repeat(64), files: {}, domains: [DOMAIN, OTHER] },
  ...{ publicService: "api", publicPort: 80, images: {}, stateDisk: false },
};
const bytes = manifestBytes(manifest);

let folder = "";
let authority: Authority;
const undo: (() => unknown)[] = [];
beforeAll(async () => {
  if (!guestCompiler.met) return;
  await compileGuestProgram();
  folder = mkdtempSync(join(tmpdir(), "casemate-front-"));
  ({ authority } = await openAuthority(join(folder, "authority"), new Date()));
}, COMPILE_MS);
afterAll(async () => {
  for (const step of undo.reverse()) await step();
  if (folder !== "") rmSync(folder, { recursive: true, force: true });
});

interface Fronted {
  driven: DrivenGuest;
  keys: { sealing: string; tls: string; request: string | null };
  gate: Gate;
}

async function startFront(
  settings: Partial<DrivenSettings> = {},
  endorsers: string[] = [],
): Promise<Fronted> {
  const frontPort = await freePort();
  const driven = await startDrivenGuest({ manifest: bytes, frontPort, ...settings });
  undo.push(() => driven.stop());
  const { keys } = await driven.guest.ask("claim", { ...driven.claimArgs, endorsers }, ASK);
  await driven.guest.ask("certificate", { chain: await chainFor(keys) }, ASK);
  return { driven, keys, gate: { httpPort: 0, httpsPort: frontPort, caPem: authority.caPem } };
}

async function chainFor({ request }: Fronted["keys"], domains = manifest.domains): Promise<string> {
  const signed = await certifyRequest(authority, domains, Buffer.from(request!, "base64"), new Date());
  return signed.certificatePem;
}

/** Something of a workload's; what it answers, each test says. */
async function startService(): Promise<{ port: number; answer(as: RequestListener): void; server: Server }> {
  let now: RequestListener = (_, response) => response.end("nothing was said");
  const server = createServer((request, response) => now(request, response)).listen(0, "127.0.0.1");
  await once(server, "listening");
  undo.push(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as { port: number };
  const answer = (as: RequestListener) => {
    now = as;
  };
  return { port, server, answer };
}

/** The process that runs as the front, of this agent; whichever thread it was that started it. */
function frontOf({ driven }: Fronted): number | null {
  const tasks = `/proc/${driven.process.pid}/task`;
  const started = readdirSync(tasks)
    .flatMap((task) => readFileSync(`${tasks}/${task}/children`, "latin1").trim().split(" "))
    .filter((pid) => pid !== "");
  return started.length === 1 ? Number(started[0]) : null;
}

describeWith([guestCompiler], "the guest's front", () => {
  let fronted: Fronted;
  let service: Awaited<ReturnType<typeof startService>>;
  const get = (what: Ask = {}) => ask(fronted.gate, "https", what);
  beforeAll(async () => {
    service = await startService();
    fronted = await startFront({ publicPort: service.port });
  });

  const served = async () => {
    const { httpsPort, caPem } = fronted.gate;
    const socket = connectTls({ port: httpsPort, host: "127.0.0.1", ca: caPem, servername: DOMAIN });
    await once(socket, "secureConnect");
    const { raw } = socket.getPeerCertificate();
    socket.destroy();
    return new X509Certificate(raw);
  };

  it("says that a service which is not up is not running, in the shape that was asked for", async () => {
    const { gate } = await startFront({ publicPort: await freePort() });
    const plain = await ask(gate, "https");
    expect(plain).toMatchObject({ status: 503, body: "The workload is not running.\n" });
    expect(plain.headers["retry-after"]).toBe("5");
    const json = await ask(gate, "https", { headers: { accept: "application/json" } });
    expect(JSON.parse(json.body)).toMatchObject({ error: "stopped", status: 503 });
    // The machine itself is well.
    expect((await ask(gate, "https", { path: "/nilcc/health" })).status).toBe(200);
  });

  it("serves the key of the claim, and a later chain for it without a break", async () => {
    const first = await served();
    expect(first.publicKey.export({ type: "spki", format: "der" }).toString("base64")).toBe(fronted.keys.tls);
    await fronted.driven.guest.ask("certificate", { chain: await chainFor(fronted.keys) }, ASK);
    await expect.poll(async () => (await served()).serialNumber).not.toBe(first.serialNumber);
    const other = await startFront({ publicPort: service.port });
    const wrong = [await chainFor(other.keys), "", "x", (await chainFor(fronted.keys)).repeat(9)];
    for (const chain of [...wrong, authority.caPem])
      await expect(fronted.driven.guest.ask("certificate", { chain }, ASK)).rejects.toMatchObject({
        code: "malformed",
      });
  });

  it("says who the client is itself, and passes on the rest as it was written", async () => {
    let seen: IncomingMessage | null = null;
    service.answer((request, response) => {
      seen = request;
      response.writeHead(201, { "set-cookie": ["a=1", "b=2"], "x-of-service": "yes" }).end("made");
    });
    const answer = await get({
      method: "POST",
      path: "/a%2Fb/../c?q=%zz;x&y",
      body: "body",
      headers: {
        ...{ "x-forwarded-for": "1.2.3.4", "X-Forwarded_Host": "evil", forwarded: "for=1.2.3.4" },
        ...{ "x-real-ip": "1.2.3.4", proxy: "http://evil", "x-casemate-proof": "x", "x-own": "kept" },
        ...{ cookie: "c=1", connection: "x-named", "x-named": "gone" },
      },
    });
    expect(answer).toMatchObject({ status: 201, body: "made" });
    expect(answer.headers["set-cookie"]).toEqual(["a=1", "b=2"]);
    expect(seen!.url).toBe("/a%2Fb/../c?q=%zz;x&y");
    expect(seen!.headers).toMatchObject({
      ...{ host: DOMAIN, "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https" },
      ...{ "x-forwarded-host": DOMAIN, "x-own": "kept", cookie: "c=1" },
    });
    for (const name of ["x-forwarded_host", "forwarded", "x-real-ip", "proxy", "x-casemate-proof", "x-named"])
      expect(seen!.headers[name]).toBeUndefined();
  });

  it("carries large bodies both ways, over HTTP/1.1 and HTTP/2", async () => {
    const body = randomBytes(8 * 1024 * 1024);
    service.answer((request, response) => {
      const sum = createHash("sha256");
      request
        .on("data", (chunk) => sum.update(chunk))
        .on("end", () => {
          response.setHeader("x-sum", sum.digest("hex"));
          response.end(body);
        });
    });
    const sum = hexOf(sha(body));
    const one = await get({ method: "PUT", body });
    expect(one.headers["x-sum"]).toBe(sum);
    expect(Buffer.byteLength(one.body)).toBeGreaterThan(0);
    const session = connectHttp2(`https://${DOMAIN}:${fronted.gate.httpsPort}`, {
      ca: fronted.gate.caPem,
      lookup: (
        _host: string,
        _options: object,
        done: (error: null, at: { address: string; family: number }[]) => void,
      ) => done(null, [{ address: "127.0.0.1", family: 4 }]),
    } as never);
    try {
      const stream = session.request({ ":method": "PUT", ":path": "/x", ":authority": DOMAIN });
      stream.end(body);
      const [headers] = (await once(stream, "response")) as [Record<string, string>];
      expect(headers["x-sum"]).toBe(sum);
      const got = createHash("sha256");
      for await (const chunk of stream) got.update(chunk as Buffer);
      expect(got.digest("hex")).toBe(sum);
    } finally {
      session.destroy();
    }
  });

  it("gives each part of an answer on as it comes", async () => {
    let end = () => {};
    service.answer((_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: one\n\n");
      end = () => response.end("data: two\n\n");
    });
    const socket = await dial();
    socket.write(`GET /events HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: close\r\n\r\n`);
    let text = "";
    socket.on("data", (chunk) => (text += chunk));
    await expect.poll(() => text).toContain("data: one");
    expect(text).not.toContain("data: two");
    end();
    await expect.poll(() => text).toContain("data: two");
    socket.destroy();
  });

  async function dial(named = true): Promise<Socket> {
    const { httpsPort, caPem } = fronted.gate;
    const name = named ? { servername: DOMAIN } : { checkServerIdentity: () => undefined };
    const socket = connectTls({ port: httpsPort, host: "127.0.0.1", ca: caPem, ...name });
    undo.push(() => socket.destroy());
    await once(socket, "secureConnect");
    return socket.on("error", () => {});
  }

  it("carries a WebSocket, and takes no other HTTP for one", async () => {
    service.server.on("upgrade", (request: IncomingMessage, socket: Socket) => {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${request.headers.upgrade}\r\nConnection: Upgrade\r\n\r\n`,
      );
      socket.on("data", (chunk) => socket.write(chunk)).on("error", () => {});
    });
    service.answer((request, response) =>
      response.end(`upgrade ${request.headers.upgrade}, ${request.headers.connection}`),
    );
    const head = (to: string) =>
      `GET /ws HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: ${to}\r\n\r\n`;
    const socket = await dial();
    let text = "";
    socket.on("data", (chunk) => (text += chunk));
    socket.write(head("websocket"));
    await expect.poll(() => text).toMatch(/^HTTP\/1.1 101 [\s\S]*\r\n\r\n$/);
    socket.write("there and back");
    await expect.poll(() => text).toContain("there and back");
    socket.destroy();
    for (const other of ["h2c", "HTTP/2.0", "TLS/1.3"]) {
      const refused = await dial();
      refused.write(head(other).replace("Connection: Upgrade", "Connection: Upgrade, close"));
      expect(await textOf(refused)).toMatch(/200 OK[\s\S]*upgrade undefined, undefined/);
    }
  });

  it("keeps the attester's paths and a verifier's from the workload, however they are spelt", async () => {
    service.answer((request, response) => response.end(`workload at ${request.url}`));
    for (const path of [
      ...["/nilcc", "/nilcc/api/v2/other", "//nilcc/x", "/%6eilcc/x", "/%256eilcc/x", "/./nilcc/x"],
      ...["/a/../nilcc/x", "/%2e%2e/nilcc/x", "/\\nilcc/x", "/nilcc;a=b/x", "/%2fnilcc/x", "/nilcc%2fx"],
      ...["/nilcc/../x", "/;a/nilcc", "/nil%63%63?x", "/nilcc/%2e%2e/x", "/%255cnilcc/x"],
      ...["/.well-known/acme-challenge/t", "//.well-known/./acme%2dchallenge/t"],
    ])
      expect([path, await get({ path })]).toMatchObject([
        path,
        { status: 404, body: "There is nothing here.\n" },
      ]);
    for (const path of ["//%6eilcc/./health", "/nilcc/health"])
      expect(JSON.parse((await get({ path })).body)).toEqual({ status: "ok" });
    for (const path of ["/nilccx", "/x/nilcc", "/?/nilcc", "/.well-known/other", "/a%2Fb", "/NILCC"])
      expect((await get({ path })).body).toBe(`workload at ${path}`);
    // The whole form of a target says the same.
    for (const target of [`https://${DOMAIN}/nilcc/health`, `https://${DOMAIN}//nilcc%2fhealth`]) {
      const socket = await dial();
      socket.write(`GET ${target} HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: close\r\n\r\n`);
      expect(await textOf(socket)).toContain('{"status":"ok"}');
    }
  });

  it("answers for its names and no others", async () => {
    service.answer((request, response) => response.end(`workload for ${request.headers.host}`));
    expect((await get({ host: OTHER })).body).toBe(`workload for ${OTHER}`);
    expect((await get({ host: OTHER, serverName: DOMAIN })).body).toBe(`workload for ${OTHER}`);
    expect((await get({ host: "c.test", serverName: DOMAIN })).status).toBe(421);
    expect((await get({ host: `${DOMAIN}:443`, serverName: DOMAIN })).status).toBe(200);
    const raw = async (text: string, named = true) => {
      const socket = await dial(named);
      socket.write(text);
      return textOf(socket);
    };
    expect(await raw("GET / HTTP/1.1\r\nHost: c.test\r\nConnection: close\r\n\r\n", false)).toMatch(
      /^HTTP\/1.1 404/,
    );
    expect(await raw(`GET / HTTP/1.1\r\nHost: ${OTHER}\r\nConnection: close\r\n\r\n`, false)).toMatch(
      /^HTTP\/1.1 200/,
    );
    expect(await raw("GET / HTTP/1.1\r\nConnection: close\r\n\r\n")).toMatch(/^HTTP\/1.1 400/);
    expect(await raw(`GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\nHost: ${OTHER}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 400/,
    );
    expect(
      await raw(`CONNECT ${DOMAIN}:443 HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: close\r\n\r\n`),
    ).toMatch(/^HTTP\/1.1 405/);
    const both = `POST / HTTP/1.1\r\nHost: ${DOMAIN}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody`;
    expect(await raw(both)).toMatch(/^HTTP\/1.1 400/);
    const coded = `POST / HTTP/1.1\r\nHost: ${DOMAIN}\r\nTransfer-Encoding: gzip\r\n\r\n`;
    expect(await raw(coded)).toMatch(/^HTTP\/1.1 501/);
    const long = `GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\nX: ${"a".repeat(20_000)}\r\n\r\n`;
    expect(await raw(long)).toMatch(/^HTTP\/1.1 431/);
  });

  it("is a process without rights that is started again when it ended, with the chain it had", async () => {
    service.answer((_, response) => response.end("here"));
    const { gate } = fronted;
    expect((await get()).body).toBe("here");
    const { serialNumber } = await served();
    await fronted.driven.guest.ask("certificate", { chain: await chainFor(fronted.keys) }, ASK);
    await expect.poll(async () => (await served()).serialNumber).not.toBe(serialNumber);
    const last = (await served()).serialNumber;
    const before = frontOf(fronted)!;
    expect(readFileSync(`/proc/${before}/oom_score_adj`, "latin1").trim()).toBe("1000");
    const status = readFileSync(`/proc/${before}/status`, "latin1");
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    if (process.getuid!() === 0) {
      expect(status).toMatch(/^Uid:\t64443\t64443\t64443\t64443$/m);
      expect(status).toMatch(/^Gid:\t64443\t64443\t64443\t64443$/m);
      expect(status).toMatch(/^Groups:\t\s*$/m);
      expect(status).toMatch(/^CapEff:\t0+$/m);
      expect(readlinkSync(`/proc/${before}/root`)).toMatch(/\/front$/);
    }
    process.kill(before, "SIGKILL");
    await expect.poll(() => frontOf(fronted) ?? before).not.toBe(before);
    expect((await ask(gate, "https")).body).toBe("here");
    expect((await served()).serialNumber).toBe(last);
  });

  it("answers that the machine has no evidence where it has none, and about itself", async () => {
    const report = JSON.parse((await get({ path: "/nilcc/api/v2/report" })).body);
    expect(report).toMatchObject({
      platform: "none",
      hardware: false,
      evidence: null,
      report: null,
      raw_report: null,
    });
    expect(report.manifest).toBe(Buffer.from(bytes).toString("base64"));
    expect(report.sealing_key).toBe(fronted.keys.sealing);
    expect(report.tls_key_sha256).toBe(hexOf(sha(Buffer.from(fronted.keys.tls, "base64"))));
    expect(report.environment).toMatchObject({ vm_type: "cpu", cpu_count: expect.any(Number) });
    const about = JSON.parse((await get({ path: "/nilcc/api/v1/about" })).body);
    expect(about).toMatchObject({ manifest_sha256: hexOf(sha(bytes)), domains: manifest.domains });
    for (const nonce of ["", "00", "zz".repeat(16), "aa".repeat(65), "aa".repeat(16).concat("&nonce=00")])
      expect((await get({ path: `/nilcc/api/v2/report?nonce=${nonce}` })).status).toBe(400);
    expect((await get({ method: "POST", path: "/nilcc/api/v2/report" })).status).toBe(405);
    expect((await get({ path: "/nilcc/api/v2/activate" })).status).toBe(405);
    const activate = (body: string) => get({ method: "POST", path: "/nilcc/api/v2/activate", body });
    for (const body of ["", "{}", '{"credential":"AAEA"}', '{"credential":"AAEA","secret":"*"}'])
      expect((await activate(body)).status).toBe(400);
    expect((await activate("a".repeat(10_000))).status).toBe(413);
    expect((await activate('{"credential":"AAEA","secret":"AAEA"}')).status).toBe(500);
  });

  it("outlives a credential whose question would be longer than process 1 takes", async () => {
    const before = frontOf(fronted);
    const activate = (credential: string, secret: string) =>
      get({
        method: "POST",
        path: "/nilcc/api/v2/activate",
        body: JSON.stringify({ credential, secret }),
      });
    const grows = "<".repeat(4_000);
    expect((await activate(grows, "AAEA")).status).toBe(400);
    expect((await activate("AAEA", grows)).status).toBe(400);
    expect((await activate("AAEA", "AAEA")).status).toBe(500);
    expect(frontOf(fronted)).toBe(before);
  });

  const http2 = (gate: Gate, settings = {}) => {
    const trusting = { host: "127.0.0.1", port: gate.httpsPort, ca: gate.caPem, servername: DOMAIN };
    const session = connectHttp2(`https://${DOMAIN}:${gate.httpsPort}`, {
      createConnection: () => connectTls({ ...trusting, ALPNProtocols: ["h2"] }),
      settings,
    });
    session.on("error", () => {});
    undo.push(() => session.destroy());
    return session;
  };

  it("has room for a few who do not end their question, for fewer on one connection, and the workload is served meanwhile", async () => {
    service.answer((_, response) => response.end("here"));
    const { gate } = await startFront({ publicPort: service.port });
    const sessions = Array.from({ length: 10 }, () => http2(gate));
    let turnedAway = 0;
    const ask8 = (session: (typeof sessions)[number], times: number) => {
      for (let begun = 0; begun < times; begun++)
        session
          .request({ ":method": "POST", ":path": "/nilcc/api/v2/activate", ":authority": DOMAIN })
          .on("response", (headers) => {
            if (headers[":status"] === 503) turnedAway++;
          })
          .on("error", () => {})
          .write("{");
    };
    ask8(sessions[0]!, 12);
    await expect.poll(() => turnedAway).toBe(4);
    // Another client has its own.
    expect((await ask(gate, "https", { path: "/nilcc/health" })).status).toBe(200);
    for (const session of sessions.slice(1)) ask8(session, 8);
    await expect.poll(() => turnedAway).toBe(4 + 16);
    expect((await ask(gate, "https")).body).toBe("here");
    for (const session of sessions) session.destroy();
    const health = async () => (await ask(gate, "https", { path: "/nilcc/health" })).status;
    await expect.poll(health).toBe(200);
  });

  it("lets go soon of who takes no byte of a refusal, and has room for some of them", async () => {
    const { gate } = await startFront({ publicPort: service.port });
    const sessions = Array.from({ length: 9 }, () => http2(gate, { initialWindowSize: 0 }));
    let begun = 0;
    let reset = 0;
    let open = 0;
    for (const session of sessions)
      for (let count = 0; count < 90; count++) {
        let answered = false;
        open++;
        session
          .request({ ":path": "/.well-known/acme-challenge/t", ":authority": DOMAIN })
          .on("response", () => {
            answered = true;
            begun++;
          })
          .on("error", () => {})
          .on("close", () => {
            open--;
            if (!answered) reset++;
          });
      }
    // A client that stalls otherwise has a minute, so that none of these would be gone.
    await expect.poll(() => open, { timeout: 40_000 }).toBe(0);
    expect(begun + reset).toBe(810);
    expect(begun).toBeGreaterThan(0);
    expect(reset).toBeGreaterThan(0);
    expect((await ask(gate, "https", { path: "/nilcc/health" })).status).toBe(200);
  }, 60_000);

  it("counts what is under way until its client took it, also when the workload is through with it", async () => {
    service.answer((_, response) => response.end("here"));
    const { gate } = await startFront({ publicPort: service.port });
    const sessions = Array.from({ length: 12 }, () => http2(gate, { initialWindowSize: 0 }));
    const statuses: Record<string, number> = {};
    for (const session of sessions)
      for (let count = 0; count < 90; count++)
        session
          .request({ ":path": "/", ":authority": DOMAIN })
          .on("response", ({ ":status": status }) => {
            statuses[String(status)] = (statuses[String(status)] ?? 0) + 1;
          })
          .on("error", () => {});
    await expect.poll(() => statuses, { timeout: 30_000 }).toEqual({ 200: 1024, 503: 56 });
    for (const session of sessions) session.destroy();
    await expect.poll(async () => (await ask(gate, "https")).body, { timeout: 30_000 }).toBe("here");
  }, 70_000);

  it("shows SEV-SNP's report with its fields, and never makes one up", async () => {
    const before = Buffer.alloc(0x50);
    before.writeUInt32LE(2, 0);
    before.writeBigUInt64LE(0x30000n, 8);
    const after = Buffer.alloc(1184 - 0x90);
    after.write("ab".repeat(48), 0, "hex");
    const base64 = (part: Buffer) => part.toString("base64");
    const tsm = {
      provider: "sev_guest",
      before: base64(before),
      after: base64(after),
      auxiliary: "",
      overtaken: 0,
    };
    const { gate } = await startFront({ tsm, tsmFolder: mkdtempSync(join(folder, "tsm-")) });
    const answer = JSON.parse((await ask(gate, "https", { path: "/nilcc/api/v2/report" })).body);
    expect(answer).toMatchObject({ platform: "sev-snp", hardware: true, gpu_token: null });
    expect(answer.raw_report).toHaveLength(2 * 1184);
    expect(answer.raw_report.slice(0xa0, 0x120)).toBe(answer.report_data);
    expect(answer.report).toMatchObject({
      ...{ version: 2, policy: "0x0000000000030000", report_data: answer.report_data },
      ...{ measurement: "ab".repeat(48), vmpl: 0, current_tcb: { snp: 0 }, host_data: "00".repeat(32) },
    });
    expect(Buffer.from(answer.evidence.report, "base64").toString("hex")).toBe(answer.raw_report);
  });

  it("lets a few wait for evidence and turns the rest away, while the workload is served", async () => {
    service.answer((_, response) => response.end("here"));
    const path = join(folder, "silent-tpm");
    const held: Socket[] = [];
    const silent = createTcpServer((socket) => void held.push(socket.on("error", () => {}))).listen(path);
    await once(silent, "listening");
    const { gate } = await startFront({ publicPort: service.port, tpm: path });
    const statuses: number[] = [];
    const asked = Array.from({ length: 12 }, async () => {
      const nonce = randomBytes(16).toString("hex");
      const { status } = await ask(gate, "https", { path: `/nilcc/api/v2/report?nonce=${nonce}` });
      statuses.push(status);
    });
    await expect.poll(() => statuses).toEqual([503, 503, 503, 503]);
    expect((await ask(gate, "https")).body).toBe("here");
    // From here on it hangs up on everyone.
    silent.on("connection", (socket) => socket.destroy());
    for (const socket of held) socket.destroy();
    await Promise.all(asked);
    expect(statuses.filter((status) => status === 500)).toHaveLength(8);
    silent.close();
  });
});

const deep = {
  met: process.env.CASEMATE_TEST_DEPTH === "all",
  reason: "waits as long as the limits are; ./casemate test --all",
};
describeWith([guestCompiler, deep], "the guest's front and who is slow", () => {
  it("lets go of who does not begin, does not end, does not send and does not read", async () => {
    const service = await startService();
    // More than any buffer on the way takes.
    const large = Buffer.alloc(32 * 1024 * 1024);
    service.answer((_, response) => response.end(large));
    const { gate } = await startFront({ publicPort: service.port });
    const trusting = { host: "127.0.0.1", port: gate.httpsPort, ca: gate.caPem, servername: DOMAIN };
    const secure = async (text: string) => {
      const socket = connectTls(trusting);
      await once(socket, "secureConnect");
      socket.on("error", () => {}).write(text);
      return socket;
    };
    const head = (method: string, path: string) => `${method} ${path} HTTP/1.1\r\nHost: ${DOMAIN}\r\n`;
    const silent = connect(gate.httpsPort, "127.0.0.1").on("error", () => {});
    const drips = await secure(head("GET", "/"));
    // A body that the front holds until all of it is here.
    const trickles = await secure(`${head("POST", "/nilcc/api/v2/activate")}Content-Length: 8000\r\n\r\n`);
    const drip = setInterval(() => {
      drips.write("X: y\r\n");
      trickles.write(" ");
    }, 500);
    // A page of the front's that reads no body, and a workload that reads it.
    const owing = await secure(`${head("POST", "/nilcc/health")}Content-Length: 1000\r\n\r\n`);
    const owes = await secure(`${head("POST", "/")}Content-Length: 1000\r\n\r\nhalf`);
    const deaf = await secure(`${head("GET", "/")}\r\n`);
    const session = connectHttp2(`https://${DOMAIN}:${gate.httpsPort}`, {
      createConnection: () => connectTls({ ...trusting, ALPNProtocols: ["h2"] }),
      settings: { initialWindowSize: 0 },
    });
    session.on("error", () => {});
    const stream = session.request({ ":path": "/nilcc/health", ":authority": DOMAIN }).on("error", () => {});
    try {
      for (const socket of [silent, drips, trickles, owing, owes]) socket.resume();
      const all = { silent, drips, trickles, owing, owes, stream, deaf };
      // Nothing is read of the deaf one, so its end is only seen by what writing to it says.
      const open = () => {
        deaf.write("x");
        return Object.entries(all).flatMap(([name, { closed }]) => (closed ? [] : name));
      };
      await expect.poll(open, { timeout: 160_000, interval: 1_000 }).toEqual([]);
    } finally {
      clearInterval(drip);
      session.destroy();
      deaf.destroy();
    }
    expect((await ask(gate, "https", { path: "/nilcc/health" })).status).toBe(200);
  }, 180_000);
});

describeWith([guestCompiler, swtpm, swtpmSetup], "the guest's report over HTTPS", () => {
  let tpm: SoftwareTpm;
  let fronted: Fronted;
  beforeAll(async () => {
    tpm = await startSoftwareTpm();
    await tpm.extend(4, sha(MEASURED));
    const eventLog = join(folder, "log");
    writeFileSync(eventLog, writeEventLog([{ pcr: 4, data: MEASURED }]));
    fronted = await startFront({ tpm: tpm.socket, eventLog }, tpm.chain);
  });
  afterAll(() => tpm?.stop());
  const report = async (query = "") =>
    JSON.parse((await ask(fronted.gate, "https", { path: `/nilcc/api/v2/report${query}` })).body);
  const verdictOf = async (answer: { evidence: object }, nonce: Uint8Array | null) => {
    const known = recogniseEvidence(Buffer.from(JSON.stringify(answer.evidence)));
    if (known.platform !== "tpm") throw new Error("not of a TPM");
    const spki = Buffer.from(fronted.keys.tls, "base64");
    const bound = await reportDataOf(spki, { form: "report", nonce });
    const demands = tpmDemandsOf(null, { nonce: await qualifyingDataOf(bound) });
    const { steps } = await verifyTpm(known.evidence, { atMs: Date.now(), demands });
    return { evidence: known.evidence, failed: steps.filter(({ ok }) => !ok).map(({ name }) => name) };
  };

  it("binds the served key and a stranger's nonce, and opens a stranger's credential", async () => {
    const nonce = randomBytes(32);
    const answer = await report(`?nonce=${nonce.toString("hex")}`);
    expect(answer).toMatchObject({ platform: "tpm", hardware: false, nonce: nonce.toString("hex") });
    const { evidence, failed } = await verdictOf(answer, nonce);
    expect(failed).toEqual([]);
    expect((await verdictOf(answer, randomBytes(32))).failed).toEqual(["nonce"]);
    const name = await nameOf(parseSigningKey(evidence.key));
    const secret = randomBytes(32);
    const made = await makeCredential(parseCertificate(evidence.endorsement![0]!).spki, name, secret);
    const base64 = (part: Uint8Array) => Buffer.from(part).toString("base64");
    const body = JSON.stringify({ credential: base64(made.blob), secret: base64(made.encryptedSeed) });
    const opened = await ask(fronted.gate, "https", { method: "POST", path: "/nilcc/api/v2/activate", body });
    expect(JSON.parse(opened.body)).toEqual({ secret: base64(secret) });
  });

  it("is what our own verifier asks for and accepts, and refuses for another compose file", async () => {
    const url = new URL(`https://${DOMAIN}`);
    const served = await askMachine(url, { connect: `127.0.0.1:${fronted.gate.httpsPort}` });
    const root = parseCertificate(Buffer.from(tpm.chain.at(-1)!, "base64"));
    const zeros = "00".repeat(32);
    const policy = {
      tpm: {
        pcrs: { 4: [hexOf(extendedBy(sha(MEASURED)))], 9: [zeros], 11: [zeros], 12: [zeros] },
        endorsementRoots: [hexOf(sha(root.spki))],
      },
    };
    const launches: string[] = [];
    const expected = {
      policyOf: async (launch: string) => {
        launches.push(launch);
        return policy;
      },
      ...{ beside: [], atMs: Date.now() + 60_000 },
    };
    const verdict = await judgeServed(served, expected);
    expect(verdict.steps.filter(({ ok }) => !ok)).toEqual([]);
    expect(verdict).toMatchObject({ accepted: true, hardware: false });
    expect(launches).toEqual([hexOf(sha(bytes))]);
    const other = await judgeServed(served, { ...expected, compose: Buffer.from("services: {}") });
    expect(other.steps.filter(({ ok }) => !ok).map(({ name }) => name)).toEqual(["compose"]);
  });

  it("without a nonce is made once for many who ask", async () => {
    const [one, two] = [await report(), await report()];
    expect(one).toEqual(two);
    expect(one.nonce).toBeNull();
    expect((await verdictOf(one, null)).failed).toEqual([]);
    const nonce = randomBytes(16);
    expect((await verdictOf(await report(`?nonce=${nonce.toString("hex")}`), nonce)).failed).toEqual([]);
  });
});
