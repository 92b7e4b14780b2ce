// SPDX-License-Identifier: Apache-2.0
/**
 * A program that is started as QEMU is and has no machine in it: it listens where its words say, speaks QMP, and at the guest's port
 * it is a guest as docs/guest-protocol.md has it, with the keys and the evidence of specimen-guest.ts. What befalls it is in a
 * file, which is read with each question. First argument: that file.
 */
import { webcrypto } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { createServer as createTlsServer, type Server } from "node:tls";
import "#host/ingress/reflect-metadata.ts";
import * as x509 from "@peculiar/x509";
import type { LaunchManifest } from "#evidence/launch/manifest.ts";
import { type Ask, type GuestLogsAsk, type GuestStatus, PROTOCOL_VERSION } from "#guest/protocol.ts";
import { parseMetadata } from "#images/metadata.ts";
import { bootSpecimenGuest, SpecimenAuthority, type SpecimenGuest } from "./specimen-guest.ts";

export interface VmScript {
  /** After `up`, one for each look; the last stays. */
  status: GuestStatus[];
  lines: string[];
  /** These questions are not answered. */
  mute?: string[];
  /** These are answered so much later. */
  slowMs?: Record<string, number>;
  /** What is refused, with which words. */
  refuse?: Record<string, string>;
  /** What is answered in place of the truth. */
  lie?: Record<string, object>;
}

const [file, ...words] = process.argv.slice(2) as [string, ...string[]];
if (words[0] === "--version") {
  process.stdout.write("QEMU emulator version 0\n");
  process.exit();
}
const script = () => JSON.parse(readFileSync(file, "utf8")) as VmScript;
const note = (what: object) => appendFileSync(`${file}.seen`, `${JSON.stringify(what)}\n`);
const after = (word: string) => words[words.indexOf(word) + 1] ?? "";
const pathIn = (text: string) => /(?:path=|unix:)([^,]+)/.exec(text)![1]!;
const socketOf = (id: string) => pathIn(words.find((word) => word.startsWith(`socket,id=${id},`))!);
const port = Number(/hostfwd=tcp:127\.0\.0\.1:(\d+)-:443/.exec(words.join(" "))?.[1]);

const listen = (path: string, onSocket: (socket: Socket) => void) =>
  createServer((socket) => onSocket(socket.on("error", () => {}))).listen(path);
const linesOf = (socket: Socket, onLine: (line: string) => void) =>
  createInterface({ input: socket })
    .on("line", onLine)
    .on("error", () => {});

listen(socketOf("console"), (socket) => socket.write("scripted guest is up\n"));
listen(pathIn(after("-qmp")), (socket) => {
  const say = (message: object) => socket.write(`${JSON.stringify(message)}\r\n`);
  const answers: Record<string, object> = {
    "query-name": { name: after("-name") },
    "query-kvm": { enabled: false, present: true },
    "query-status": { status: "running", running: true },
  };
  say({
    QMP: { version: { qemu: { major: 8, minor: 0, micro: 0 }, package: "" }, capabilities: [] },
  });
  linesOf(socket, (line) => {
    const { id, execute } = JSON.parse(line) as { id: number; execute: string };
    say({ id, return: answers[execute] ?? {} });
    if (execute === "quit" || execute === "system_powerdown") end(socket);
  });
  ended.push(() => {
    const timestamp = { seconds: 0, microseconds: 0 };
    say({ event: "SHUTDOWN", data: { guest: true, reason: "guest-shutdown" }, timestamp });
  });
});

const ended: (() => void)[] = [];
function end(last: Socket): void {
  for (const each of ended) each();
  setTimeout(() => process.exit(0), 50);
  last.resume();
}

let claimed: { claimId: string; answer: object; guest: SpecimenGuest; manifest: LaunchManifest } | null =
  null;
let parts: Buffer[] = [];
let looks = -1;
let server: Server | null = null;

async function claim({ claimId, manifest }: { claimId: string; manifest: string }): Promise<object> {
  if (claimed?.claimId === claimId) return claimed.answer;
  if (claimed !== null) throw new Error("already-claimed");
  const bytes = Buffer.from(manifest, "base64");
  const image = parseMetadata(readFileSync(join(dirname(after("-kernel")), "image.json"), "utf8"));
  const guest = await bootSpecimenGuest({ image, manifest: bytes, authority: new SpecimenAuthority() });
  const parsed = JSON.parse(bytes.toString()) as LaunchManifest;
  const request = parsed.domains.length === 0 ? null : await requestOf(guest, parsed.domains);
  const answer = { claimId, sshHostKeys: [], keys: { ...guest.machine.keys, request } };
  claimed = { claimId, answer, guest, manifest: parsed };
  return answer;
}

async function requestOf({ tlsKey }: SpecimenGuest, domains: readonly string[]): Promise<string> {
  const curve = { name: "ECDSA", namedCurve: "P-256" };
  const pkcs8 = Buffer.from(tlsKey.export({ type: "pkcs8", format: "der" }));
  const privateKey = await webcrypto.subtle.importKey("pkcs8", pkcs8, curve, true, ["sign"]);
  const { d: _, ...open } = await webcrypto.subtle.exportKey("jwk", privateKey);
  const publicKey = await webcrypto.subtle.importKey("jwk", { ...open, key_ops: ["verify"] }, curve, true, [
    "verify",
  ]);
  const names = domains.map((value) => ({ type: "dns" as const, value }));
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      ...{ keys: { privateKey, publicKey }, signingAlgorithm: { name: "ECDSA", hash: "SHA-256" } },
      extensions: [new x509.SubjectAlternativeNameExtension(names)],
    },
    webcrypto,
  );
  return Buffer.from(request.rawData).toString("base64");
}

const operations: Record<string, (args: never) => Promise<object> | object> = {
  claim,
  health: () => ({}),
  certificate: ({ chain }: { chain: string }) => {
    const key = claimed!.guest.tlsKey.export({ type: "pkcs8", format: "pem" }) as string;
    if (server === null)
      server = createTlsServer({ key, cert: chain }, (socket) => socket.end("HTTP/1.1 200 OK\r\n\r\ninside"))
        .on("tlsClientError", () => {})
        .listen(port, "127.0.0.1");
    else server.setSecureContext({ key, cert: chain });
    note({ certificate: chain });
    return {};
  },
  evidence: ({ purpose, nonce }: { purpose: "seal"; nonce: string }) =>
    claimed!.guest.machine.evidence(purpose, nonce),
  activate: async ({ credential, secret }: { credential: string; secret: string }) => ({
    secret: await claimed!.guest.machine.activate(credential, secret),
  }),
  payload: ({ part, bytes }: { part: number; bytes: string }) => {
    if (part === 0) parts = [];
    parts[part] = Buffer.from(bytes, "base64");
    return {};
  },
  up: async () => {
    const secrets = await claimed!.guest.open(Buffer.concat(parts));
    note({ compose: secrets.compose });
    looks = 0;
    return {};
  },
  status: () => {
    const { status } = script();
    if (looks < 0) return { phase: "idle", detail: "", public: false, images: [] };
    const now = status[Math.min(looks, status.length - 1)]!;
    looks += 1;
    return now;
  },
  containers: () => ({ containers: [{ names: ["web"], image: "i", imageId: "sha256:1", state: "running" }] }),
  logs: ({ container, tail, linesMax, after: from }: GuestLogsAsk) => {
    if (container !== "web") throw new Error("no such container");
    const { lines } = script();
    const start = from === undefined ? 0 : Number(from);
    const rest = lines.slice(start);
    const given = from === undefined && tail ? rest.slice(-linesMax) : rest.slice(0, linesMax);
    const next = from === undefined && tail ? lines.length : start + given.length;
    return { lines: given, next: String(next) };
  },
  stats: () => ({
    memory: { totalBytes: 2 ** 30, usedBytes: 2 ** 20 },
    cpus: [{ name: "cpu0", usage: 12.5 }],
    disks: [],
  }),
  shutdown: () => ({}),
};

listen(socketOf("port0"), (socket) => {
  const say = (message: object) => socket.write(`${JSON.stringify(message)}\n`);
  let last: Promise<unknown> = Promise.resolve();
  linesOf(socket, (line) => {
    if (line === "") return;
    const message = JSON.parse(line) as Ask & { hello?: { session: string } };
    if (message.hello !== undefined) {
      const { session } = message.hello;
      const welcome = { session, protocol: PROTOCOL_VERSION, agent: "scripted", bootId: "1" };
      socket.write("\n");
      say({ welcome: { ...welcome, claimed: claimed !== null } });
      return;
    }
    last = last.then(() => answer(message, say)).then(() => message.op === "shutdown" && end(socket));
  });
});

async function answer({ id, op, args }: Ask, say: (message: object) => void): Promise<void> {
  const { mute = [], refuse = {}, lie = {}, slowMs = {} } = script();
  note({ op });
  if (mute.includes(op)) return new Promise(() => {});
  if (slowMs[op] !== undefined) await new Promise((resolve) => setTimeout(resolve, slowMs[op]));
  try {
    if (refuse[op] !== undefined) throw new Error(refuse[op]);
    say({ id, ok: lie[op] ?? (await operations[op]!(args as never)) });
  } catch (error) {
    say({ id, error: { code: "failed", message: (error as Error).message } });
  }
}
