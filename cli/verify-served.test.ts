// SPDX-License-Identifier: Apache-2.0
/** A machine that is asked over TLS, and everything that a host could show in its place. */
import { createHash, generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type LaunchManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import { launchDigest } from "#evidence/snp/launch.ts";
import { makeAuthority } from "#evidence/snp/specimen.ts";
import { ECDSA_SHA256, issuing, signCertificate, spkiOf } from "#evidence/x509/specimen.ts";
import { commandLine, metadataText } from "#images/metadata.ts";
import { printedBy } from "#testing/printed.ts";
import { describeWith } from "#testing/requirements.ts";
import {
  bootSpecimenGuest,
  SpecimenAuthority,
  type SpecimenBoot,
  type SpecimenGuest,
} from "#testing/specimen-guest.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { snpFolder, snpVectors } from "#testing/vectors.ts";
import { verifyEvidenceCommand } from "./verify-evidence.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-served-"));
const path = (name: string) => join(folder, name);
const servers: Server[] = [];
const authority = new SpecimenAuthority();
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const COMPOSE = "services: { api: { image: caddy:2 } }\n";
const MANIFEST: LaunchManifest = {
  ...{ v: 1, compose: sha256(COMPOSE), files: { "a.txt": sha256("hi") }, domains: ["w.localhost"] },
  ...{ publicService: "api", publicPort: 80, images: {}, stateDisk: false },
};
let image: Awaited<ReturnType<typeof writeSpecimenImage>>;

beforeAll(async () => {
  image = await writeSpecimenImage(path("images"), "0.1.0");
  writeFileSync(path("image.json"), metadataText(image.metadata));
  const other = await writeSpecimenImage(path("others"), "0.1.0", "another");
  writeFileSync(path("other.json"), metadataText(other.metadata));
  writeFileSync(path("compose.yaml"), COMPOSE);
  writeFileSync(path("changed.yaml"), `${COMPOSE}# changed\n`);
  writeFileSync(path("a.txt"), "hi");
  writeFileSync(path("root.der"), authority.root);
  writeFileSync(path("stranger.der"), new SpecimenAuthority().root);
});
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Serving {
  /** Whose certificate is shown, when it is not the guest's. */
  tlsKey?: KeyObject;
  /** What a host makes of the guest's answer. */
  altered?: (answer: Record<string, unknown>) => Record<string, unknown>;
  nonce?: string;
}

async function serve(
  guest: SpecimenGuest,
  { tlsKey = guest.tlsKey, altered = (same) => same, nonce }: Serving = {},
) {
  const certificate = signCertificate(
    {
      ...{ serial: 1, issuer: "anyone", subject: "w.localhost", spki: spkiOf(tlsKey) },
      ...{ notBefore: "20200101000000Z", notAfter: "20990101000000Z", extensions: [issuing(false)] },
      ...{ algorithm: ECDSA_SHA256, outerAlgorithm: ECDSA_SHA256 },
    },
    tlsKey,
  );
  const pem = `-----BEGIN CERTIFICATE-----\n${Buffer.from(certificate).toString("base64")}\n-----END CERTIFICATE-----\n`;
  const key = tlsKey.export({ format: "pem", type: "pkcs8" });
  const server = createServer({ cert: pem, key }, async (request, response) => {
    const url = new URL(request.url!, "https://x");
    let body = "";
    for await (const part of request) body += part;
    const answer = async () => {
      if (url.pathname.endsWith("/activate")) {
        const { credential, secret } = JSON.parse(body);
        return { secret: await guest.machine.activate(credential, secret) };
      }
      const asked = await guest.machine.evidence("report", nonce ?? url.searchParams.get("nonce")!);
      const { sealing } = guest.machine.keys;
      const manifest = Buffer.from(manifestBytes(MANIFEST)).toString("base64");
      return altered({
        ...{ platform: "tpm", hardware: false, evidence: asked.bundle, report_data: asked.reportData },
        ...{ sealing_key: sealing, manifest, report: null, raw_report: null },
      });
    };
    response.end(JSON.stringify(await answer()));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `https://w.localhost:${(server.address() as AddressInfo).port}`;
}

const boot = (more: Partial<Pick<SpecimenBoot, "appended" | "withoutTpm" | "tdx">> = {}) =>
  bootSpecimenGuest({ image: image.metadata, manifest: manifestBytes(MANIFEST), authority, ...more });
const verify = async (url: string, ...more: string[]) => {
  const argv = [url, "--image", path("image.json"), "--roots", path("root.der"), ...more, "--json"];
  const { code, out, err } = await printedBy((printer) =>
    verifyEvidenceCommand(argv, { ...printer, nowMs: Date.now }),
  );
  const failed = code > 1 ? err : JSON.parse(out).steps.filter(({ ok }: { ok: boolean }) => !ok);
  return { code, failed: code > 1 ? failed : failed.map(({ name }: { name: string }) => name) };
};

it("a machine that runs my image and my compose file is accepted", async () => {
  const url = await serve(await boot());
  const own = ["--compose", path("compose.yaml"), "--file", `a.txt=${path("a.txt")}`];
  expect(await verify(url, ...own)).toEqual({ code: 0, failed: [] });
});

it.each([
  ["words after the command line", { appended: " x=y" }, {}, [], ["pcr9", "pcr12"]],
  ["a key that no TPM holds", { withoutTpm: true }, {}, [], ["key-known"]],
  ["an answer from before", {}, { nonce: "00".repeat(32) }, [], ["fresh"]],
  ["another's compose file", {}, {}, ["--compose", "changed.yaml"], ["compose"]],
  ["files that are not all mine", {}, {}, ["--file", "b.txt=a.txt"], ["files"]],
  ["another image", {}, {}, ["--image", "other.json"], ["pcr4", "pcr9", "pcr11", "pcr12"]],
  ["a TPM of another's", {}, {}, ["--roots", "stranger.der"], ["endorsement"]],
] as [string, object, Serving, string[], string[]][])(
  "%s is refused at just that",
  async (_, booted, serving, more, steps) => {
    const url = await serve(await boot(booted), serving);
    const argv = more.map((word) =>
      word.startsWith("-") ? word : word.replace(/[^=]+$/, (name) => path(name)),
    );
    expect(await verify(url, ...argv)).toEqual({ code: 1, failed: steps });
  },
);

const OF_GUEST =
  /^(tls|fresh|manifest|compose|mr|rtmr|report-data|pcr|key-known|measurement|host-data|signature|tcb-floor)/;
/** Steps that are about the guest: its quote stands under a root that is not Intel's, so it is refused for that in any case. */
const ofGuest = ({ code, failed }: { code: number; failed: string[] }) => ({
  ...{ code, failed: failed.filter((step) => OF_GUEST.test(step)) },
});

it("a machine on TDX is held to my image, and to a firmware that I name beside it", async () => {
  const [mrTd, first] = ["0a".repeat(48), "0b".repeat(48)];
  const tdx = { 136: mrTd, 328: first };
  const policy = (name: string, value: object) => {
    writeFileSync(path(name), JSON.stringify(value));
    return ["--policy", path(name)];
  };
  const mine = policy("tdx.yaml", {
    tdx: { mrTds: [mrTd], rtmrs: { 0: [first], 1: "any", 2: "any", 3: "any" } },
  });
  const own = ["--compose", path("compose.yaml")];
  const url = await serve(await boot({ tdx }));
  expect(ofGuest(await verify(url, ...mine, ...own))).toEqual({ code: 1, failed: [] });
  expect(await verify(url, ...mine)).toMatchObject({ failed: expect.arrayContaining(["root"]) });
  const appended = await serve(await boot({ tdx, appended: " init=/bin/sh" }));
  expect(ofGuest(await verify(appended, ...mine))).toEqual({ code: 1, failed: ["rtmr2"] });
  expect(ofGuest(await verify(url, ...mine, "--image", path("other.json")))).toEqual({
    ...{ code: 1, failed: ["rtmr1", "rtmr2"] },
  });
  const another = policy("firmware.yaml", { tdx: { mrTds: [first], rtmrs: { 0: "any" } } });
  expect(ofGuest(await verify(url, ...another))).toEqual({ code: 1, failed: ["mrtd", "rtmr0"] });
});

describeWith([snpVectors], "a machine on SEV-SNP", () => {
  const file = join(snpFolder, "sev-snp-measure/ovmf_AmdSev_suffix.bin");
  const amd = makeAuthority("Milan");
  const leaf = amd.issueLeaf();
  const launch = createHash("sha256").update(manifestBytes(MANIFEST)).digest();
  const measured = async (line: string) =>
    launchDigest({
      ...{ firmware: new Uint8Array(readFileSync(file)), processors: 2, signature: 0x800f12, features: 1n },
      boot: {
        kernelSha256: image.metadata.files.kernel.sha256,
        initrdSha256: image.metadata.files.initrd.sha256,
        commandLine: line,
      },
    });
  const serveSnp = async (appended = "") => {
    const line = commandLine(image.metadata, launch.toString("hex")) + appended;
    const measurement = [...(await measured(line))];
    const altered = (answer: Record<string, unknown>) => {
      const set = {
        80: [...Buffer.from(answer.report_data as string, "hex")],
        144: measurement,
        192: [...launch],
      };
      const evidence = {
        v: 1,
        platform: "sev-snp",
        report: base64(leaf.report({ set })),
        leaf: base64(leaf.der),
      };
      return { ...answer, evidence: { ...evidence, chain: [base64(amd.intermediate), base64(amd.root)] } };
    };
    return serve(await boot(), { altered });
  };
  const floors = (more: object = {}) => {
    const tcbFloors = { Milan: { bootloader: 3, tee: 0, snp: 8, microcode: 115 } };
    const name = path(`snp-${Object.keys(more).length}.yaml`);
    writeFileSync(name, JSON.stringify({ snp: { tcbFloors, crlRequired: false, ...more } }));
    return ["--policy", name, "--firmware", file];
  };

  it("is held to my image and to how it is started, and to no file of a kernel", async () => {
    const url = await serveSnp();
    const { code, failed } = await verify(url, ...floors(), "--cpus", "2");
    expect([code, failed]).toEqual([1, expect.arrayContaining(["root", "chain"])]);
    expect(failed.filter((step: string) => OF_GUEST.test(step))).toEqual([]);
    for (const other of [
      ["--cpus", "1"],
      ["--cpus", "2", "--cpu-model", "EPYC-Milan"],
      ["--cpus", "2", "--image", path("other.json")],
    ])
      expect([other, ofGuest(await verify(url, ...floors(), ...other)).failed]).toEqual([
        other,
        ["measurement"],
      ]);
    const appended = await serveSnp(" init=/bin/sh");
    expect(ofGuest(await verify(appended, ...floors(), "--cpus", "2")).failed).toEqual(["measurement"]);
  });

  it("is not asked about with less than that, or with a measurement that is not the image's", async () => {
    const url = await serveSnp();
    for (const [argv, why] of [
      [floors(), "--cpus"],
      [[...floors(), "--cpus", "0"], "--cpus"],
      [[...floors(), "--cpus", "2", "--cpu-model", "386"], "EPYC-Genoa"],
      [[...floors({ measurements: ["00".repeat(48)] }), "--cpus", "2"], "without measurements"],
      [["--firmware", file], "part snp"],
      [[...floors(), "--cpus", "2", "--firmware", path("a.txt")], "cannot be measured"],
    ] as const)
      expect(await verify(url, ...argv)).toMatchObject({ code: 2, failed: expect.stringContaining(why) });
  });
});

it("a host that shows a TPM where I named a firmware of TDX is refused, however good its evidence", async () => {
  writeFileSync(path("only.yaml"), JSON.stringify({ tdx: { mrTds: ["0a".repeat(48)] } }));
  const url = await serve(await boot());
  expect((await verify(url)).code).toBe(0);
  expect((await verify(url, "--policy", path("only.yaml"))).code).toBe(3);
});

it("beside an image a policy may say nothing that the image says", async () => {
  writeFileSync(path("both.yaml"), JSON.stringify({ tdx: {}, tpm: {} }));
  const url = await serve(await boot());
  expect(await verify(url, "--policy", path("both.yaml"))).toMatchObject({
    ...{ code: 2, failed: expect.stringContaining("snp and tdx alone") },
  });
});

it("a host that ends TLS with a key of its own is refused at the key", async () => {
  const tlsKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  expect(await verify(await serve(await boot(), { tlsKey }))).toEqual({ code: 1, failed: ["tls-key"] });
  // And one that writes its own key into the answer: the quote was for the guest's.
  const altered = (answer: Record<string, unknown>) => {
    const own = createHash("sha256").update(spkiOf(tlsKey)).digest("hex");
    const data = answer.report_data as string;
    return { ...answer, report_data: data.slice(0, 2) + own + data.slice(66) };
  };
  expect(await verify(await serve(await boot(), { tlsKey, altered }))).toEqual({
    code: 1,
    failed: ["nonce"],
  });
});

it("a manifest that was not measured is refused by the registers, and none at all by name", async () => {
  const manifest = Buffer.from(manifestBytes({ ...MANIFEST, publicPort: 81 })).toString("base64");
  expect(await verify(await serve(await boot(), { altered: (answer) => ({ ...answer, manifest }) }))).toEqual(
    {
      ...{ code: 1, failed: ["pcr9", "pcr12"] },
    },
  );
  for (const manifest of [undefined, 7, "", "e30=", "%"]) {
    const { code, failed } = await verify(
      await serve(await boot(), { altered: (answer) => ({ ...answer, manifest }) }),
    );
    expect([code, failed]).toEqual([1, expect.arrayContaining(["manifest"])]);
  }
});

it.each([
  null,
  [],
  7,
  {},
  { evidence: 7 },
  { report_data: "00" },
  { evidence: {}, report_data: "00".repeat(64) },
])("an answer that is none (%j) is refused with a document", async (answer) => {
  const url = await serve(await boot(), { altered: () => answer as never });
  expect((await verify(url)).code).toBe(1);
});

it("what cannot be asked is a usage fault that says why", async () => {
  expect(await verify("https://w.localhost:1")).toMatchObject({
    code: 2,
    failed: expect.stringContaining("ECONNREFUSED"),
  });
  const { code } = await printedBy((printer) =>
    verifyEvidenceCommand(["x.json", "--image", "y"], { ...printer, nowMs: Date.now }),
  );
  expect(code).toBe(2);
});
