// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import { level, makeIntel, SPECIMEN_MS } from "#evidence/tdx/specimen.ts";
import { verifyTdx } from "#evidence/tdx/verify.ts";
import { parseTdxPolicy, type TdxExpectation, tdxDemandsOf } from "./tdx.ts";

const intel = makeIntel();
const hex = (byte: number) => byte.toString(16).padStart(2, "0").repeat(48);
const register = (byte: number) => Array(48).fill(byte) as number[];
/** Offsets in the body of a TD report; each register holds one byte over and over. */
const BODY = {
  16: register(9),
  136: register(1),
  184: register(5),
  232: register(6),
  280: register(7),
  328: register(10),
  376: register(11),
  424: register(12),
  472: register(13),
  520: Array(64).fill(8) as number[],
};
const BASE = {
  mrTds: [hex(1).toUpperCase(), hex(2)],
  rtmrs: { 0: [hex(10)], 1: [hex(11)], 2: [hex(12)], 3: [hex(13)] },
};

async function judge(policy: Record<string, unknown> = {}, expected?: TdxExpectation, tcbInfo = {}) {
  const reading = parseTdxPolicy({ ...BASE, ...policy });
  if (!reading.ok) throw new Error(reading.faults.join());
  const one = intel({ quote: { body: BODY }, tcbInfo });
  const demands = tdxDemandsOf(reading.policy, expected);
  const verdict = await verifyTdx(one, { atMs: SPECIMEN_MS, demands, rootKeys: one.rootKeys });
  expect(verdict.accepted).toBe(verdict.steps.every(({ ok }) => ok));
  return { ...verdict, failing: verdict.steps.filter(({ ok }) => !ok).map(({ name }) => name) };
}

test("a quote that has what the policy names is accepted, and only its freshness is open", async () => {
  const { failing, unasked } = await judge();
  expect(failing).toEqual([]);
  expect(unasked.map(({ name }) => name)).toEqual(["report-data"]);
  expect((await judge({}, { reportData: Uint8Array.from(BODY[520]) })).unasked).toEqual([]);
});

describe("a reference value that is missing accepts nothing", () => {
  test("no MRTD", async () => {
    const { failing, steps } = await judge({ mrTds: undefined });
    expect(failing).toEqual(["mrtd"]);
    // Whoever trusts this host reads the value here that a policy is to name.
    expect(steps.find(({ name }) => name === "mrtd")!.detail).toContain(hex(1));
  });

  test("no word on a register", async () => {
    expect((await judge({ rtmrs: undefined })).failing).toEqual(["rtmr0", "rtmr1", "rtmr2", "rtmr3"]);
    const { 2: _, ...rest } = BASE.rtmrs;
    expect((await judge({ rtmrs: rest })).failing).toEqual(["rtmr2"]);
  });

  test("and a register that may hold anything is named as open", async () => {
    const { failing, unasked } = await judge({ rtmrs: { ...BASE.rtmrs, 3: "any" } });
    expect(failing).toEqual([]);
    expect(unasked.map(({ name }) => name)).toContain("rtmr3");
  });
});

describe("a quote that has something else is refused by the step of that name", () => {
  test.each<[string, Record<string, unknown>]>([
    ["mrtd", { mrTds: [hex(3)] }],
    ["rtmr0", { rtmrs: { ...BASE.rtmrs, 0: [hex(3)] } }],
    ["rtmr1", { rtmrs: { ...BASE.rtmrs, 1: [hex(10), hex(12)] } }],
    ["rtmr3", { rtmrs: { ...BASE.rtmrs, 3: [hex(0)] } }],
    ["tcb-evaluation", { tcbEvaluationMin: 19 }],
    ["mrseam", { mrSeams: [hex(1)] }],
    ["mrconfigid", { mrConfigIds: [hex(1)] }],
    ["mrowner", { mrOwners: [hex(1)] }],
    ["mrownerconfig", { mrOwnerConfigs: [hex(1)] }],
  ])("%s", async (name, policy) => {
    expect((await judge(policy)).failing).toEqual([name]);
  });

  test("and accepted when it has what each of them names", async () => {
    const policy = {
      tcbEvaluationMin: 18,
      mrSeams: [hex(9)],
      mrConfigIds: [hex(5)],
      mrOwners: [hex(6)],
      mrOwnerConfigs: [hex(7)],
    };
    expect((await judge(policy)).failing).toEqual([]);
  });

  test("report data", async () => {
    expect((await judge({}, { reportData: new Uint8Array(64) })).failing).toEqual(["report-data"]);
  });

  test("a state of the TCB that the policy does not name", async () => {
    const tcbInfo = { tcbLevels: [level("SWHardeningNeeded")] };
    expect((await judge({}, undefined, tcbInfo)).failing).toEqual(["tcb", "library"]);
    const tcbStatuses = ["UpToDate", "SWHardeningNeeded"];
    expect((await judge({ tcbStatuses }, undefined, tcbInfo)).failing).toEqual([]);
    expect((await judge({ tcbStatuses: ["SWHardeningNeeded"] })).failing).toEqual(["tcb", "library"]);
  });
});

test("a quote that cannot be read fails every step of the policy", async () => {
  const reading = parseTdxPolicy(BASE);
  const demands = tdxDemandsOf(reading.ok ? reading.policy : null);
  const { steps } = await verifyTdx(
    { quote: new Uint8Array(9), collateral: [] },
    { atMs: SPECIMEN_MS, demands },
  );
  for (const name of ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "tcb-evaluation"])
    expect(steps.find((step) => step.name === name)?.ok).toBe(false);
});

describe("a policy is refused", () => {
  test.each<[string, unknown]>([
    ["that is no object", []],
    ["that has an unknown member", { ...BASE, debugAllowed: true }],
    ["that accepts what Intel has revoked", { tcbStatuses: ["Revoked"] }],
    ["that accepts a state that there is not", { tcbStatuses: ["Fine"] }],
    ["that accepts no state", { tcbStatuses: [] }],
    ["with an MRTD that is too short", { mrTds: ["00"] }],
    ["with no MRTD in its list", { mrTds: [] }],
    ["with a fifth register", { rtmrs: { 4: [hex(1)] } }],
    ["with a register that is a word", { rtmrs: { 0: "some" } }],
    ["with an empty register", { rtmrs: { 0: [] } }],
    ["with registers in a list", { rtmrs: [hex(1)] }],
    ["with a number below zero", { tcbEvaluationMin: -1 }],
  ])("%s", (_name, value) => {
    const reading = parseTdxPolicy(value);
    expect(reading).toEqual({ ok: false, faults: expect.any(Array) });
  });
});
