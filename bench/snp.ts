// SPDX-License-Identifier: Apache-2.0
/**
 * What judging a report of SEV-SNP costs beyond the three signatures that no verifier can leave out: two
 * of RSA-PSS with 4096 bits, one of ECDSA on P-384, each with its key as it comes in a certificate. The floor
 * does them by the same cryptography and at the same time, since that is what one who is in a hurry writes.
 */
import { demandsOf } from "#evidence/policy/snp.ts";
import { ecdsaP384Verify, rsaPssVerify } from "#evidence/primitives.ts";
import { parseSnpReport } from "#evidence/snp/report.ts";
import { makeAuthority, SPECIMEN_MS } from "#evidence/snp/specimen.ts";
import { verifySnp } from "#evidence/snp/verify.ts";
import { parseCertificate } from "#evidence/x509/certificate.ts";
import type { Line } from "./sessions.ts";

const GOAL = 1.3;
const PER_ROUND = 20;

export async function benchSnp(options: { quick: boolean; onLine(line: Line): void }): Promise<Line[]> {
  const authority = makeAuthority("Milan", "VCEK", 4096);
  const leafs = authority.issueLeaf();
  const report = leafs.report();
  const evidence = { report, leaf: leafs.der, chain: [authority.intermediate, authority.root] };
  const judgement = { atMs: SPECIMEN_MS, demands: demandsOf(null), roots: authority.roots };
  const [leaf, intermediate, root] = [leafs.der, ...evidence.chain].map((der) => parseCertificate(der!));
  const { signed, signature } = parseSnpReport(report).report!;
  const floor = async () =>
    (
      await Promise.all([
        ecdsaP384Verify(leaf!.spki, signed, signature),
        rsaPssVerify(root!.spki, intermediate!.signed, intermediate!.signature),
        rsaPssVerify(intermediate!.spki, leaf!.signed, leaf!.signature),
      ])
    ).every(Boolean);
  const verifier = async () => (await verifySnp(evidence, judgement)).accepted;
  const turns = options.quick ? 15 : 60;
  for (let index = 0; index < 100; index++)
    if (!(await floor()) || !(await verifier())) throw new Error("the report does not verify");
  // Turns alternate, so that a busy neighbour slows both, and the median turn counts.
  const taken: { ratio: number; verifyUs: number; floorUs: number }[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const floorUs = await microsecondsOf(floor);
    const verifyUs = await microsecondsOf(verifier);
    taken.push({ ratio: verifyUs / floorUs, verifyUs, floorUs });
  }
  const median = (name: keyof (typeof taken)[number]) =>
    taken.map((one) => one[name]).sort((a, b) => a - b)[taken.length >> 1]!;
  const ratio = median("ratio");
  const line: Line = {
    name: "SNP verify over its three raw signature checks",
    ratio,
    goal: GOAL,
    sense: "most",
    ok: ratio <= GOAL,
    detail: `${median("verifyUs").toFixed(0)} µs over ${median("floorUs").toFixed(0)} µs`,
  };
  options.onLine(line);
  return [line];
}

async function microsecondsOf(work: () => Promise<boolean>): Promise<number> {
  const start = performance.now();
  for (let index = 0; index < PER_ROUND; index++) await work();
  return ((performance.now() - start) * 1000) / PER_ROUND;
}
