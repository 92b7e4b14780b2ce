// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { regulatoryContext } from "./regulatory.ts";

const listed = (jurisdiction: string, classification: string) =>
  regulatoryContext({ jurisdiction, classification }).mappings.flatMap(({ step, frameworks }) =>
    frameworks.map(({ regulation, provision }) => `${step} ${regulation} ${provision}`),
  );

const SOC = ["2 SOC 2 CC6.5", "3 SOC 2 CC6.5", "8 SOC 2 CC6.5"];

test("HIPAA is named step by step for PHI in the US", () => {
  expect(listed("US", "PHI").filter((line) => !line.includes("SOC 2"))).toEqual([
    "1 HIPAA 45 CFR 164.312(a)(1)",
    "2 HIPAA 45 CFR 164.310(d)(2)(i)",
    "3 HIPAA 45 CFR 164.310(d)(2)(i)",
    "4 HIPAA 45 CFR 164.312(a)(2)(iv)",
    "5 HIPAA 45 CFR 164.312(d)",
    "6 HIPAA 45 CFR 164.312(c)(1)",
    "7 HIPAA 45 CFR 164.312(b)",
    "8 HIPAA 45 CFR 164.530(j)(2)",
  ]);
});

test("HIPAA is named neither for other data nor elsewhere", () => {
  expect(listed("US", "general")).toEqual(SOC);
  expect(listed("EU", "PHI").join()).not.toContain("HIPAA");
});

test.each([
  ["EU", "8 GDPR Art. 17(1)"],
  ["EU", "8 GDPR Art. 5(1)(e)"],
  ["UK", "8 UK GDPR Art. 17(1)"],
  ["CA", "8 PIPEDA Schedule 1, clause 4.5.3"],
  ["AU", "8 Privacy Act 1988 APP 11.2"],
  ["IN", "8 DPDP Act 2023 Section 8(7)"],
])("the privacy law of %s is named: %s", (jurisdiction, line) => {
  expect(listed(jurisdiction, "PII")).toContain(line);
  expect(listed("OTHER", "PII")).toEqual(SOC);
});

test("financial data names PCI DSS everywhere and the GLBA in the US only", () => {
  expect(listed("US", "financial")).toContain("3 GLBA 16 CFR 314.4(c)(6)");
  expect(listed("EU", "financial")).toContain("3 PCI DSS 9.4");
  expect(listed("EU", "financial").join()).not.toContain("GLBA");
});

test("credentials name IA-5 and MP-6 of NIST SP 800-53", () => {
  expect(listed("OTHER", "credentials")).toEqual(
    expect.arrayContaining(["4 NIST SP 800-53 IA-5", "5 NIST SP 800-53 IA-5", "3 NIST SP 800-53 MP-6"]),
  );
});

test("no entry ever claims more than a relation", () => {
  for (const jurisdiction of ["US", "EU", "UK", "CA", "AU", "IN", "OTHER"]) {
    for (const classification of ["general", "PHI", "PII", "financial", "credentials"]) {
      const { mappings } = regulatoryContext({ jurisdiction, classification });
      const relations = mappings.flatMap(({ frameworks }) => frameworks.map((one) => one.relationship));
      expect(new Set(relations)).toEqual(new Set(["related_to"]));
    }
  }
});
