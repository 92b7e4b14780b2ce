// SPDX-License-Identifier: Apache-2.0
/**
 * Ending: measure, make durable, release the key, sign, make durable. A kill between any two of these
 * is taken up by the next process where it stopped (store.ts, A and B).
 *
 * Invariants:
 *  A. There is no way out without a signed proof, except that the process ends: what fails is tried
 *     again. A teardown that is refused by the kernel is a proof that says `incomplete`, not a retry.
 *  B. The session's key is made before the teardown, so the certificate's window holds it whole; a
 *     key lost with its signer is replaced by a new one, since nothing was signed yet.
 *  C. A full disk costs durability, not the proof: it is then reported from memory.
 */
import { join } from "node:path";
import type { Observation } from "#contract/link/machine.ts";
import type { Driver, EndFacts } from "#drivers/driver.ts";
import type { Trigger } from "#evidence/proofs/document.ts";
import { waitMs } from "#link/backoff.ts";
import { EventChain } from "./event-chain.ts";
import { type LastLooks, measureLast } from "./last-steps.ts";
import type { HostDeps, Machine } from "./machine.ts";
import { measureKeys, signProof } from "./proof.ts";
import { addResidues } from "./residues.ts";
import type { NewKey, Signed } from "./signer/session-keys.ts";
import type { EndingEntry, LiveEntry } from "./store.ts";

/** Ends a machine this process started. */
export async function endMachine(deps: HostDeps, machine: Machine, trigger: Trigger): Promise<Observation> {
  const live = deps.store.live.get(machine.id)!;
  machine.events.add("ending", { trigger });
  // Together: the key is ready long before the teardown is.
  const key = deps.signer.newKey(live.subject.session_id).catch(() => undefined);
  const facts = await untilDone(deps, "stop", machine.id, () => machine.driver.stop(machine.id));
  machine.events.add("ended", { oom: facts.oom });
  return conclude(deps, machine.driver, machine.events, live, trigger, facts, null, key);
}

/** Ends what an earlier process left behind, from its record. */
export async function recoverMachine(
  deps: HostDeps,
  driver: Driver<EndFacts>,
  live: LiveEntry,
): Promise<Observation> {
  const events = EventChain.reopen(eventsPath(deps, live.machineId), deps.store.blanks);
  events.add("recovered", { sameBoot: live.bootId === deps.boot.bootId });
  const facts = await untilDone(deps, "recover", live.machineId, () =>
    driver.recover(live.machineId, live.record),
  );
  events.add("ended", { oom: facts.oom });
  const recovered = { bootIdBefore: live.bootId, bootIdAfter: deps.boot.bootId };
  return conclude(deps, driver, events, live, "recovery", facts, recovered);
}

/** Signs for an earlier process that measured and died before it could. */
export async function resumeEnding(
  deps: HostDeps,
  driver: Driver<EndFacts> | undefined,
  entry: EndingEntry,
): Promise<Observation> {
  const events = EventChain.reopen(eventsPath(deps, entry.live.machineId), deps.store.blanks);
  // The log is not flushed: a crash of the whole machine may have cut it after the entry was stored.
  const sameBoot = (entry.recovered?.bootIdAfter ?? entry.live.bootId) === deps.boot.bootId;
  const { head, count } = entry.events;
  const eventsHold = () => (sameBoot ? events.head === head && events.count === count : null);
  return signAndStore(deps, driver, events, entry, eventsHold);
}

export function eventsPath(deps: HostDeps, machineId: string): string {
  return join(deps.eventsFolder, `${machineId}.events`);
}

async function conclude(
  deps: HostDeps,
  driver: Driver<EndFacts>,
  events: EventChain,
  { record: _, ...live }: LiveEntry,
  trigger: Trigger,
  facts: EndFacts,
  recovered: EndingEntry["recovered"],
  key?: Promise<NewKey | undefined>,
): Promise<Observation> {
  const complete = await addResidues(facts, () => deps.findResidues(live.machineId));
  const entry = {
    ...{ live, trigger, facts: complete, recovered },
    events: { head: events.head, count: events.count },
  };
  await unlessFull(deps, live.machineId, () => deps.store.putEnding(entry));
  // Only now: a signer that hangs must not keep what was measured out of the store.
  return signAndStore(deps, driver, events, entry, () => events.holds(), await key);
}

async function signAndStore(
  deps: HostDeps,
  driver: Driver<EndFacts> | undefined,
  events: EventChain,
  entry: EndingEntry,
  eventsHold: LastLooks["eventsHold"],
  firstKey?: NewKey,
): Promise<Observation> {
  const { machineId, generation, subject } = entry.live;
  const keysStep = await measureKeys(() => deps.store.releaseKey(machineId));
  const last = measureLast({
    eventsHold,
    strays: () => deps.store.strays(machineId),
    listed: () => driver?.live().includes(machineId) ?? false,
  });
  let key = firstKey;
  const signed: Signed = await untilDone(deps, "sign", machineId, async () => {
    const mine = key ?? (await deps.signer.newKey(subject.session_id));
    key = undefined;
    return signProof(deps.signer, mine, deps.boot, entry, keysStep, last);
  });
  const observation: Observation = {
    machineId,
    generation,
    state: "ended",
    ended: {
      trigger: entry.trigger,
      outcome: signed.outcome,
      endedAt: signed.destroyedAt,
      proof: signed.proof,
      saltHex: entry.facts.saltHex,
    },
  };
  await unlessFull(deps, machineId, () => deps.store.putEnded(observation));
  events.remove();
  driver?.forget?.(machineId);
  return observation;
}

/** A: again and again, slower and slower, until it is done or the host has no more time. */
async function untilDone<T>(
  deps: HostDeps,
  what: string,
  machineId: string,
  work: () => Promise<T>,
): Promise<T> {
  for (let failures = 0; ; failures++) {
    try {
      return await work();
    } catch (error) {
      deps.log("host.end-retried", { what, machineId, error: String(error) });
      await pause(deps.stopping, waitMs(deps.retry, failures));
    }
  }
}

/** C. Three tries, since ending machines is what frees a full disk. */
async function unlessFull(deps: HostDeps, machineId: string, write: () => Promise<void>): Promise<void> {
  for (let failures = 0; failures < 3; failures++) {
    try {
      return await write();
    } catch (error) {
      deps.log("host.store-failed", { machineId, error: String(error) });
      await pause(deps.stopping, waitMs(deps.retry, failures));
    }
  }
}

function pause(signal: AbortSignal, ms: number): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
