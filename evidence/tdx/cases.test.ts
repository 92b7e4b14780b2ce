// SPDX-License-Identifier: Apache-2.0
/** Real quotes and collateral, with the verdicts that were computed for them elsewhere. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { constants } from "@phala/dcap-qvl";
import { expect, test } from "vitest";
import { tdxDemandsOf } from "#evidence/policy/tdx.ts";
import { describeWith } from "#testing/requirements.ts";
import { tdxFolder, tdxVectors } from "#testing/vectors.ts";
import { hexOf } from "../bytes.ts";
import { parseCertificate } from "../x509/certificate.ts";
import { INTEL_ROOT_KEYS, isRoot } from "./roots.ts";
import { type TdxVerdict, verifyTdx } from "./verify.ts";

interface Case {
  name: string;
  quote: string;
  version?: number;
  used_bytes?: number;
  mutate?: { offset: number; add: number };
  quote_signature?: boolean;
  qe_signature?: boolean;
  key_binding?: boolean;
  pck_chain?: boolean;
  fmspc?: string;
  collateral?: string | string[];
  collateral_signatures?: boolean | string;
  collateral_window?: [string, string];
  tcb_status?: string;
  accept: boolean | string;
}

const DEFAULT_COLLATERAL = "dcap-qvl/tdx_quote_collateral.json";
/** Inside the window of the collateral that has one. */
const THEN_MS = Date.UTC(2025, 6, 1);

const fileOf = (name: string) => Uint8Array.from(readFileSync(join(tdxFolder, name)));

function judge(one: Case, atMs = THEN_MS, statuses?: readonly string[]): Promise<TdxVerdict> {
  const quote = fileOf(one.quote);
  if (one.mutate !== undefined) quote[one.mutate.offset]! += one.mutate.add;
  const collateral = [one.collateral ?? DEFAULT_COLLATERAL].flat().map(fileOf);
  const demands = { ...tdxDemandsOf(null), ...(statuses && { tcbStatuses: statuses as never }) };
  return verifyTdx({ quote, collateral }, { atMs, demands });
}

const failing = ({ steps }: TdxVerdict) => steps.filter(({ ok }) => !ok).map(({ name }) => name);

describeWith([tdxVectors], "real quotes", () => {
  const cases: Case[] = tdxVectors.met
    ? JSON.parse(readFileSync(join(tdxFolder, "cases.json"), "utf8")).cases
    : [];

  test.each(cases.map((one) => [one.name, one] as const))(
    "%s: every step answers as it was computed",
    async (_name, one) => {
      const verdict = await judge(one);
      const okOf = (name: string) => verdict.steps.find((step) => step.name === name)?.ok;
      if (one.quote_signature !== undefined) expect(okOf("signature")).toBe(one.quote_signature);
      if (one.qe_signature !== undefined) expect(okOf("qe-signature")).toBe(one.qe_signature);
      if (one.key_binding !== undefined) expect(okOf("key-binding")).toBe(one.key_binding);
      if (one.pck_chain !== undefined) expect(okOf("chain")).toBe(one.pck_chain);
      if (one.collateral_signatures === true)
        expect([okOf("tcb-info"), okOf("qe-identity")]).toEqual([true, true]);
      if (one.version !== undefined) expect(verdict.quote!.version).toBe(one.version);
      if (one.tcb_status === "UpToDate") expect(verdict.tcbStatus).toBe("UpToDate");
      else if (one.tcb_status !== undefined) expect(verdict.tcbStatus).toBeNull();
      // A text is a condition, and here the time is inside the window that it names.
      expect(verdict.accepted).toBe(typeof one.accept === "string");
    },
  );

  test("one is accepted from the first second of its collateral's window to the last, and no longer", async () => {
    const one = cases.find(({ collateral_window }) => collateral_window !== undefined)!;
    const [from, to] = one.collateral_window!.map((text) => Date.parse(text)) as [number, number];
    for (const atMs of [from, to]) expect(failing(await judge(one, atMs))).toEqual([]);
    expect(failing(await judge(one, from - 1000))).toEqual(["collateral-dates", "library"]);
    expect(failing(await judge(one, to + 1000))).toEqual(["revocation"]);
    expect(failing(await judge(one, Date.UTC(2026, 10, 23)))).toEqual([
      "revocation",
      "collateral-dates",
      "library",
    ]);
  });

  test("a genuine quote is refused with the collateral of another kind of platform, by that step's name", async () => {
    const wrong = cases.find(({ name }) => name === "wrong fmspc")!;
    expect(failing(await judge(wrong))).toContain("fmspc");
    const right = cases.find(({ accept }) => typeof accept === "string")!;
    const other = await judge({ ...right, quote: "go-tdx-guest/tdx_prod_quote_SPR_E4.dat" });
    expect(failing(other)).toEqual(expect.arrayContaining(["quote", "fmspc", "attributes"]));
    expect(other.steps.find(({ name }) => name === "quote")!.detail).toContain("not zero follow");
  });

  test("a policy that accepts every state but one refuses a platform in that one", async () => {
    const one = cases.find(({ accept }) => typeof accept === "string")!;
    expect(failing(await judge(one, THEN_MS, ["OutOfDate"]))).toEqual(["tcb", "library"]);
    expect(failing(await judge(one, THEN_MS, []))).toEqual(["tcb", "library"]);
  });

  test("without collateral, a genuine quote gets a whole document and is refused", async () => {
    const one = cases.find(({ accept }) => typeof accept === "string")!;
    const whole = await judge(one);
    const { steps, accepted } = await judge({ ...one, collateral: [] });
    expect(accepted).toBe(false);
    expect(steps.map(({ name }) => name)).toEqual(whole.steps.map(({ name }) => name));
    expect(steps.filter(({ ok }) => ok).map(({ name }) => name)).toContain("signature");
  });

  test("no single changed byte of the quote that means anything is accepted", async () => {
    const one = cases.find(({ accept }) => typeof accept === "string")!;
    const good = fileOf(one.quote);
    const collateral = [fileOf(DEFAULT_COLLATERAL)];
    const at = { atMs: THEN_MS, demands: tdxDemandsOf(null) };
    // One byte in 61, in another bit each time; a step that is prime to every length in it.
    for (let byte = 0; byte < good.length; byte += 61) {
      const quote = Uint8Array.from(good);
      quote[byte]! ^= 1 << (byte % 8);
      const { accepted } = await verifyTdx({ quote, collateral }, at);
      expect({ byte, accepted }).toEqual({ byte, accepted: false });
    }
  }, 60_000);

  test("the pinned key is that of Intel's root here and in the library", async () => {
    for (const der of [fileOf("dcap-qvl/TrustedRootCA.der"), Uint8Array.from(constants.TRUSTED_ROOT_CA_DER)])
      expect(await isRoot(parseCertificate(der), INTEL_ROOT_KEYS)).toBe(true);
    const other = fileOf("dcap-qvl/TrustedRootCA.der");
    other[other.length - 1]! ^= 1;
    expect(await isRoot(parseCertificate(other), INTEL_ROOT_KEYS)).toBe(false);
    expect(hexOf(parseCertificate(other).spki).length).toBeGreaterThan(0);
  });
});
