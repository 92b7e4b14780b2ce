// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import { hexOf } from "#evidence/bytes.ts";
import { makeTpm } from "#evidence/tpm/specimen.ts";
import { verifyTpm } from "#evidence/tpm/verify.ts";
import { parseTpmPolicy, type TpmExpectation, tpmDemandsOf } from "./tpm.ts";

const tpm = makeTpm();
const SELECTION = [0, 4, 9, 11, 12];
const value = (byte: number) => new Uint8Array(32).fill(byte);
const hex = (byte: number) => hexOf(value(byte));
const PCRS = Object.fromEntries(SELECTION.map((pcr) => [pcr, [hex(pcr)]]));
const keyName = await nameOfTpm();

async function nameOfTpm() {
  const made = tpm.quote();
  return (await verifyTpm({ ...made, key: tpm.key }, { atMs: 0, demands: tpmDemandsOf(null) })).keyName!;
}

async function judge(
  policy: Record<string, unknown> = {},
  expected: TpmExpectation = {},
  selection = SELECTION,
) {
  const reading = parseTpmPolicy({ pcrs: PCRS, keys: [keyName.toUpperCase()], ...policy });
  if (!reading.ok) throw new Error(reading.faults.join());
  const values = selection.map(value);
  const pcrs = new Map(selection.map((pcr, index) => [pcr, values[index]!]));
  const verdict = await verifyTpm(
    { ...tpm.quote({ selection, values }), key: tpm.key, pcrs },
    { atMs: 0, demands: tpmDemandsOf(reading.policy, expected) },
  );
  expect(verdict.accepted).toBe(verdict.steps.every(({ ok }) => ok));
  expect(verdict.hardware).toBe(false);
  return { ...verdict, failing: verdict.steps.filter(({ ok }) => !ok).map(({ name }) => name) };
}

test("a quote that has what the policy names is accepted, and only what it leaves out is open", async () => {
  const { failing, unasked } = await judge();
  expect(failing).toEqual([]);
  expect(unasked.map(({ name }) => name)).toEqual(["nonce", "endorsement"]);
});

describe("a reference value that is missing accepts nothing", () => {
  test.each([4, 9, 11, 12])("no value of register %d", async (pcr) => {
    const { [pcr]: _, ...rest } = PCRS;
    expect((await judge({ pcrs: rest })).failing).toEqual([`pcr${pcr}`]);
  });

  test("no value of any, and no key", async () => {
    expect((await judge({ pcrs: undefined })).failing).toEqual(["pcr4", "pcr9", "pcr11", "pcr12"]);
    expect((await judge({ keys: undefined })).failing).toEqual(["key-known"]);
  });

  test("a register that the quote does not cover", async () => {
    expect((await judge({}, {}, [0, 4, 9, 11])).failing).toEqual(["pcr12"]);
  });
});

test("another value is refused by its register's step, and one of several is enough", async () => {
  for (const pcr of SELECTION)
    expect((await judge({ pcrs: { ...PCRS, [pcr]: [hex(99)] } })).failing).toEqual([`pcr${pcr}`]);
  expect((await judge({ pcrs: { ...PCRS, 0: [hex(99), hex(0).toUpperCase()] } })).failing).toEqual([]);
});

test("another key is refused, unless it has just opened a credential", async () => {
  const keys = ["00".repeat(34)];
  expect((await judge({ keys })).failing).toEqual(["key-known"]);
  expect((await judge({ keys }, { keyName })).failing).toEqual([]);
  expect((await judge({ keys: undefined }, { keyName: "00".repeat(34) })).failing).toEqual(["key-known"]);
});

test("a root that is demanded needs a certificate", async () => {
  expect((await judge({ endorsementRoots: ["00".repeat(32)] })).failing).toEqual(["endorsement"]);
});

describe("a policy is refused", () => {
  test.each<[string, unknown]>([
    ["that is no object", 1],
    ["that has an unknown member", { hardware: true }],
    ["with a register that there is not", { pcrs: { 24: [hex(1)] } }],
    ["with a register written otherwise", { pcrs: { "04": [hex(1)] } }],
    ["with a value that is too short", { pcrs: { 4: ["00"] } }],
    ["with no value", { pcrs: { 4: [] } }],
    ["with registers in a list", { pcrs: [hex(1)] }],
    ["with a name of another length", { keys: [hex(1)] }],
    ["with a root of another length", { endorsementRoots: ["00"] }],
  ])("%s", (_name, value) => {
    expect(parseTpmPolicy(value)).toEqual({ ok: false, faults: expect.any(Array) });
  });
});
