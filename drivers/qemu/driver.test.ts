// SPDX-License-Identifier: Apache-2.0
/** The driver's half of what it and its guests say: QEMU is a program that is started as one and speaks as one (testing/scripted-vm.ts). */
import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { appendFileSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ComposePayload, LaunchPayload } from "#contract/link/payload.ts";
import { type LaunchManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import { sealBox } from "#guest/seal.ts";
import { openAuthority } from "#host/ingress/authority.ts";
import { certifyRequest } from "#host/ingress/certify.ts";
import { FILE_NAMES } from "#images/metadata.ts";
import { listImages } from "#images/store.ts";
import type { VmScript } from "#testing/scripted-vm.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { KEPT_SPEC, linesOf } from "../conformance/kept-machine.ts";
import { newMachineId } from "../conformance/machine.ts";
import type { KeptChange, KeptStart } from "../kept-driver.ts";
import { QemuDriver, type QemuOptions } from "./driver.ts";
import { imagesOfMachines } from "./launch-note.ts";
import { openMachines, type TestMachines } from "./testing.ts";

const DOMAIN = "a.example.test";
const DAY_MS = 86_400_000;
const SPEC = { ...KEPT_SPEC, isolation: "vm" as const, kept: { diskMiB: 1, labels: {}, domains: [DOMAIN] } };
const manifest: LaunchManifest = {
  ...{ v: 1, compose: "a".repeat(64), files: {}, domains: [DOMAIN] },
  ...{ publicService: "web", publicPort: 80, images: {}, stateDisk: false },
};
const RUNNING = { phase: "running" as const, detail: "", public: true, images: [] };
const NGINX = { service: "web", reference: "nginx", digest: `nginx@sha256:${"a".repeat(64)}` };

let bench: TestMachines;
let script: VmScript;
let payload: LaunchPayload;
let id: string;
let authority: Awaited<ReturnType<typeof openAuthority>>["authority"];
let nowMs: number;
let image: string;
const drivers: QemuDriver[] = [];
let changes: KeptChange[];

const act = (change: Partial<VmScript>) => {
  script = { ...script, ...change };
  const path = join(bench.options.folder, "script.json");
  // In one step: it is read with each question.
  writeFileSync(`${path}.new`, JSON.stringify(script));
  renameSync(`${path}.new`, path);
};
const seen = (): Record<string, string>[] =>
  readFileSync(join(bench.options.folder, "script.json.seen"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

function open(more: Partial<QemuOptions> = {}): QemuDriver {
  const program = join(bench.options.folder, "scripted");
  const driver = new QemuDriver({
    ...bench.options,
    ...{ program, isolation: "vm", imagesFolder: join(bench.options.folder, "images") },
    ...{
      registriesInside: ["127.0.0.1:4180"],
      firmware: null,
      confidential: null,
      lacking: () => null,
      lookMs: 50,
      uids: null,
    },
    ...{ shutdownMs: 5_000, now: () => nowMs },
    ...more,
  });
  driver.onChange((machineId, change) => machineId === id && changes.push(change));
  driver.certifyBy(async (machineId, request) => {
    expect(machineId).toBe(id);
    return certify(request);
  });
  drivers.push(driver);
  return driver;
}

const certify = async (request: Uint8Array) =>
  (await certifyRequest(authority, [DOMAIN], request, new Date(nowMs))).certificatePem;

const secretsFor = async (driver: QemuDriver, words: string) => {
  const { keys } = await driver.attested(id);
  const launchSha256 = createHash("sha256").update(manifestBytes(manifest)).digest();
  const to = { sealingKey: Buffer.from(keys.sealing, "base64"), launchSha256 };
  // Longer than one part.
  return sealBox("secrets", to, Buffer.from(JSON.stringify({ compose: words, pad: "x".repeat(300_000) })));
};

const hooksFor = (driver: QemuDriver, more: Partial<KeptStart> = {}): KeptStart => ({
  ...{ onRecord: async () => {}, onProgress: () => {}, onImage: () => {} },
  inside: { certify, secrets: () => secretsFor(driver, "services: {}") },
  signal: new AbortController().signal,
  ...more,
});

beforeEach(async () => {
  bench = openMachines();
  id = newMachineId();
  nowMs = Date.now();
  changes = [];
  const { folder } = bench.options;
  const source = new URL("../../testing/scripted-vm.ts", import.meta.url).pathname;
  const words = `"${process.execPath}" --disable-warning=ExperimentalWarning "${source}" "${folder}/script.json"`;
  writeFileSync(join(folder, "scripted"), `#!/bin/sh\nexec ${words} "$@"\n`, { mode: 0o755 });
  script = { status: [RUNNING], lines: [] };
  act({});
  const { sha256 } = await writeSpecimenImage(join(folder, "images"), "1.0.0", "one");
  image = listImages(join(folder, "images"))[0]!.folder;
  for (const name of FILE_NAMES) writeFileSync(join(image, name), "one");
  payload = {
    ...{ kind: "launch", image: sha256, registries: [] },
    manifest: Buffer.from(manifestBytes(manifest)).toString("base64"),
  };
  ({ authority } = await openAuthority(join(folder, "ca"), new Date(nowMs)));
});
afterEach(async () => {
  for (const driver of drivers.splice(0)) {
    await driver.reap(new Set());
    await driver.close();
  }
  await bench.close();
});

test("a start claims, certifies, hands over the box and waits until what is in it runs", async () => {
  const driver = open();
  act({
    status: [
      { ...RUNNING, phase: "pulling", detail: "pulling nginx" },
      { ...RUNNING, phase: "starting", images: [NGINX] },
      { ...RUNNING, images: [NGINX] },
    ],
  });
  const progress: string[] = [];
  const images: unknown[] = [];
  const { endpoint, record } = await driver.start(id, SPEC, payload, {
    ...hooksFor(driver),
    onProgress: (text) => void progress.push(text),
    onImage: (each) => void images.push(each),
  });
  expect(endpoint).toEqual({ host: "127.0.0.1", port: expect.any(Number), tlsInside: true });
  expect(progress).toEqual([
    ...["looking at the guest image", "starting the virtual machine", "booting"],
    ...["waiting for its secrets", "handing it its secrets", "pulling nginx", "starting", "running"],
  ]);
  expect(images).toEqual([NGINX]);
  expect(seen().find(({ compose }) => compose)).toEqual({ compose: "services: {}" });
  const socket = connect({ ...endpoint, servername: DOMAIN, ca: authority.caPem });
  await once(socket, "secureConnect");
  const spki = socket.getPeerX509Certificate()!.publicKey.export({ type: "spki", format: "der" });
  expect(spki.toString("base64")).toBe((await driver.attested(id)).keys.tls);
  socket.destroy();
  expect(await driver.containers(id)).toMatchObject([{ names: ["web"], state: "running" }]);
  expect(await driver.stats(id)).toMatchObject({ cpus: [{ name: "cpu0", usage: 12.5 }] });
  const nonce = randomBytes(32).toString("hex");
  const { evidence } = await driver.attested(id);
  expect(await evidence("report", nonce)).toMatchObject({ platform: "tpm" });
  // No secret of the box, nor the box, is on a disk of the driver's.
  expect(JSON.stringify(record)).not.toContain("services");
  await driver.remove(id, record);
  expect(bench.traces(id)).toEqual([]);
  await expect(driver.attested(id)).rejects.toMatchObject({ code: "machine.not-running" });
});

test("a machine whose memory is kept from the host is started with the words for that, and its launch in them", async () => {
  const confidential = (manifestSha256: Uint8Array) => ({
    guest: { kind: "snp" as const, cBitPosition: 51, reducedPhysBits: 1, manifestSha256 },
    ...{ firmware: "/firmware.fd", cpuModel: "EPYC-v4" },
  });
  const driver = open({ isolation: "vm-snp", confidential });
  await driver.start(id, { ...SPEC, isolation: "vm-snp" }, payload, hooksFor(driver));
  const words = bench.processes(id).map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0"));
  const said = words.find((all) => all.includes("-append"))!;
  const object = said.map((word) => (word.includes("sev-snp-guest") ? JSON.parse(word) : null)).find(Boolean);
  const launch = createHash("sha256").update(manifestBytes(manifest)).digest();
  expect(object).toMatchObject({
    "kernel-hashes": true,
    cbitpos: 51,
    "host-data": launch.toString("base64"),
  });
  expect(said[said.indexOf("-append") + 1]).toContain(`casemate.launch=${launch.toString("hex")}`);
  expect(said).toEqual(
    expect.arrayContaining(["-bios", "/firmware.fd", "EPYC-v4", "kvm", join(image, "initrd")]),
  );
  expect(said.join(" ")).not.toContain("tpm");
  await driver.remove(id, {});
});

test.each<[string, () => unknown, RegExp, string?]>([
  ["an image that is not here", () => ({ image: "0".repeat(64) }), /no guest image/, "machine.image-unknown"],
  [
    "an altered image",
    () => appendFileSync(join(image, "root.img"), "x"),
    /root\.img .* not as it was built/,
    "machine.image-unknown",
  ],
  ["an image with a file missing", () => rmSync(join(image, "initrd")), /initrd/, "machine.image-unknown"],
  ["a manifest that is none", () => ({ manifest: "e30x" }), /manifest cannot be read/],
  ["a door that nobody allowed", () => ({ registries: ["127.0.0.1:5432"] }), /opens no door to/],
  [
    "a guest that refuses its box",
    () => act({ refuse: { up: "the box is not for this key" } }),
    /the guest: the box/,
    "machine.guest-failed",
  ],
  [
    "what runs inside and failed",
    () => act({ status: [{ ...RUNNING, phase: "failed", detail: "no such image" }] }),
    /^no such image$/,
    "machine.guest-failed",
  ],
  [
    "what runs inside and ended",
    () => act({ status: [{ ...RUNNING, phase: "ended", detail: "exited with code 3" }] }),
    /code 3/,
    "machine.guest-failed",
  ],
  [
    "a guest that names images without end",
    () => {
      const images = Array.from({ length: 257 }, (_, at) => ({ ...NGINX, service: `s${at}` }));
      const status = { ...RUNNING, phase: "pulling" as const };
      act({
        status: [
          { ...status, images: images.slice(0, 200) },
          { ...status, images: images.slice(200) },
        ],
      });
    },
    /more images than any workload/,
  ],
  [
    "a guest that answers nonsense",
    () => act({ lie: { status: { phase: "happy" } } }),
    /answer to status is none/,
  ],
  [
    "a guest that says another claim",
    () => act({ lie: { claim: { claimId: "x", keys: { sealing: "", tls: "", request: null } } } }),
    /another claim/,
  ],
])(
  "a start with %s says so, and leaves nothing running",
  async (_what, spoil, words, code = "machine.start-failed") => {
    const driver = open();
    const changed = spoil();
    const started = driver.start(
      id,
      SPEC,
      { ...payload, ...(changed as Partial<LaunchPayload> | undefined) },
      hooksFor(driver),
    );
    await expect(started).rejects.toMatchObject({
      code,
      message: expect.stringMatching(words),
    });
    expect(bench.processes(id)).toEqual([]);
  },
);

test("a start with a compose document, or without who gives it secrets, is refused", async () => {
  const driver = open();
  const compose: ComposePayload = {
    kind: "compose",
    compose: "{}",
    env: {},
    files: {},
    registries: [],
    publicService: "a",
    publicPort: 1,
  };
  await expect(driver.start(id, SPEC, compose, hooksFor(driver))).rejects.toThrow(/launch manifest/);
  const { inside: _, ...without } = hooksFor(driver);
  await expect(driver.start(id, SPEC, payload, without)).rejects.toThrow(/who certifies/);
});

test("secrets that are refused, or no longer wanted, end the start; while it waits its evidence can be asked for", async () => {
  const driver = open();
  const refused = { certify, secrets: () => Promise.reject(Object.assign(new Error("not approved"))) };
  await expect(driver.start(id, SPEC, payload, hooksFor(driver, { inside: refused }))).rejects.toThrow(
    /not approved/,
  );
  const waiting = Promise.withResolvers<void>();
  const inside = {
    certify,
    secrets: () => {
      waiting.resolve();
      return new Promise<Uint8Array>(() => {});
    },
  };
  const end = new AbortController();
  const started = driver.start(id, SPEC, payload, hooksFor(driver, { inside, signal: end.signal }));
  const outcome = expect(started).rejects.toMatchObject({ code: "machine.start-failed" });
  await waiting.promise;
  expect((await driver.attested(id)).keys.sealing).toMatch(/=$/);
  end.abort(new Error("the wish changed"));
  await outcome;
  expect(bench.processes(id)).toEqual([]);
  const again = driver.start(id, SPEC, payload, hooksFor(driver, { inside }));
  const calledOff = expect(again).rejects.toThrow(/called off/);
  await expect
    .poll(() =>
      driver.attested(id).then(
        () => true,
        () => false,
      ),
    )
    .toBe(true);
  await driver.halt(id, null);
  await calledOff;
});

test("a machine that ends while its secrets are awaited ends the start", async () => {
  const driver = open();
  const inside = { certify, secrets: () => new Promise<Uint8Array>(() => {}) };
  const started = driver.start(id, SPEC, payload, hooksFor(driver, { inside }));
  const outcome = expect(started).rejects.toMatchObject({ code: "machine.start-failed" });
  await expect
    .poll(() =>
      driver.attested(id).then(
        () => true,
        () => false,
      ),
    )
    .toBe(true);
  for (const pid of bench.processes(id)) process.kill(pid, "SIGKILL");
  await outcome;
  expect(changes).toEqual([]);
});

test("what becomes of the public service is told", async () => {
  const driver = open();
  await driver.start(id, SPEC, payload, hooksFor(driver));
  act({ status: [{ ...RUNNING, public: false, detail: "web exited with code 1" }] });
  await expect.poll(() => changes).toEqual([{ state: "restarting", detail: "web exited with code 1" }]);
  act({ status: [RUNNING] });
  await expect.poll(() => changes).toHaveLength(2);
  expect(changes[1]).toMatchObject({ state: "running" });
  act({ status: [{ ...RUNNING, phase: "ended", detail: "web exited with code 0" }] });
  await expect.poll(() => changes).toHaveLength(3);
  expect(changes[2]).toEqual({ state: "halted", detail: "web exited with code 0" });
});

test("a QEMU that is killed, and an agent that says what none of ours says, are told once, and nothing of them is left running", async () => {
  const driver = open();
  await driver.start(id, SPEC, payload, hooksFor(driver));
  for (const pid of bench.processes(id)) process.kill(pid, "SIGKILL");
  await expect
    .poll(() => changes)
    .toEqual([{ state: "interrupted", detail: "its QEMU was ended from outside" }]);
  await driver.start(id, SPEC, payload, hooksFor(driver));
  act({ lie: { status: { phase: "happy" } } });
  await expect.poll(() => changes).toHaveLength(2);
  expect(changes[1]).toMatchObject({ state: "interrupted", detail: expect.stringMatching(/agent/) });
  expect(bench.processes(id)).toEqual([]);
});

test("the next host process finds it with its keys, and renews its certificate when two thirds of it are over", async () => {
  const first = open();
  const { endpoint, record } = await first.start(id, SPEC, payload, hooksFor(first));
  const { keys } = await first.attested(id);
  await first.close();
  const next = open();
  expect(await next.find(id, record)).toEqual({ state: "running", endpoint });
  expect((await next.attested(id)).keys).toEqual(keys);
  const certificates = () => seen().filter(({ certificate }) => certificate !== undefined).length;
  expect(certificates()).toBe(1);
  nowMs += 19 * DAY_MS;
  const looks = seen().length;
  await expect.poll(() => seen().length).toBeGreaterThan(looks + 4);
  expect(certificates()).toBe(1);
  nowMs += 2 * DAY_MS;
  await expect.poll(certificates).toBe(2);
  expect(await linesOf(next, id, null)).toContain("given another certificate");
  act({ status: [{ ...RUNNING, public: false, detail: "down" }] });
  await expect.poll(() => changes).toMatchObject([{ state: "restarting" }]);
});

test("a machine whose names changed is certified for them at once, also by the next host process", async () => {
  let names = [DOMAIN];
  const certifyNow = async (request: Uint8Array) =>
    (await certifyRequest(authority, names, request, new Date(nowMs))).certificatePem;
  const last = () => new X509Certificate(seen().findLast((each) => "certificate" in each)!.certificate!);
  const first = open();
  first.certifyBy((_id, request) => certifyNow(request));
  const inside = {
    certify: async (request: Uint8Array) => {
      const chain = await certifyNow(request);
      // While it is on its way.
      names = [DOMAIN, "a2.example.test"];
      first.certifyAnew(id);
      return chain;
    },
    secrets: () => secretsFor(first, "services: {}"),
  };
  await first.start(id, SPEC, payload, hooksFor(first, { inside }));
  await expect.poll(() => last().subjectAltName).toContain("a2.example.test");
  names = [DOMAIN, "b.example.test"];
  first.certifyAnew(id);
  await expect.poll(() => last().subjectAltName).toContain("b.example.test");
  await expect.poll(() => linesOf(first, id, null)).toContain("given another certificate");
  const count = () => seen().filter((each) => "certificate" in each).length;
  // Once.
  const before = count();
  const looks = seen().length;
  await expect.poll(() => seen().length).toBeGreaterThan(looks + 3);
  expect(count()).toBe(before);
  names = [DOMAIN];
  await first.close();
  // It was told, and ended before its next look.
  const note = join(bench.options.folder, "launches/machines", `${id}.json`);
  expect(JSON.parse(readFileSync(note, "utf8")).renewAtMs).toBeGreaterThan(nowMs);
  first.certifyAnew(id);
  const next = open();
  next.certifyBy((_id, request) => certifyNow(request));
  await next.find(id, {});
  await expect.poll(() => last().subjectAltName).not.toContain("b.example.test");
});

test.each<[string, () => void]>([
  ["waited for its secrets", () => {}],
  ["does not answer", () => act({ mute: ["claim"] })],
  [
    "was claimed by nobody we know",
    () => rmSync(join(bench.options.folder, "launches"), { recursive: true }),
  ],
])("a machine that %s when it is found is ended", async (what, spoil) => {
  const first = open();
  const inside = { certify, secrets: () => new Promise<Uint8Array>(() => {}) };
  if (what === "waited for its secrets") {
    first.start(id, SPEC, payload, hooksFor(first, { inside })).catch(() => {});
    await expect
      .poll(() =>
        first.attested(id).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
  } else await first.start(id, SPEC, payload, hooksFor(first));
  // As after a kill: nothing of the first is left but what runs.
  spoil();
  const next = open({ answerMs: 3_000 });
  // Closed, a start that waits would end its machine itself; a killed process does not.
  if (what !== "waited for its secrets") await first.close();
  expect(await next.find(id, {})).toEqual({ state: "halted", endpoint: null });
  expect(bench.processes(id)).toEqual([]);
});

test("lines of a container are read to their end, from the front and the back, and followed", async () => {
  const driver = open();
  const lines = Array.from({ length: 2_500 }, (_, at) => `line ${at}`);
  act({ lines });
  await driver.start(id, SPEC, payload, hooksFor(driver));
  const read = (more: object) => linesOf(driver, id, "web", { linesMax: 5_000, ...more });
  expect(await read({ tail: false })).toEqual(lines);
  expect(await read({ tail: false, linesMax: 1_200 })).toEqual(lines.slice(0, 1_200));
  expect(await read({ tail: true, linesMax: 7 })).toEqual(lines.slice(-7));
  await expect(linesOf(driver, id, "other")).rejects.toMatchObject({ code: "machine.no-container" });
  const end = new AbortController();
  const followed: string[] = [];
  const reading = (async () => {
    const ask = { stream: "both", tail: true, linesMax: 1, follow: true, timestamps: false } as const;
    for await (const line of driver.logs(id, { ...ask, container: "web", signal: end.signal }))
      followed.push(line);
  })();
  await expect.poll(() => followed).toEqual(["line 2499"]);
  act({ lines: [...lines, "one more"] });
  await expect.poll(() => followed).toEqual(["line 2499", "one more"]);
  end.abort();
  await reading;
  expect(await linesOf(driver, id, null)).toEqual(expect.arrayContaining(["starting", "claimed", "running"]));
  expect(await linesOf(driver, id, "console")).toEqual(["scripted guest is up"]);
});

test("many readers at once keep nobody from looking at the machine, and it runs on", async () => {
  const driver = open();
  act({ lines: ["one"], slowMs: { logs: 50 } });
  await driver.start(id, SPEC, payload, hooksFor(driver));
  const asked = Array.from({ length: 80 }, () => linesOf(driver, id, "web"));
  const looks = seen().filter(({ op }) => op === "status").length;
  const read = await Promise.allSettled(asked);
  const refused = read.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
  expect(read.length - refused.length).toBeGreaterThanOrEqual(34);
  expect(refused.length).toBeGreaterThan(0);
  for (const each of refused) expect(each).toMatchObject({ code: "host.too-many-streams" });
  expect(seen().filter(({ op }) => op === "status").length).toBeGreaterThan(looks);
  expect(changes).toEqual([]);
  expect(await linesOf(driver, id, "web")).toEqual(["one"]);
});

test("a look at the machine for which there is no room is left out, and is no silence of its guest's", async () => {
  const driver = open();
  await driver.start(id, SPEC, payload, hooksFor(driver));
  const { evidence } = await driver.attested(id, { ofStart: true });
  act({ slowMs: { evidence: 20 } });
  const nonce = randomBytes(32).toString("hex");
  const enough = AbortSignal.timeout(500);
  let refused = 0;
  const ask = async () => {
    while (!enough.aborted)
      await evidence("report", nonce).catch(async () => {
        refused += 1;
        await new Promise((resolve) => setTimeout(resolve, 1));
      });
  };
  await Promise.all(Array.from({ length: 80 }, ask));
  expect(refused).toBeGreaterThan(16);
  act({ status: [{ ...RUNNING, public: false, detail: "down" }] });
  await expect.poll(() => changes).toEqual([{ state: "restarting", detail: "down" }]);
});

test("a start is not failed by what others ask of its guest meanwhile", async () => {
  const driver = open();
  const pulling = Array.from({ length: 5 }, () => ({ ...RUNNING, phase: "pulling" as const }));
  act({ status: [...pulling, RUNNING], slowMs: { evidence: 20 } });
  const nonce = randomBytes(32).toString("hex");
  let over = false;
  let refused = 0;
  const flood = async () => {
    const { evidence } = await driver.attested(id);
    while (!over)
      await evidence("report", nonce).catch(async () => {
        refused += 1;
        await new Promise((resolve) => setTimeout(resolve, 100));
      });
  };
  let flooded: Promise<unknown> = Promise.resolve();
  const secrets = async () => {
    const box = await secretsFor(driver, "services: {}");
    flooded = Promise.all(Array.from({ length: 80 }, flood));
    await expect.poll(() => refused).toBeGreaterThan(16);
    return box;
  };
  try {
    const started = driver.start(id, SPEC, payload, hooksFor(driver, { inside: { certify, secrets } }));
    expect(await started).toMatchObject({ endpoint: { tlsInside: true } });
  } finally {
    over = true;
    await flooded;
  }
});

test("the image of a machine is known as used from its boot until it is removed, and one that cannot be read is no none", async () => {
  const all = bench.options.folder;
  const driver = open({ folder: join(all, "v") });
  expect(imagesOfMachines(all)).toEqual(new Set());
  await driver.start(id, SPEC, payload, hooksFor(driver));
  await driver.halt(id, null);
  expect(imagesOfMachines(all)).toEqual(new Set([payload.image]));
  const note = join(all, "v/launches/machines", `${id}.json`);
  const text = readFileSync(note, "utf8");
  writeFileSync(note, "{");
  expect(() => imagesOfMachines(all)).toThrow(/cannot be read/);
  writeFileSync(note, text);
  await driver.remove(id, null);
  expect(imagesOfMachines(all)).toEqual(new Set());
});

test("however many ask for a machine's evidence, its start asks at once and the host looks on", async () => {
  const driver = open();
  await driver.start(id, SPEC, payload, hooksFor(driver));
  const looks = () => seen().filter(({ op }) => op === "status").length;
  const before = looks();
  act({ slowMs: { evidence: 20 } });
  const nonce = randomBytes(32).toString("hex");
  const outside = await driver.attested(id);
  const own = await driver.attested(id, { ofStart: true });
  let over = false;
  const refusals: unknown[] = [];
  let answered = 0;
  const flood = Array.from({ length: 80 }, async () => {
    while (!over)
      await outside.evidence("report", nonce).then(
        () => (answered += 1),
        async (error: unknown) => {
          refusals.push(error);
          await new Promise((resolve) => setTimeout(resolve, 5));
        },
      );
  });
  try {
    await expect.poll(() => answered).toBeGreaterThan(0);
    for (let time = 0; time < 10; time++) expect((await own.evidence("seal", nonce)).platform).toBe("tpm");
    await expect.poll(looks, { timeout: 20_000 }).toBeGreaterThan(before + 2);
  } finally {
    over = true;
    await Promise.all(flood);
  }
  expect(refusals.length).toBeGreaterThan(0);
  for (const each of refusals) expect(each).toMatchObject({ code: "host.too-many-streams" });
  expect(changes).toEqual([]);
});

test("what is missing is said, and nothing is claimed to be ready before", async () => {
  expect(await open({ lacking: () => "still looking" }).probe()).toEqual({
    ready: false,
    missing: "still looking",
  });
  expect(await open({ isolation: "vm-vtpm" }).probe()).toMatchObject({
    ready: false,
    missing: expect.stringMatching(/firmware/),
  });
  expect(await open({ imagesFolder: "/nowhere" }).probe()).toMatchObject({
    ready: false,
    missing: expect.stringMatching(/guest image/),
  });
  expect(await open().probe()).toEqual({
    ...{ ready: true, accelerator: "tcg" },
    missing: expect.stringMatching(/networks of their own/),
  });
});
