// SPDX-License-Identifier: Apache-2.0
/**
 * What the certificate says, for both of its forms; from the stored proof alone, so that it says the same for ever.
 *
 * Laid out as the sample certificate in appendix G of NIST SP 800-88 Rev. 1, whose fields were made for people who
 * destroy disks. A field that does not apply says so: an empty one would look forgotten, and a filled one
 * would claim what nobody measured. Nobody is named as having performed or validated anything.
 */
import type { Cdp, Limit } from "#evidence/proofs/document.ts";
import { regulatoryContext } from "#evidence/proofs/regulatory.ts";
import { bytes, count, plain } from "./plain.ts";
import { type StepText, stepTexts } from "./steps.ts";

export interface Field {
  label: string;
  value: string;
  /** False: the form has this field, and this destruction has nothing for it. */
  applies: boolean;
}

export interface Certificate {
  sessionId: string;
  complete: boolean;
  headline: string;
  summary: string;
  destroyedAt: string;
  sections: { heading: string; fields: Field[] }[];
  steps: StepText[];
  limits: { code: string; words: string }[];
  regulatory: { notice: string; related: string[] };
  verifyUrl: string;
}

export const TITLE = "Certificate of destruction";
export const FORM = "Laid out as the sample certificate of NIST SP 800-88 Rev. 1, appendix G";
export const NOT_CLAIMED =
  "It does not show that the operator measured honestly, that no copy was made while the session lived, or what its commands sent out. " +
  "These limits are part of what was signed:";
export const CHECK =
  "This paper proves nothing by itself: anybody can print one. The proof does. Take it (GET /v1/proofs/…) to the page below, or to any " +
  "verifier of casemate-cdp/1, and compare the final hash.";

const LIMITS: Record<Limit, string> = {
  freed_pages_not_zeroed:
    "Memory of processes, and files deleted before the end, were given back to the kernel, not overwritten.",
  host_kernel_trusted: "A kernel that lies makes every measurement a lie.",
  api_process_copies: "Input and output passed through control and host, whose memory is not wiped.",
  single_pass: "File contents were overwritten with zeros once.",
  signing_key_outlives_proof:
    "The runtime's own copy of the signing key is cleared when it is collected, not at a known moment.",
  times_are_operator_claims: "Times come from the operator's clocks.",
  host_root_shared: "The session saw the host's own /usr, not a root template with a digest.",
  shared_uid: "The session had the host process's user id (a run without root).",
  no_cgroup: "No cgroup counted or limited the session.",
  overwrite_not_claimed: "The session was found dead after a crash, so no overwrite is claimed.",
  start_facts_lost: "Facts about the session's start were lost in a crash and are not claimed.",
};

const TRIGGERS = {
  api: "asked for by its owner",
  ttl: "its time was over",
  oom: "it used up its memory",
  shutdown: "its host was shut down",
  recovery: "found dead by a later process",
} as const;

export function certificateOf(cdp: Cdp, verifyUrl: string): Certificate {
  const { context } = cdp;
  const { outcome, failed_steps } = cdp.evidence[7].measured;
  const complete = outcome === "complete";
  const { notice, mappings } = regulatoryContext({
    jurisdiction: context.jurisdiction,
    classification: context.data_classification,
  });
  return printable({
    sessionId: cdp.session_id,
    complete,
    headline: complete ? "Destruction complete" : "DESTRUCTION NOT COMPLETE",
    summary: complete
      ? `All eight steps found what they had to find. Destroyed ${cdp.destroyed_at} (${TRIGGERS[context.trigger]}).`
      : `${failed_steps.length === 1 ? "Step" : "Steps"} ${failed_steps.join(", ")} did not find what had to be found. ` +
        `Something of the session may remain. Last looked at ${cdp.destroyed_at} (${TRIGGERS[context.trigger]}).`,
    destroyedAt: cdp.destroyed_at,
    sections: [
      person(cdp),
      media(cdp),
      details(cdp),
      destination(cdp),
      signature(cdp),
      validation(verifyUrl),
    ],
    steps: stepTexts(cdp.evidence),
    limits: context.limits.map((code) => ({ code, words: LIMITS[code] })),
    regulatory: {
      notice,
      related: mappings.flatMap(({ step, frameworks }) =>
        frameworks.map(
          ({ regulation, provision, description }) =>
            `Step ${step} is related to ${regulation} ${provision} (${description})`,
        ),
      ),
    },
    verifyUrl,
  });
}

const field = (label: string, value: string): Field => ({ label, value, applies: true });
const none = (label: string, why: string): Field => ({
  label,
  value: `Not applicable: ${why}`,
  applies: false,
});

const person = ({ context, attestation }: Cdp) => ({
  heading: "Who performed it",
  fields: [
    none("Name, title", "no person performed this; a program did"),
    field("Organization", `Issuer ${attestation.certificate.issuer_id}, which certified the program's key`),
    none("Location, phone", "not part of the proof"),
    field(
      "Program",
      `${context.engine.name} ${context.engine.version}, build ${context.engine.build_sha256}`,
    ),
  ],
});

function media({ context, evidence }: Cdp) {
  const { mounts } = evidence[1].measured;
  const sizes = mounts.map(({ target, size_bytes }) => `${target} (${bytes(size_bytes)})`).join(", ");
  return {
    heading: "Media",
    fields: [
      none(
        "Make, model, serial and property number",
        "files lay in the host's memory, on no medium of their own",
      ),
      field("Media type", mounts.length === 0 ? "None recorded" : `File systems in memory (tmpfs): ${sizes}`),
      field(
        "Source",
        `Session ${context.session_id}, created ${context.created_at}, isolation ${context.host.isolation}, kernel ${context.host.kernel}`,
      ),
      field(
        "Classification",
        `${context.data_classification}, as its owner stated; jurisdiction ${context.jurisdiction}`,
      ),
      field("Data backed up", "Unknown: the proof says nothing about copies"),
      none("Backup location", "not known"),
    ],
  };
}

function details({ context, evidence }: Cdp) {
  const written = evidence[2].measured;
  const cleared = evidence[2].ok && written.passes > 0;
  const whole = written.bytes_skipped === 0 && written.read_back_ok === true;
  return {
    heading: "Sanitization",
    fields: [
      field("Method type", cleared ? "Clear" : "None claimed"),
      field("Method used", cleared ? `Overwrite, passes of zeros: ${count(written.passes)}` : "None claimed"),
      field(
        "Method details",
        `Files: ${count(written.files_overwritten)}, ${bytes(written.bytes_overwritten)}; skipped: ${bytes(written.bytes_skipped)}. ${
          evidence[1].ok
            ? "Then the file systems were removed and their memory given back to the kernel."
            : "The file systems were not found to be gone: see step 2."
        }`,
      ),
      field("Tool used", `${context.engine.name} ${context.engine.version}`),
      field(
        "Verification method",
        !cleared
          ? "None claimed"
          : whole
            ? "Full: what was overwritten was read back by another process, as zeros"
            : "Not full: see step 3",
      ),
      none("Post sanitization classification", "the proof assigns none"),
      field("Notes", "The eight steps below, what each measured, and what is not claimed"),
    ],
  };
}

const destination = ({ evidence }: Cdp) => ({
  heading: "Media destination",
  fields: [
    field(
      "Destination",
      evidence[1].ok
        ? "Other: memory given back to the kernel of the same host"
        : "Unknown: the file systems were not found to be gone, see step 2",
    ),
    none("Details", "no medium left its place"),
  ],
});

const signature = ({ attestation, final_hash, destroyed_at }: Cdp) => ({
  heading: "Signature",
  fields: [
    none("Signature of a person", "nobody attests this by hand"),
    field("Final hash", final_hash),
    field("Key", attestation.key_id),
    field("Public key", attestation.public_key),
    field("Signature (Ed25519)", attestation.signature),
    field("Date", `${destroyed_at}, when the last of steps 1 to 6 had been checked`),
  ],
});

const validation = (verifyUrl: string) => ({
  heading: "Validation",
  fields: [
    none("Name, title, signature, date", "nobody has validated this yet; anybody can"),
    field("Check the proof at", verifyUrl),
  ],
});

/** Every text in it, whoever chose it. */
function printable<T>(value: T): T {
  if (typeof value === "string") return plain(value) as T;
  if (Array.isArray(value)) return value.map(printable) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, printable(inner)])) as T;
}
