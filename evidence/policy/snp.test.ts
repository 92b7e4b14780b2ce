// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hexOf } from "#evidence/bytes.ts";
import { makeAuthority, type ReportChange, SPECIMEN_MS } from "#evidence/snp/specimen.ts";
import { verifySnp } from "#evidence/snp/verify.ts";
import { certificatesOf } from "#evidence/x509/files.ts";
import { demandsOf, type Expectation, parseSnpPolicy } from "./snp.ts";

const milan = makeAuthority("Milan");
const vlek = makeAuthority("Milan", "VLEK");
const turin = makeAuthority("Turin");

const MEASUREMENT = Array.from({ length: 48 }, (_, index) => index + 1);
const measured: ReportChange = { set: { 144: MEASUREMENT } };
const FLOOR = { bootloader: 3, tee: 0, snp: 8, microcode: 115 };
const BASE = {
  measurements: [hexOf(Uint8Array.from(MEASUREMENT)).toUpperCase()],
  tcbFloors: { Milan: FLOOR },
};

interface Ask {
  authority?: typeof milan;
  policy?: Record<string, unknown>;
  report?: ReportChange;
  crl?: boolean;
  expected?: Expectation;
}

async function failing({ authority = milan, policy = {}, report = measured, crl = true, expected }: Ask) {
  const reading = parseSnpPolicy({ ...BASE, ...policy });
  if (!reading.ok) throw new Error(reading.faults.join());
  const leafs = authority.issueLeaf();
  const { steps, accepted, unasked } = await verifySnp(
    {
      report: leafs.report(report),
      leaf: leafs.der,
      chain: [authority.intermediate, authority.root],
      crls: crl ? [authority.signCrl()] : [],
    },
    { atMs: SPECIMEN_MS, demands: demandsOf(reading.policy, expected), roots: authority.roots },
  );
  expect(accepted).toBe(steps.every(({ ok }) => ok));
  expect(unasked.map(({ name }) => name)).not.toContain("measurement");
  return steps.filter(({ ok }) => !ok).map(({ name }) => name);
}

const with_ = (at: number, ...bytes: number[]): ReportChange => ({ set: { ...measured.set, [at]: bytes } });
const hex = (byte: number, length: number) => byte.toString(16).padStart(2, "0").repeat(length);

test("a report that has what the policy names is accepted", async () => {
  expect(await failing({})).toEqual([]);
});

describe("a reference value that is missing accepts nothing", () => {
  test("no measurement", async () => {
    expect(await failing({ policy: { measurements: undefined } })).toEqual(["measurement"]);
  });
  test("no floor for the report's line", async () => {
    expect(await failing({ policy: { tcbFloors: undefined } })).toEqual(["tcb-floor"]);
    expect(await failing({ authority: turin })).toEqual(["tcb-floor"]);
  });
  test("no revocation list, unless the policy does without", async () => {
    expect(await failing({ crl: false })).toEqual(["revocation"]);
    expect(await failing({ crl: false, policy: { crlRequired: false } })).toEqual([]);
  });
  test("an empty policy refuses for each of them", async () => {
    const policy = { measurements: undefined, tcbFloors: undefined };
    expect(await failing({ policy, crl: false })).toEqual(["revocation", "measurement", "tcb-floor"]);
  });
});

describe("a report that differs is refused by the step that looks for it", () => {
  const author = { authorKeyDigests: [hex(7, 48)] };
  const digest = Array(48).fill(7);
  test.each<[string, Ask, string[]]>([
    ["another measurement", { report: {} }, ["measurement"]],
    ["a floor above one part", { policy: { tcbFloors: { Milan: { ...FLOOR, snp: 9 } } } }, ["tcb-floor"]],
    ["an older TCB at launch", { report: with_(0x1f7, 114) }, ["tcb-floor"]],
    ["a TCB at launch that cannot be read", { report: with_(0x1f2, 1) }, ["tcb-floor"]],
    ["a lesser VMPL", { report: with_(0x30, 1) }, ["vmpl-allowed"]],
    ["a lesser VMPL that is allowed", { report: with_(0x30, 1), policy: { vmpls: [0, 1] } }, []],
    [
      "a VLEK where a VCEK must sign",
      { authority: vlek, policy: { signingKeys: ["VCEK"] } },
      ["signer-allowed"],
    ],
    ["another provider", { authority: vlek, policy: { providers: ["CN=other"] } }, ["signer-allowed"]],
    ["the provider that is named", { authority: vlek, policy: { providers: ["CN=example"] } }, []],
    ["a migration agent", { report: with_(0x0a, 7) }, ["migration-agent"]],
    [
      "a migration agent that is allowed",
      { report: with_(0x0a, 7), policy: { migrationAgentAllowed: true } },
      [],
    ],
    ["debugging, which nothing allows", { report: with_(0x0a, 0x0b) }, ["debug"]],
    ["an older guest", { policy: { guestSvnMin: 2 }, report: with_(4, 1) }, ["guest-svn"]],
    ["other host data", { policy: { hostData: [hex(9, 32)] } }, ["host-data"]],
    ["the host data", { policy: { hostData: [hex(1, 32), hex(0, 32)] } }, []],
    ["another id key", { policy: { idKeyDigests: [hex(9, 48)] } }, ["id-key"]],
    [
      "the author key's digest without the key",
      { policy: author, report: with_(0x110, ...digest) },
      ["author-key"],
    ],
    ["the author key", { policy: author, report: { set: { ...measured.set, 272: digest, 72: [1] } } }, []],
    ["another author key", { policy: author, report: with_(0x48, 1) }, ["author-key"]],
    ["other report data", { expected: { reportData: new Uint8Array(64) } }, ["report-data"]],
    [
      "the report data",
      { expected: { reportData: new Uint8Array(64).fill(5) }, report: with_(0x50, ...Array(64).fill(5)) },
      [],
    ],
  ])("%s", async (_name, ask, steps) => {
    expect(await failing(ask)).toEqual(steps);
  });

  test("a leaf that the policy has revoked", async () => {
    const { createHash } = await import("node:crypto");
    const leafs = milan.issueLeaf();
    const leafSha256 = createHash("sha256").update(leafs.der).digest("hex");
    for (const [revoked, accepted] of [
      [leafSha256, false],
      [createHash("sha256").update(certificatesOf(leafs.der)[0]!.spki).digest("hex"), false],
      [hex(1, 32), true],
    ] as const) {
      const reading = parseSnpPolicy({ ...BASE, revokedLeaves: [revoked], crlRequired: false });
      const evidence = {
        report: leafs.report(measured),
        leaf: leafs.der,
        chain: [milan.intermediate, milan.root],
      };
      const demands = demandsOf(reading.ok ? reading.policy : null);
      const verdict = await verifySnp(evidence, { atMs: SPECIMEN_MS, demands, roots: milan.roots });
      expect(verdict.accepted).toBe(accepted);
    }
  });
});

describe("a policy is refused", () => {
  test.each<[string, unknown, string]>([
    ["that is no object", [], "snp must be an object"],
    ["with a member that is not known", { ...BASE, measurement: "00" }, "snp.measurement is not known"],
    ["that would allow debugging", { ...BASE, debugAllowed: true }, "snp.debugAllowed is not known"],
    [
      "with a short measurement",
      { measurements: ["00"] },
      "snp.measurements must be a list of 96 hex digits each",
    ],
    [
      "with no measurement in its list",
      { measurements: [] },
      "snp.measurements must be a list of 96 hex digits each",
    ],
    ["with a floor of no line", { tcbFloors: { Rome: FLOOR } }, "snp.tcbFloors.Rome is no line's floor"],
    [
      "with a floor that lacks a part",
      { tcbFloors: { Turin: FLOOR } },
      "snp.tcbFloors.Turin must have fmc, bootloader, tee, snp, microcode, each from 0 to 255",
    ],
    ["with a VMPL that there is not", { vmpls: [4] }, "snp.vmpls must be a list of numbers from 0 to 3"],
    ["with another signer", { signingKeys: ["none"] }, "snp.signingKeys must be a list of VCEK and VLEK"],
    ["with a word for a flag", { crlRequired: "no" }, "snp.crlRequired must be true or false"],
    ["with a negative version", { guestSvnMin: -1 }, "snp.guestSvnMin must be a number"],
  ])("%s", (_name, value, fault) => {
    expect(parseSnpPolicy(value)).toEqual({ ok: false, faults: [fault] });
  });

  test("or read, whatever it is", () => {
    const names = fc.constantFrom("measurements", "tcbFloors", "vmpls", "hostData", "__proto__", "x");
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.dictionary(names, fc.anything())), (value) => {
        const reading = parseSnpPolicy(value);
        if (reading.ok) expect(reading.policy.measurements.every((one) => one.length === 96)).toBe(true);
        else expect(reading.faults.length).toBeGreaterThan(0);
      }),
      { numRuns: 500 },
    );
  });
});
