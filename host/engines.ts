// SPDX-License-Identifier: Apache-2.0
/**
 * The engines' self-tests: each does the thing itself, small, and none reports what it did not try.
 *
 *   eee  a sandbox is created and destroyed          dire  the signer signs and verifies
 *   rzl  a scratch event log chains and finds a cut  fgx   the prober can read its tables
 *   ave  a good proof verifies, a changed one does not
 */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Driver, EndFacts } from "#drivers/driver.ts";
import {
  attestProof,
  composeProof,
  type ProofParts,
  publicKeyDigest,
  signingMessage,
} from "#evidence/proofs/build.ts";
import { issueCertificate } from "#evidence/proofs/certificate.ts";
import { toBase64Text } from "#evidence/proofs/encoding.ts";
import { digestText, saltId } from "#evidence/proofs/hash.ts";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { EventChain } from "./event-chain.ts";
import type { HostDeps } from "./machine.ts";
import { publicKeyOf, SEED_BYTES, signWith } from "./signer/ed25519.ts";

const SELF_TEST_KEY_ID = "nrx-verify-20000101T000000Z-00000000";

/** An engine that does not answer is not well. What it was asked goes on, and cleans up after itself when it ends. */
const ANSWER_MS = 10_000;

export type Engines = Record<"eee" | "dire" | "rzl" | "fgx" | "ave", boolean>;

export async function testEngines(deps: HostDeps): Promise<Engines> {
  const tried = async (name: string, test: () => Promise<boolean> | boolean) => {
    let late: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      late = setTimeout(() => reject(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS);
    });
    try {
      return await Promise.race([test(), deadline]);
    } catch (error) {
      deps.log("host.engine-failed", { engine: name, error: String(error) });
      return false;
    } finally {
      clearTimeout(late);
    }
  };
  const first = deps.drivers.values().next().value;
  if (!first)
    return {
      eee: false,
      dire: await tried("dire", () => deps.signer.probe()),
      rzl: false,
      fgx: false,
      ave: false,
    };
  let facts: EndFacts | undefined;
  const eee = await tried("eee", async () => {
    facts = await createAndDestroy(first);
    return facts.steps.namespace.ok && facts.steps.tmpfs.ok;
  });
  const measured = facts;
  return {
    eee,
    dire: await tried("dire", () => deps.signer.probe()),
    rzl: await tried("rzl", () => chainHolds(join(deps.eventsFolder, "self-test.scratch"))),
    fgx: await tried("fgx", async () =>
      first.selfTest ? await first.selfTest() : measured?.steps.forensic.ok === true,
    ),
    ave: await tried("ave", () => measured !== undefined && proofsHold(measured)),
  };
}

async function createAndDestroy(driver: Driver<EndFacts>): Promise<EndFacts> {
  const id = `mach_${randomBytes(16).toString("hex")}`;
  const spec = {
    isolation: driver.isolation,
    image: null,
    cpuMillis: 100,
    memoryMiB: 32,
    pidsMax: 16,
    network: "none" as const,
    endProof: { profile: "casemate-cdp/1" as const, subject: scratchSubject() },
  };
  await driver.start(id, spec, async () => {});
  const facts = await driver.stop(id);
  driver.forget?.(id);
  return facts;
}

function scratchSubject() {
  return {
    session_id: `sess_${"0".repeat(32)}`,
    created_at: `${new Date().toISOString().slice(0, 19)}Z`,
    data_classification: "NONE",
    jurisdiction: "NONE",
    ttl_seconds: 1,
  };
}

/** Never the public log: a file of its own, made and removed. */
function chainHolds(path: string): boolean {
  const chain = EventChain.create(path);
  try {
    chain.add("created");
    chain.add("ended");
    const again = EventChain.reopen(path);
    const whole = again.head === chain.head && again.count === 2 && !again.faulty;
    again.close();
    writeFileSync(path, readFileSync(path, "utf8").replace('"created"', '"removed"'));
    const changed = EventChain.reopen(path);
    const found = changed.count === 0;
    changed.close();
    return whole && found;
  } finally {
    chain.remove();
  }
}

/** With keys made for this: what is tested is making and verifying, not the issuer. */
function proofsHold(facts: EndFacts): boolean {
  const seed = randomBytes(SEED_BYTES);
  const spki = publicKeyOf(seed);
  const subject = scratchSubject();
  const { namespace, tmpfs, overwrite, identity, forensic } = facts.steps;
  const now = new Date();
  const empty = { startedAt: now, endedAt: now, durationMs: 0, ok: true, skipped: [] };
  const parts: ProofParts = {
    context: {
      cdp_version: "1.0",
      profile: "casemate-cdp/1",
      ...subject,
      trigger: "api",
      engine: { name: "casemate", version: "self-test", build_sha256: digestText("") },
      host: {
        boot_id_hash: digestText(""),
        kernel: "self-test",
        isolation: "process",
        root_digest: facts.rootDigest,
      },
      salt_id: saltId(facts.saltHex),
      key_id: SELF_TEST_KEY_ID,
      public_key_sha256: publicKeyDigest(spki),
      limits: facts.limits as ProofParts["context"]["limits"],
    },
    steps: [namespace, tmpfs, overwrite, { ...empty, measured: { data_keys: [] } }, identity, forensic],
    events: { head: digestText(""), count: 0 },
    seal: empty,
    completion: empty,
    endState: "destroyed",
    recovered: null,
  };
  const unsigned = composeProof(parts);
  const certificate = issueCertificate(
    {
      v: 1,
      issuer_id: "self-test",
      key_id: SELF_TEST_KEY_ID,
      public_key: toBase64Text(spki),
      session_id: subject.session_id,
      not_before: unsigned.destroyed_at,
      not_after: unsigned.destroyed_at,
    },
    (message) => signWith(seed, message),
  );
  const signature = signWith(seed, signingMessage(unsigned.final_hash));
  const { bytes } = attestProof(unsigned, { publicKey: spki, signature, certificate });
  const text = Buffer.from(bytes).toString();
  const bad = text.replaceAll('"jurisdiction":"NONE"', '"jurisdiction":"SOME"');
  return (
    bad !== text &&
    verifyProof(bytes, { level: 1 }).valid &&
    !verifyProof(Buffer.from(bad), { level: 1 }).valid
  );
}
