// SPDX-License-Identifier: Apache-2.0
/**
 * From what was measured to the signed proof: the driver's five steps, step 4 (our own data key), the
 * last two (last-steps.ts), and words of the context. Whether a step may say `ok`, the outcome and the
 * hashes are decided in evidence/proofs, inside the signer; nothing here can talk a failure away.
 */

import type { ProofParts } from "#evidence/proofs/build.ts";
import type { Context, KeysMeasured, StepRecord, Trigger } from "#evidence/proofs/document.ts";
import { Limit } from "#evidence/proofs/document.ts";
import { digestText, saltId } from "#evidence/proofs/hash.ts";
import type { BootFacts } from "./boot.ts";
import type { LastSteps } from "./last-steps.ts";
import type { NewKey, Signed } from "./signer/session-keys.ts";
import type { Signer } from "./signer/signer.ts";
import type { EndingEntry, KeyRelease } from "./store.ts";

/** Members of `limits` that hold for every proof of this host, whatever its driver measured. */
const ALWAYS = [
  "freed_pages_not_zeroed",
  "host_kernel_trusted",
  "api_process_copies",
  "signing_key_outlives_proof",
  "times_are_operator_claims",
] as const;

const DATA_KEY_WIPE = "zero_fill, wrapped copy overwritten and unlinked";

/** Step 4 around the release of the machine's data key. */
export async function measureKeys(release: () => Promise<KeyRelease>): Promise<StepRecord<KeysMeasured>> {
  const startedAt = new Date();
  const began = performance.now();
  let wiped: boolean | null = false;
  let gone = true;
  try {
    ({ wiped } = await release());
  } catch {
    // The wrapped copy may still be there: the key is not released, and the proof says so.
    gone = false;
  }
  return {
    startedAt,
    endedAt: new Date(),
    durationMs: Math.round(performance.now() - began),
    ok: gone && wiped !== false,
    measured: {
      data_keys: [
        {
          purpose: "machine_record",
          strength_bits: 256,
          wipe_method: DATA_KEY_WIPE,
          wiped: gone ? wiped : false,
        },
      ],
    },
    skipped:
      wiped === null
        ? [
            {
              name: "memory_of_earlier_process",
              reason: "the key's buffer died with the process that held it",
            },
          ]
        : [],
  };
}

/** Signs the proof of an ended machine. `key` was made before the teardown began, or for a later process. */
export async function signProof(
  signer: Signer,
  key: NewKey,
  boot: BootFacts,
  entry: EndingEntry,
  keysStep: StepRecord<KeysMeasured>,
  last: LastSteps,
): Promise<Signed> {
  const { facts, live, trigger, events, recovered } = entry;
  const { subject } = live;
  const { namespace, tmpfs, overwrite, identity, forensic } = facts.steps;
  const parts: ProofParts = {
    context: {
      cdp_version: "1.0",
      profile: "casemate-cdp/1",
      session_id: subject.session_id,
      created_at: subject.created_at,
      data_classification: subject.data_classification,
      jurisdiction: subject.jurisdiction,
      ttl_seconds: subject.ttl_seconds,
      trigger,
      engine: boot.engine,
      host: {
        boot_id_hash: digestText(boot.bootId),
        kernel: boot.kernel,
        isolation: live.isolation,
        root_digest: facts.rootDigest,
      },
      salt_id: saltId(facts.saltHex),
      key_id: key.keyId,
      public_key_sha256: key.publicKeySha256,
      limits: limitsOf(facts.limits),
    },
    steps: [namespace, tmpfs, overwrite, keysStep, identity, forensic],
    events,
    ...last,
    endState: endStateOf(trigger),
    recovered: recovered && {
      boot_id_hash_before: digestText(recovered.bootIdBefore),
      boot_id_hash_after: digestText(recovered.bootIdAfter),
    },
  };
  return signer.sign(key.keyId, parts);
}

/** A session that ran out of time or memory expired; one that was ended was destroyed. */
function endStateOf(trigger: Trigger): "destroyed" | "expired" {
  return trigger === "ttl" || trigger === "oom" ? "expired" : "destroyed";
}

/** In the order of the closed list, so that equal facts make equal documents. */
function limitsOf(measured: string[]): Context["limits"] {
  const held = new Set<string>([...ALWAYS, ...measured]);
  return Limit.enum.filter((limit) => held.has(limit));
}
