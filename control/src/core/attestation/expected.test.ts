// SPDX-License-Identifier: Apache-2.0
/** What is expected of machines by their kind; what the operator did not say is expected of nobody. */
import { hash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hexOf } from "#evidence/bytes.ts";
import { parsePolicyFile } from "#evidence/policy/file.ts";
import { tdxDemandsOf } from "#evidence/policy/tdx.ts";
import { launchDigest } from "#evidence/snp/launch.ts";
import { expectedRtmrs } from "#evidence/tdx/expected.ts";
import { makeIntel, SPECIMEN_MS } from "#evidence/tdx/specimen.ts";
import { verifyTdx } from "#evidence/tdx/verify.ts";
import { commandLine } from "#images/metadata.ts";
import { describeWith } from "#testing/requirements.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { snpFolder, snpVectors } from "#testing/vectors.ts";
import { openExpectations } from "./expected.ts";
import type { GuestImage } from "./guest-images.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-expected-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const LAUNCH = "ab".repeat(32);
let image: GuestImage;
beforeAll(async () => {
  const { metadata, sha256 } = await writeSpecimenImage(folder, "0.1.0");
  // Of an image's files only what its metadata say counts: others may lie in their place.
  for (const name of ["kernel", "initrd"] as const)
    metadata.files[name] = { ...metadata.files[name], sha256: hash("sha256", `the ${name}`) };
  image = { metadata, sha256, text: () => "" };
});
const ask = (isolation: string) => ({ ...{ image, launchSha256: LAUNCH, chains: [], isolation, cpus: 2 } });
const policyFile = (value: object) => {
  const path = join(folder, `${Math.random()}.yaml`);
  writeFileSync(path, JSON.stringify(value));
  return path;
};
const SNP = { crlRequired: false, tcbFloors: { Milan: { bootloader: 3, tee: 0, snp: 8, microcode: 115 } } };

it.each(["vm-snp", "vm-tdx"])(
  "of %s nothing is accepted where the operator said nothing of it",
  async (isolation) => {
    const { policy } = await openExpectations({ policyFile: null, snp: null })(ask(isolation));
    expect(policy).toEqual({});
    const other = openExpectations({
      policyFile: policyFile(isolation === "vm-tdx" ? { snp: SNP } : { tdx: {} }),
      snp: null,
    });
    expect((await other(ask(isolation))).policy).toEqual({});
  },
);

it("of a machine with a TPM the registers are expected, and of one that is measured by nobody else's hardware no more", async () => {
  const { policy } = await openExpectations({ policyFile: null, snp: null })(ask("vm-vtpm"));
  expect(policy).toEqual({ tpm: { pcrs: expect.any(Object), endorsementRoots: [] } });
});

describe("of TDX", () => {
  const intel = makeIntel();
  const other = (byte: number) => Buffer.alloc(48, byte).toString("hex");
  /** What an operator says: which firmware, and what it makes of this host's tables. The rest is not theirs to say. */
  const SAID = { mrTds: [other(1)], rtmrs: { 0: [other(10)], 1: "any", 2: "any", 3: [other(13)] } };
  const policyOf = async (said: object, of: GuestImage = image) =>
    (
      await openExpectations({ policyFile: policyFile({ tdx: said }), snp: null })({
        ...ask("vm-tdx"),
        image: of,
      })
    ).policy as { tdx: { rtmrs: Record<string, string[]>; mrConfigIds: string[] } };
  const judge = async (policy: object, change: Partial<Record<number, string>> = {}) => {
    const reading = parsePolicyFile(policy);
    if (!reading.ok) throw new Error(reading.faults.join());
    const {
      1: first,
      2: second,
      3: third,
    } = (await expectedRtmrs(image.metadata.boot, commandLine(image.metadata, LAUNCH)))!;
    const honest = { 136: other(1), 328: other(10), 376: first, 424: second, 472: third };
    const body = { ...honest, 184: LAUNCH + "00".repeat(16), ...change };
    const one = intel({
      quote: {
        body: Object.fromEntries(Object.entries(body).map(([at, hex]) => [at, [...Buffer.from(hex, "hex")]])),
      },
    });
    const demands = tdxDemandsOf(reading.policy.tdx);
    const { steps, accepted } = await verifyTdx(one, {
      ...{ atMs: SPECIMEN_MS, demands, rootKeys: one.rootKeys },
    });
    const failing = steps.filter(({ ok }) => !ok).map(({ name }) => name);
    expect(accepted).toBe(failing.length === 0);
    return failing;
  };

  it("an honest machine is accepted, by the operator's firmware and by registers that are none of the operator's words", async () => {
    const policy = await policyOf(SAID);
    expect(policy.tdx).toMatchObject({ mrTds: SAID.mrTds, mrConfigIds: [LAUNCH + "00".repeat(16)] });
    expect(Object.keys(policy.tdx.rtmrs)).toEqual(["0", "1", "2", "3"]);
    expect(policy.tdx.rtmrs[3]).toEqual(["00".repeat(48)]);
    expect(await judge(policy)).toEqual([]);
  });

  it.each([
    ["mrtd", 136],
    ["rtmr0", 328],
    ["rtmr1", 376],
    ["rtmr2", 424],
    ["rtmr3", 472],
    ["mrconfigid", 184],
  ])("a machine that differs in %s is refused at that step", async (step, at) => {
    expect(await judge(await policyOf(SAID), { [at]: other(99) })).toEqual([step]);
  });

  it("a host that says this launch in MRCONFIGID beside another line is refused: what it writes proves nothing", async () => {
    const line = `${commandLine(image.metadata, LAUNCH)} init=/bin/sh`;
    const { 2: second } = (await expectedRtmrs(image.metadata.boot, line))!;
    expect(await judge(await policyOf(SAID), { 424: second })).toEqual(["rtmr2"]);
  });

  it("what the operator says of a state of the TCB counts", async () => {
    const policy = await policyOf({ ...SAID, tcbEvaluationMin: 19 });
    expect(await judge(policy)).toEqual(["tcb-evaluation"]);
  });

  it.each<[string, object, string[]]>([
    ["no firmware", { rtmrs: SAID.rtmrs }, ["mrtd"]],
    ["nothing of register 0", { mrTds: SAID.mrTds }, ["rtmr0"]],
    ["any of register 0", { ...SAID, rtmrs: { ...SAID.rtmrs, 0: "any" } }, ["rtmr0"]],
  ])("an operator who says %s gets nothing accepted, and told where", async (_name, said, steps) => {
    expect(await judge(await policyOf(said))).toEqual(steps);
  });

  it("an image from before its hashes of SHA-384 were kept is not accepted, and works as it did otherwise", async () => {
    const { uki, kernelAuthenticodeSha384: _, ...rest } = image.metadata.boot;
    const sections = uki.sections.map(({ name, sha256 }) => ({ name, sha256 }));
    const boot = { ...rest, uki: { authenticodeSha256: uki.authenticodeSha256, sections } };
    const older: GuestImage = { ...image, metadata: { ...image.metadata, boot } };
    expect(await judge(await policyOf(SAID, older))).toEqual(["rtmr1", "rtmr2", "rtmr3"]);
    const open = openExpectations({ policyFile: null, snp: null });
    expect((await open({ ...ask("vm-vtpm"), image: older })).policy).toEqual(
      (await open(ask("vm-vtpm"))).policy,
    );
  });
});

describeWith([snpVectors], "of SEV-SNP", () => {
  it("the measurement is that of firmware, image, line and processors, and the launch's hash is the host's data", async () => {
    const firmwareFile = join(snpFolder, "sev-snp-measure/ovmf_AmdSev_suffix.bin");
    const open = openExpectations({
      policyFile: policyFile({ snp: SNP }),
      snp: { firmwareFile, cpuModel: "EPYC-v4" },
    });
    const { policy } = await open(ask("vm-snp"));
    const measurement = await launchDigest({
      ...{
        firmware: new Uint8Array(readFileSync(firmwareFile)),
        processors: 2,
        signature: 0x800f12,
        features: 1n,
      },
      boot: {
        ...{ kernel: Buffer.from("the kernel"), initrd: Buffer.from("the initrd") },
        commandLine: commandLine(image.metadata, LAUNCH),
      },
    });
    expect(policy).toEqual({ snp: { ...SNP, measurements: [hexOf(measurement)], hostData: [LAUNCH] } });
    expect(parsePolicyFile(policy)).toMatchObject({ ok: true });
    const another = (await open({ ...ask("vm-snp"), cpus: 1 })).policy as { snp: { measurements: string[] } };
    expect(another.snp.measurements).not.toEqual([hexOf(measurement)]);
  });

  it("a processor that nobody knows, and a policy that is none, stop the start", () => {
    const firmwareFile = join(snpFolder, "sev-snp-measure/ovmf_AmdSev_suffix.bin");
    expect(() => openExpectations({ policyFile: null, snp: { firmwareFile, cpuModel: "EPYC-v99" } })).toThrow(
      /EPYC-v99/,
    );
    expect(() =>
      openExpectations({ policyFile: policyFile({ snp: { measurement: [] } }), snp: null }),
    ).toThrow(/not known/);
  });
});
