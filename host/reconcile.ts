// SPDX-License-Identifier: Apache-2.0
/**
 * Desired state in, driver calls out, observations up. Level-triggered: a batch may be lost, repeated
 * or reordered, and every desire gets an answer, so control never waits for one that was given to an
 * earlier copy of the same wish.
 *
 * Invariants:
 *  A. A lower generation than the one known is ignored.
 *  B. A machine that ended here is never started again, whatever is desired; one that was refused or
 *     failed is tried again only for a higher generation.
 *  C. `down` sticks: no later `up` brings a machine back.
 *  D. A machine is reported running only when its record is stored: one that could not be found again
 *     after a crash must not be used.
 *  E. What a complete batch does not name goes down with trigger `recovery`: control does not know it.
 *     Spared are machines named since the complete batch before: control may have read its rows for
 *     this one before it inserted those.
 */
import type { Desired, Observation } from "#contract/link/machine.ts";
import { DriverFault } from "#drivers/driver.ts";
import type { Trigger } from "#evidence/proofs/document.ts";
import { refusal } from "./ceiling.ts";
import { endMachine, eventsPath, recoverMachine, resumeEnding } from "./end.ts";
import { EventChain } from "./event-chain.ts";
import type { Expiry } from "./expiry.ts";
import type { Finals } from "./finals.ts";
import { failed, type HostDeps, type Machine } from "./machine.ts";
import type { Reports } from "./report.ts";

/** Recoveries at once at start. */
const RECOVERIES = 8;

export class Reconciler {
  readonly #deps: HostDeps;
  readonly #reports: Reports;
  readonly #finals: Finals;
  readonly #expiry: Expiry;
  readonly #machines = new Map<string, Machine>();
  /** Named since the last complete batch (E). */
  #fresh = new Set<string>();

  constructor(deps: HostDeps, reports: Reports, finals: Finals, expiry: Expiry) {
    this.#deps = deps;
    this.#reports = reports;
    this.#finals = finals;
    this.#expiry = expiry;
  }

  accept(batch: Desired[], complete: boolean): void {
    for (const desired of batch) this.#acceptOne(desired);
    const named = new Set(batch.map((desired) => desired.machineId));
    if (!complete) {
      for (const id of named) if (this.#machines.has(id)) this.#fresh.add(id);
      return;
    }
    for (const { id } of [...this.#machines.values()])
      if (!named.has(id) && !this.#fresh.has(id)) this.end(id, "recovery");
    this.#fresh.clear();
  }

  find(machineId: string): Machine | undefined {
    return this.#machines.get(machineId);
  }

  count(): number {
    return this.#machines.size;
  }

  /** Goes down for a reason of this host's own (E, time, memory, shutdown). */
  end(machineId: string, trigger: Trigger): void {
    const machine = this.#machines.get(machineId);
    if (!machine || machine.trigger) return;
    machine.trigger = trigger;
    this.#expiry.clear(machineId);
    this.#enqueue(machine, () => this.#takeDown(machine));
  }

  /** Ends every machine and waits for their proofs to be stored. */
  async endAll(trigger: Trigger): Promise<void> {
    const machines = [...this.#machines.values()];
    for (const machine of machines) this.end(machine.id, trigger);
    await Promise.all(machines.map((machine) => machine.turn));
  }

  /** Every machine an earlier process left: ended, proved, reported. Before anything is desired. */
  async recover(): Promise<void> {
    const { store, drivers } = this.#deps;
    for (const { observation } of store.ended.values()) this.#reports.add(observation);
    const work: (() => Promise<Observation>)[] = [];
    for (const entry of [...store.ending.values()])
      work.push(() => resumeEnding(this.#deps, drivers.get(entry.live.isolation), entry));
    for (const live of [...store.live.values()]) {
      const driver = drivers.get(live.isolation);
      if (driver) work.push(() => recoverMachine(this.#deps, driver, live));
      else
        this.#deps.log("host.recovery-impossible", { machineId: live.machineId, isolation: live.isolation });
    }
    const worker = async () => {
      for (let next = work.shift(); next; next = work.shift()) this.#reports.add(await next());
    };
    await Promise.all(Array.from({ length: RECOVERIES }, worker));
    for (const driver of drivers.values()) {
      // A host that cannot reap still serves: staying away would leave what it found alive as well.
      const reaped = await driver.reap(new Set(driver.live())).catch((error) => String(error));
      if (reaped !== 0) this.#deps.log("host.reaped", { isolation: driver.isolation, reaped });
    }
  }

  /** Control has committed it. */
  acknowledged(observation: Observation): void {
    if (observation.state === "running") return;
    this.#finals.add(observation);
    if (observation.state !== "ended") return;
    this.#deps.store.forget(observation.machineId).catch((error) => {
      this.#deps.log("host.store-failed", { machineId: observation.machineId, error: String(error) });
    });
  }

  #acceptOne(desired: Desired): void {
    const { machineId, generation } = desired;
    const machine = this.#machines.get(machineId);
    if (machine) {
      this.#change(machine, desired);
      return;
    }

    const waiting = this.#reports.find(machineId) ?? this.#deps.store.ended.get(machineId)?.observation;
    const state = waiting?.state ?? this.#finals.state(machineId);
    const known = waiting?.generation ?? this.#finals.generation(machineId);
    if (known !== undefined) {
      if (generation < known) return; // A
      const neverRan = state !== "ended" && generation > known;
      if (!neverRan) {
        const answer = waiting ? { ...waiting, generation } : this.#finals.find(machineId, generation);
        if (answer) this.#reports.add(answer); // B
        return;
      }
    }
    if (desired.want === "down" || this.#isLost(machineId)) this.#reports.add(unknown(machineId, generation));
    else this.#begin(desired);
  }

  /** It was here, and its record can no longer be read or no driver can act on it: not to be begun anew (B). */
  #isLost(machineId: string): boolean {
    const { live, unreadable } = this.#deps.store;
    return live.has(machineId) || unreadable.some((name) => name.startsWith(machineId));
  }

  #change(machine: Machine, desired: Desired): void {
    if (desired.generation < machine.generation) return; // A
    machine.generation = desired.generation;
    if (desired.want === "down") {
      this.end(machine.id, desired.trigger);
      return;
    }
    if (machine.trigger) return; // C
    this.#expiry.set(machine.id, desired.remainingMs);
    if (machine.state === "running") this.#reportRunning(machine);
  }

  #begin(desired: Desired): void {
    const { machineId, generation, spec } = desired;
    const driver = this.#deps.drivers.get(spec.isolation);
    const present = [...this.#machines.values()].map((machine) => machine.spec);
    const why = refusal(this.#deps.ceiling, spec, present);
    if (why !== undefined || !driver || spec.endProof === null) {
      this.#reports.add({
        machineId,
        generation,
        state: "refused",
        code: "host.above-ceiling",
        detail: why ?? `isolation ${spec.isolation} has no driver here`,
      });
      return;
    }
    const machine: Machine = {
      id: machineId,
      spec,
      driver,
      events: EventChain.create(eventsPath(this.#deps, machineId), this.#deps.store.blanks),
      generation,
      state: "starting",
      trigger: null,
      turn: Promise.resolve(),
    };
    this.#machines.set(machineId, machine);
    this.#expiry.set(machineId, desired.remainingMs);
    this.#enqueue(machine, () => this.#bringUp(machine));
  }

  async #bringUp(machine: Machine): Promise<void> {
    const { store, boot } = this.#deps;
    const { id, spec, driver } = machine;
    const put = (record: Record<string, unknown>) =>
      store
        .putLive({
          machineId: id,
          generation: machine.generation,
          isolation: spec.isolation,
          subject: spec.endProof!.subject,
          bootId: boot.bootId,
          record,
        })
        .catch((cause) => {
          throw new DriverFault("host.no-space", "the machine's record could not be stored", { cause });
        });
    let stored: unknown;
    try {
      const { record } = await driver.start(id, spec, async (early) => {
        await put(early);
        stored = early;
      });
      if (record !== stored) await put(record); // D
    } catch (error) {
      this.#deps.log("host.start-failed", { machineId: id, error: String(error) });
      if (driver.live().includes(id)) await driver.stop(id).catch(() => {});
      await store.dropLive(id).catch(() => {});
      driver.forget?.(id);
      machine.events.remove();
      this.#gone(machine);
      this.#reports.add(failed(id, machine.generation, error));
      return;
    }
    machine.events.add("created");
    machine.state = "running";
    if (!machine.trigger) this.#reportRunning(machine);
  }

  async #takeDown(machine: Machine): Promise<void> {
    if (this.#machines.get(machine.id) !== machine) return; // it never started
    machine.state = "ending";
    const observation = await endMachine(this.#deps, machine, machine.trigger!);
    this.#gone(machine);
    this.#reports.add({ ...observation, generation: machine.generation });
  }

  #reportRunning(machine: Machine): void {
    this.#reports.add({ machineId: machine.id, generation: machine.generation, state: "running" });
  }

  #gone(machine: Machine): void {
    this.#machines.delete(machine.id);
    this.#fresh.delete(machine.id);
    this.#expiry.clear(machine.id);
  }

  #enqueue(machine: Machine, work: () => Promise<void>): void {
    machine.turn = machine.turn.then(work).catch((error) => {
      this.#deps.log("host.machine-stuck", { machineId: machine.id, error: String(error) });
    });
  }
}

function unknown(machineId: string, generation: number): Observation {
  return {
    machineId,
    generation,
    state: "failed",
    code: "machine.unknown",
    detail: "this host has no such machine and no proof of one",
  };
}
