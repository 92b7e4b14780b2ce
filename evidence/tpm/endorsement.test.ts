// SPDX-License-Identifier: Apache-2.0
/** A path to a root of a TPM's maker, and every way in which it is none. */
import { createHash, generateKeyPairSync } from "node:crypto";
import { expect, test } from "vitest";
import { StepFault } from "../steps.ts";
import { parseCertificate } from "../x509/certificate.ts";
import {
  bytesOf,
  type CertificatePlan,
  der,
  ECDSA_SHA256,
  extension,
  issuing,
  oid,
  pss,
  sequence,
  signCertificate,
  spkiOf,
  usage,
} from "../x509/specimen.ts";
import { judgeEndorsement } from "./endorsement.ts";

const AT_MS = Date.UTC(2026, 5, 1);
const NAMES = { root: "maker's root", issuer: "maker's issuer", leaf: "" } as const;
type Place = keyof typeof NAMES;
const keyOf = () => generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const keys: Record<Place, ReturnType<typeof keyOf>> = { root: keyOf(), issuer: keyOf(), leaf: keyOf() };
const eku = (name: string) => extension("2.5.29.37", sequence(oid(name)));
const alternative = extension("2.5.29.17", sequence(der(0x82, bytesOf("tpm"))), true);
const FOR_EK = "2.23.133.8.1";

function make(place: Place, by: "root" | "issuer", change: Partial<CertificatePlan> = {}) {
  const plan: CertificatePlan = {
    serial: 1,
    issuer: NAMES[by],
    subject: NAMES[place],
    notBefore: "20260101000000Z",
    notAfter: "20270101000000Z",
    spki: spkiOf(keys[place]),
    algorithm: ECDSA_SHA256,
    outerAlgorithm: ECDSA_SHA256,
    extensions: place === "leaf" ? [issuing(false), alternative, eku(FOR_EK)] : [issuing(true), usage(0x04)],
    ...change,
  };
  return parseCertificate(signCertificate(plan, keys[by]));
}

const root = make("root", "root");
const issuer = make("issuer", "root");
const leaf = make("leaf", "issuer");
const hashOf = (place: Place) => createHash("sha256").update(spkiOf(keys[place])).digest("hex");
const ROOTS = [hashOf("root")];

test("a path to a root that the policy names is accepted, whichever way it lies", async () => {
  for (const others of [
    [issuer, root],
    [root, leaf, issuer, issuer],
  ])
    expect(await judgeEndorsement(leaf, others, ROOTS, AT_MS)).toContain("maker's root");
  expect(await judgeEndorsement(leaf, [issuer], [hashOf("issuer")], AT_MS)).toContain("maker's issuer");
});

test.each<[string, () => Promise<string>, string]>([
  [
    "the root is not the policy's",
    () => judgeEndorsement(leaf, [issuer, root], ["00".repeat(32)], AT_MS),
    "None of the roots",
  ],
  ["the policy names none", () => judgeEndorsement(leaf, [issuer, root], [], AT_MS), "names no root"],
  [
    "its own key is named as a root",
    () => judgeEndorsement(leaf, [issuer, root], [hashOf("leaf")], AT_MS),
    "None of the roots",
  ],
  ["one between is missing", () => judgeEndorsement(leaf, [root], ROOTS, AT_MS), "None of the roots"],
  [
    "it is for something else",
    () =>
      judgeEndorsement(
        make("leaf", "issuer", { extensions: [issuing(false), eku("2.23.133.8.3")] }),
        [issuer, root],
        ROOTS,
        AT_MS,
      ),
    "none of an endorsement key",
  ],
  [
    "it is for nothing",
    () =>
      judgeEndorsement(
        make("leaf", "issuer", { extensions: [issuing(false)] }),
        [issuer, root],
        ROOTS,
        AT_MS,
      ),
    "none of an endorsement key",
  ],
  [
    "it has an unknown rule",
    () =>
      judgeEndorsement(
        make("leaf", "issuer", {
          extensions: [issuing(false), eku(FOR_EK), extension("1.2.3", bytesOf("x"), true)],
        }),
        [issuer, root],
        ROOTS,
        AT_MS,
      ),
    "critical extension",
  ],
  [
    "its time is over",
    () =>
      judgeEndorsement(make("leaf", "issuer", { notAfter: "20260501000000Z" }), [issuer, root], ROOTS, AT_MS),
    "has expired",
  ],
  [
    "its time is to come",
    () =>
      judgeEndorsement(
        make("leaf", "issuer", { notBefore: "20260701000000Z" }),
        [issuer, root],
        ROOTS,
        AT_MS,
      ),
    "not valid yet",
  ],
  [
    "the issuer's time is over",
    () =>
      judgeEndorsement(leaf, [make("issuer", "root", { notAfter: "20260501000000Z" }), root], ROOTS, AT_MS),
    "has expired",
  ],
  [
    "the issuer may not issue",
    () =>
      judgeEndorsement(leaf, [make("issuer", "root", { extensions: [issuing(false)] }), root], ROOTS, AT_MS),
    "may issue others",
  ],
  [
    "somebody else has the issuer's name",
    () => judgeEndorsement(leaf, [make("issuer", "root", { spki: spkiOf(keys.leaf) }), root], ROOTS, AT_MS),
    "did not sign",
  ],
  [
    "it claims another algorithm",
    () => judgeEndorsement(make("leaf", "issuer", { outerAlgorithm: pss() }), [issuer, root], ROOTS, AT_MS),
    "not signed with",
  ],
  ["the time is none", () => judgeEndorsement(leaf, [issuer, root], ROOTS, Number.NaN), "is no time"],
])("a certificate is refused when %s", async (_name, judge, words) => {
  const fault = await judge().catch((thrown: unknown) => thrown);
  expect(fault).toBeInstanceOf(StepFault);
  expect((fault as Error).message).toContain(words);
});
