// SPDX-License-Identifier: Apache-2.0
/** Real reports and certificates, with the verdicts that were computed for them elsewhere. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { demandsOf } from "#evidence/policy/snp.ts";
import { describeWith } from "#testing/requirements.ts";
import { snpFolder, snpVectors } from "#testing/vectors.ts";
import { fromHex } from "../bytes.ts";
import { certificatesOf } from "../x509/files.ts";
import { readLeaf } from "./leaf.ts";
import { type SnpVerdict, verifySnp } from "./verify.ts";

interface Case {
  name: string;
  report: string | null;
  encoding?: "hex";
  leaf: string;
  intermediate?: string;
  mutate?: { target: "report" | "leaf"; offset?: number; add?: number; truncate?: number };
  signature?: boolean;
  chain?: boolean;
  tcb_match?: boolean;
  hwid?: boolean | null;
  dates?: boolean;
  facts?: { version?: number; policy?: string; debug_allowed?: boolean; vmpl?: number; hwid_bytes?: number };
  accept: boolean | string | null;
}

/** When `dates` was computed. */
const THEN_MS = Date.UTC(2026, 10, 22);

const CHAINS: Record<string, string> = {
  "SEV-Milan": "go-sev-guest/trust/ask_ark_milan.pem",
  "SEV-VLEK-Milan": "go-sev-guest/trust/ask_ark_milan_vlek.pem",
  "SEV-Turin": "go-sev-guest/trust/ask_ark_turin_vcek.pem",
};

const fileOf = (name: string) => Uint8Array.from(readFileSync(join(snpFolder, name)));

function spoil(bytes: Uint8Array, one: Case, target: "report" | "leaf"): Uint8Array {
  if (one.mutate?.target !== target) return bytes;
  const { offset, add, truncate } = one.mutate;
  if (offset !== undefined) bytes[offset]! += add!;
  return truncate === undefined ? bytes : bytes.subarray(0, truncate);
}

function judge(one: Case, atMs: number): Promise<SnpVerdict> {
  const raw = fileOf(one.report!);
  const report = one.encoding === "hex" ? fromHex(new TextDecoder().decode(raw).trim())! : raw;
  return verifySnp(
    {
      report: spoil(report, one, "report"),
      leaf: spoil(fileOf(one.leaf), one, "leaf"),
      chain: [fileOf(CHAINS[one.intermediate ?? "SEV-Milan"]!)],
    },
    { atMs, demands: demandsOf(null) },
  );
}

describeWith([snpVectors], "real reports", () => {
  const cases: Case[] = snpVectors.met
    ? JSON.parse(readFileSync(join(snpFolder, "cases.json"), "utf8")).cases
    : [];
  const withReport = cases.filter(({ report }) => report !== null).map((one) => [one.name, one] as const);

  test.each(withReport)("%s: every step answers as it was computed", async (_name, one) => {
    const { accepted, steps, report } = await judge(one, THEN_MS);
    const okOf = (name: string) => steps.find((step) => step.name === name)?.ok;
    if (one.signature !== undefined) expect(okOf("signature")).toBe(one.signature);
    if (one.chain !== undefined) expect(okOf("chain")).toBe(one.chain);
    if (one.tcb_match !== undefined) expect(okOf("tcb")).toBe(one.tcb_match);
    if (typeof one.hwid === "boolean") expect(okOf("hardware-id")).toBe(one.hwid);
    if (one.dates !== undefined) expect(okOf("dates")).toBe(one.dates);
    if (one.facts?.version !== undefined) expect(report!.version).toBe(one.facts.version);
    if (one.facts?.policy !== undefined) expect(report!.policy.raw).toBe(BigInt(one.facts.policy));
    if (one.facts?.debug_allowed !== undefined) expect(okOf("debug")).toBe(!one.facts.debug_allowed);
    if (one.facts?.vmpl !== undefined) expect(report!.vmpl).toBe(one.facts.vmpl);
    // What is neither true nor false holds on a condition, and here that is not met.
    expect(accepted).toBe(one.accept === true);
    if (!accepted) expect(steps.some(({ ok, detail }) => !ok && detail.length > 10)).toBe(true);
  });

  test("a VLEK's report is accepted until its certificate expires, and not a second longer", async () => {
    const one = cases.find(({ facts }) => facts?.vmpl === 1)!;
    const end = Date.UTC(2025, 11, 10, 22, 14, 21);
    expect((await judge(one, end)).accepted).toBe(true);
    expect((await judge(one, end + 1000)).steps.filter(({ ok }) => !ok).map(({ name }) => name)).toEqual([
      "dates",
    ]);
  });

  test("a leaf of Turin names its chip in 8 bytes, and its own kind of TCB", () => {
    const one = cases.find(({ facts }) => facts?.hwid_bytes === 8)!;
    const leaf = readLeaf(certificatesOf(fileOf(one.leaf))[0]!);
    expect(leaf).toMatchObject({ kind: "VCEK", product: "Turin", tcb: { fmc: 0, microcode: 9 } });
    expect(leaf.hardwareId).toHaveLength(8);
  });

  test("forged leaves still parse, whichever way they hold the hardware id", () => {
    for (const name of ["legacy", "new"]) {
      const leaf = readLeaf(certificatesOf(fileOf(`trustee/test-vcek-invalid-${name}.der`))[0]!);
      expect(leaf.hardwareId).toHaveLength(64);
    }
  });

  test("chains of all lines and kinds have a pinned root, whoever kept them", async () => {
    const folders = ["go-sev-guest/trust/ask_ark_", "trustee/"];
    const files = [
      "milan.pem",
      "milan_vlek.pem",
      "genoa.pem",
      "genoa_vlek.pem",
      "turin_vcek.pem",
      "turin_vlek.pem",
    ];
    const chains = files.map((file) => fileOf(`${folders[0]}${file}`));
    for (const product of ["milan", "genoa", "turin"])
      chains.push(fileOf(`trustee/${product}_ask_ark_asvk.pem`));
    const { findRoot, faultOfLink } = await import("./chain.ts");
    const { AMD_ROOTS, PRODUCTS } = await import("./products.ts");
    for (const chain of chains) {
      const all = certificatesOf(chain);
      const product = PRODUCTS.find((one) => all.some(({ subjectName }) => subjectName === `ARK-${one}`))!;
      const root = await findRoot(all, product, AMD_ROOTS);
      expect(root?.subjectName).toBe(`ARK-${product}`);
      // The leaf is the intermediate itself here: only what the root says of it is of interest.
      for (const one of all.filter((certificate) => certificate !== root))
        expect(await faultOfLink(one, one, root!)).toBe(
          `${one.subjectName} is not issued by ${one.subjectName}.`,
        );
    }
  });

  test("no single changed bit of a good report is accepted", { timeout: 120_000 }, async () => {
    const one = cases.find(({ name }) => name === "trustee milan v2")!;
    const good = fileOf(one.report!);
    const leaf = fileOf(one.leaf);
    const chain = [fileOf(CHAINS["SEV-Milan"]!)];
    let bit = 0;
    // One in seven of all bits, in another place of each byte.
    for (; bit < good.length * 8; bit += 7) {
      const report = Uint8Array.from(good);
      report[bit >> 3]! ^= 1 << (bit & 7);
      const { accepted } = await verifySnp(
        { report, leaf, chain },
        { atMs: THEN_MS, demands: demandsOf(null) },
      );
      if (accepted) expect.fail(`bit ${bit} makes no difference`);
    }
    expect(bit).toBeGreaterThan(9000);
  });
});
