// SPDX-License-Identifier: Apache-2.0
/**
 * The part of a machine's end that lies in control's database. Control looks, because only it can; what it
 * answers goes into the facts before they are stored and signed: rows into step 6, keys into step 5.
 *
 *  A. It is asked when the driver has ended the machine: what a last command left behind is there by then.
 *  B. Without an answer nothing is claimed and nothing waits: the facts say that it was not looked for.
 *     A control that is away, hangs or is older must not keep a machine from its proof.
 *  C. An answer can only fail a step, never mend one.
 */
import type { ResidueQuestion, Residues } from "#contract/link/residues.ts";
import type { EndFacts } from "#drivers/driver.ts";
import type { Probe, Skipped, StepRecord } from "#evidence/proofs/document.ts";
import { probeRoot } from "#evidence/proofs/hash.ts";

export type FindResidues = (question: ResidueQuestion) => Promise<Residues>;

const ANSWER_MS = 2_000;
/** Questions at once: control takes a host that says too much together for one that floods it. */
const ASKED_AT_ONCE = 32;

const ROWS = "rows holding bodies";
const KEYS = "tokens";

/** Asks for few machines at a time; null when there was no answer (B). */
export function residueDesk(find: FindResidues, answerMs = ANSWER_MS) {
  const waiting: (() => void)[] = [];
  let asked = 0;
  return async (machineId: string): Promise<Residues | null> => {
    if (asked >= ASKED_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
    else asked += 1;
    let late: NodeJS.Timeout | undefined;
    const tooLate = new Promise<null>((resolve) => {
      late = setTimeout(() => resolve(null), answerMs);
    });
    try {
      return await Promise.race([find({ machineId }).catch(() => null), tooLate]);
    } finally {
      clearTimeout(late);
      const next = waiting.shift();
      if (next) next();
      else asked -= 1;
    }
  };
}

/** The facts with what control found, or with the words that it was not asked. */
export async function addResidues(facts: EndFacts, look: () => Promise<Residues | null>): Promise<EndFacts> {
  const from = performance.now();
  const residues = await look();
  const span = { endedAt: new Date(), tookMs: Math.round(performance.now() - from) };
  const { forensic, identity } = facts.steps;
  if (residues === null) {
    const reason = "control did not say what its database holds";
    return withSteps(
      facts,
      lengthened(forensic, span, { name: ROWS, reason }),
      lengthened(identity, span, { name: KEYS, reason }),
    );
  }
  const found: Probe = {
    name: ROWS,
    expected: "0 found",
    observed: `${residues.rows} found`,
    ok: residues.rows === 0,
  };
  const probes = [...forensic.measured.probes, found];
  const searched = lengthened(forensic, span);
  searched.measured = { ...forensic.measured, probes, probe_root: probeRoot(probes) };
  searched.ok &&= found.ok;
  const released = lengthened(identity, span);
  if (residues.keys > 0) {
    released.measured = { ...identity.measured, lookup_absent: false };
    released.ok = false;
  }
  return withSteps(facts, searched, released);
}

function withSteps(
  facts: EndFacts,
  forensic: EndFacts["steps"]["forensic"],
  identity: EndFacts["steps"]["identity"],
): EndFacts {
  return { ...facts, steps: { ...facts.steps, forensic, identity } };
}

function lengthened<M>(
  step: StepRecord<M>,
  { endedAt, tookMs }: { endedAt: Date; tookMs: number },
  ...skipped: Skipped[]
): StepRecord<M> {
  const all = [...step.skipped, ...skipped];
  return { ...step, endedAt, durationMs: step.durationMs + tookMs, skipped: all };
}
