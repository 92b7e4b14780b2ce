// SPDX-License-Identifier: Apache-2.0
/**
 * Which provisions the steps of a destruction are related to, by jurisdiction and by what the owner
 * said the data is. The relation is `related_to` and never more: a measured step can support a
 * control, it cannot be compliance, and nothing here is part of what is signed.
 *
 * A privacy law is listed for its jurisdiction whatever the classification, since `general` says
 * nothing about whether somebody's data was inside. HIPAA needs PHI in the US; the financial and
 * credential entries follow the classification, the GLBA only in the US.
 */
import { STEPS } from "./steps.ts";

export interface Framework {
  regulation: string;
  provision: string;
  description: string;
  relationship: "related_to";
}

export interface RegulatoryContext {
  notice: string;
  framework_version: string;
  jurisdiction: string;
  mappings: { step: number; subsystem: string; frameworks: Framework[] }[];
}

interface Provision {
  regulation: string;
  provision: string;
  description: string;
  steps: readonly number[];
  /** Absent: everywhere. */
  jurisdiction?: string;
  /** Absent: for all data. */
  classification?: string;
}

/** Changes with the list below. */
const FRAMEWORK_VERSION = "1";

const NOTICE =
  "These provisions are related to the steps listed. The mapping is information, not legal advice, " +
  "and no statement of compliance with any of them.";

const ERASURE = [2, 3, 8] as const;

const hipaa = (provision: string, description: string, ...steps: number[]): Provision => ({
  regulation: "HIPAA",
  provision: `45 CFR ${provision}`,
  description,
  steps,
  jurisdiction: "US",
  classification: "PHI",
});

const dataProtection = (regulation: string, jurisdiction: string): Provision[] => [
  {
    regulation,
    provision: "Art. 17(1)",
    description: "Right to erasure",
    steps: ERASURE,
    jurisdiction,
  },
  {
    regulation,
    provision: "Art. 5(1)(e)",
    description: "Storage limitation",
    steps: ERASURE,
    jurisdiction,
  },
];

const PROVISIONS: readonly Provision[] = [
  hipaa("164.312(a)(1)", "Access control", 1),
  hipaa("164.310(d)(2)(i)", "Disposal of electronic protected health information", 2, 3),
  hipaa("164.312(a)(2)(iv)", "Encryption and decryption", 4),
  hipaa("164.312(d)", "Person or entity authentication", 5),
  hipaa("164.312(c)(1)", "Integrity", 6),
  hipaa("164.312(b)", "Audit controls", 7),
  hipaa("164.530(j)(2)", "Retention of documentation", 8),
  ...dataProtection("GDPR", "EU"),
  ...dataProtection("UK GDPR", "UK"),
  {
    regulation: "PIPEDA",
    provision: "Schedule 1, clause 4.5.3",
    description: "Destruction of personal information no longer required",
    steps: ERASURE,
    jurisdiction: "CA",
  },
  {
    regulation: "Privacy Act 1988",
    provision: "APP 11.2",
    description: "Destruction or de-identification of personal information",
    steps: ERASURE,
    jurisdiction: "AU",
  },
  {
    regulation: "DPDP Act 2023",
    provision: "Section 8(7)",
    description: "Erasure of personal data",
    steps: ERASURE,
    jurisdiction: "IN",
  },
  {
    regulation: "GLBA",
    provision: "16 CFR 314.4(c)(6)",
    description: "Secure disposal of customer information",
    steps: ERASURE,
    jurisdiction: "US",
    classification: "financial",
  },
  {
    regulation: "PCI DSS",
    provision: "9.4",
    description: "Media with cardholder data is destroyed securely",
    steps: [2, 3],
    classification: "financial",
  },
  {
    regulation: "NIST SP 800-53",
    provision: "IA-5",
    description: "Authenticator management",
    steps: [4, 5],
    classification: "credentials",
  },
  {
    regulation: "NIST SP 800-53",
    provision: "MP-6",
    description: "Media sanitization",
    steps: [2, 3],
    classification: "credentials",
  },
  {
    regulation: "SOC 2",
    provision: "CC6.5",
    description: "Disposal of assets and the data on them",
    steps: ERASURE,
  },
];

/** @example regulatoryContext({ jurisdiction: "EU", classification: "PII" }).mappings */
export function regulatoryContext(session: {
  jurisdiction: string;
  classification: string;
}): RegulatoryContext {
  const applying = PROVISIONS.filter(
    ({ jurisdiction, classification }) =>
      (jurisdiction ?? session.jurisdiction) === session.jurisdiction &&
      (classification ?? session.classification) === session.classification,
  );
  const mappings = STEPS.map(({ step, subsystem }) => ({
    step,
    subsystem,
    frameworks: applying
      .filter(({ steps }) => steps.includes(step))
      .map(({ regulation, provision, description }) => ({
        regulation,
        provision,
        description,
        relationship: "related_to" as const,
      })),
  }));
  return {
    notice: NOTICE,
    framework_version: FRAMEWORK_VERSION,
    jurisdiction: session.jurisdiction,
    mappings: mappings.filter(({ frameworks }) => frameworks.length > 0),
  };
}
