// SPDX-License-Identifier: Apache-2.0
/**
 * The kept machines of this host: wishes in, one loop each (machine.ts), observations up, routes to
 * the ingress.
 *
 *  A. A machine that a complete batch does not name is halted, never removed: a control that lost its
 *     memory must not cost anybody their data. The operator is told.
 *  B. A machine that is not known is made from the wish alone: each of the driver's verbs is safe on a
 *     machine that never was.
 */
import type { EgressFacts } from "#contract/link/kept.ts";
import type { Desired, Isolation, Observation } from "#contract/link/machine.ts";
import type { Payload } from "#contract/link/payload.ts";
import type { Endpoint, KeptDriver } from "#drivers/kept-driver.ts";
import type { HostLog } from "../machine.ts";
import { type KeptDeps, KeptMachine } from "./machine.ts";
import type { SshEntries } from "./ssh-entries.ts";
import type { KeptStore } from "./store.ts";

export interface KeptRoute {
  domain: string;
  machineId: string;
  target: Endpoint | null;
  /** Of a machine that holds the key of its names, also while it is not up. */
  tlsInside?: true;
}

export interface KeptOptions {
  store: KeptStore;
  drivers: KeptDriver[];
  report(observation: Observation): void;
  /** Signs a machine's own key for these names. */
  certify(domains: readonly string[], request: Uint8Array): Promise<string>;
  /** Resolves when the ingress goes by them. */
  onRoutes(routes: KeptRoute[]): void | Promise<void>;
  /** Leads people to machines that one logs in to; absent: there are none. */
  ssh?: Pick<SshEntries, "set" | "of" | "release">;
  log: HostLog;
  /** What control named: everything it wants of this host, or some of it. */
  onNamed?(machineIds: ReadonlySet<string>, complete: boolean): void;
  /** Monotonic, in milliseconds. */
  clock?(): number;
  /** Why a wish for a machine to be up is above what the host's operator allows; undefined when it fits. */
  refusal(desired: Desired, others: Desired[]): string | undefined;
}

export class KeptReconciler {
  readonly #options: KeptOptions;
  readonly #drivers: ReadonlyMap<Isolation, KeptDriver>;
  readonly #machines = new Map<string, KeptMachine>();
  #fresh = new Set<string>();

  constructor(options: KeptOptions) {
    this.#options = options;
    this.#drivers = new Map(options.drivers.map((driver) => [driver.isolation, driver]));
    for (const driver of options.drivers) {
      driver.onChange((id, change) => this.#machines.get(id)?.changed(change));
      driver.certifyBy?.((id, request) => {
        const domains = this.#machines.get(id)?.desired.spec.kept?.domains;
        return options.certify(domains ?? [], request);
      });
    }
  }

  /** Somebody else signs for its key now. */
  certifyAnew(machineId: string): void {
    const machine = this.#machines.get(machineId);
    if (machine !== undefined) this.#drivers.get(machine.desired.spec.isolation)?.certifyAnew?.(machineId);
  }

  /**
   * Before anything is desired: what an earlier process left is found again. What no record speaks of is
   * left alone, with its disk: a record may have been lost, and control says what is to go (A).
   */
  async adopt(): Promise<void> {
    for (const [id, entry] of this.#options.store.entries) {
      const deps = this.#depsOf(entry.desired.spec.isolation);
      if (deps === null) {
        this.#options.log("host.kept-without-driver", { machineId: id });
        continue;
      }
      this.#machines.set(id, new KeptMachine(id, deps, entry));
    }
    await Promise.all([...this.#machines.values()].map((machine) => machine.adopt()));
  }

  accept(batch: readonly Desired[], complete: boolean): void {
    const named = new Set<string>();
    for (const desired of batch) {
      named.add(desired.machineId);
      this.#accept(desired);
    }
    this.#options.onNamed?.(named, complete);
    if (!complete) {
      for (const id of named) this.#fresh.add(id);
      return;
    }
    for (const machine of this.#machines.values()) {
      if (named.has(machine.id) || this.#fresh.has(machine.id) || machine.desired.want !== "up") continue;
      this.#options.log("host.kept-unknown-to-control", { machineId: machine.id });
      machine.wish({ ...machine.desired, want: "halted" }); // A
    }
    this.#fresh.clear();
  }

  /** There is a record of it, be it one that cannot be read. */
  isRecorded(machineId: string): boolean {
    const { entries, unreadable } = this.#options.store;
    return (
      this.#machines.has(machineId) ||
      entries.has(machineId) ||
      unreadable.some((name) => name.startsWith(machineId))
    );
  }

  find(machineId: string): { machine: KeptMachine; driver: KeptDriver } | undefined {
    const machine = this.#machines.get(machineId);
    const driver = machine && this.#drivers.get(machine.desired.spec.isolation);
    return machine && driver && { machine, driver };
  }

  /** What machines with a limit have sent, as far as their drivers count. One that cannot say now keeps nobody else's from being told. */
  async egress(): Promise<EgressFacts[]> {
    const asked = this.#options.drivers.map(async (driver) => {
      try {
        return (await driver.egress?.()) ?? [];
      } catch (error) {
        this.#options.log("host.egress-uncounted", { isolation: driver.isolation, error: String(error) });
        return [];
      }
    });
    return (await Promise.all(asked)).flat();
  }

  give(machineId: string, incarnation: number, payload: Payload): void {
    this.#machines.get(machineId)?.give(incarnation, payload);
  }

  /** Control has committed it. */
  acknowledged(observation: Observation): void {
    this.#machines.get(observation.machineId)?.acknowledged(observation);
  }

  /** The payload of this start can never be taken. */
  refuse(machineId: string, incarnation: number): void {
    this.#machines.get(machineId)?.refuse(incarnation);
  }

  /** Every loop ends; machines stay as they are. */
  async close(): Promise<void> {
    await Promise.all([...this.#machines.values()].map((machine) => machine.close()));
  }

  /**
   * Halts what runs, to come up again with the next process. It is reported as starting, which is what
   * it will do next: until then it costs nothing, and keeps its room.
   */
  async suspend(): Promise<void> {
    await this.close();
    await Promise.all([...this.#machines.values()].map((machine) => machine.suspend()));
  }

  #accept(desired: Desired): void {
    const { spec, machineId, generation, incarnation = 1 } = desired;
    const known = this.#machines.get(machineId);
    const others = [...this.#machines.values()].filter((machine) => machine !== known);
    const allowed = () =>
      this.#options.refusal(
        desired,
        others.map((machine) => machine.desired),
      );
    if (known !== undefined) {
      const repeated = known.desired.want === "up" && known.desired.incarnation === desired.incarnation;
      known.wish(desired, desired.want === "up" && !repeated ? allowed() : undefined);
      return;
    }
    const deps = this.#depsOf(spec.isolation);
    const missing = deps === null ? `isolation ${spec.isolation} has no driver here` : undefined;
    const why = missing ?? (desired.want === "up" ? allowed() : undefined);
    if (why !== undefined || deps === null) {
      // Not for good: the next start may find room.
      const code = "host.above-ceiling";
      this.#options.report({ machineId, generation, incarnation, state: "halted", code, detail: why! });
      return;
    }
    // A machine that was refused an older generation is not known, and is tried anew.
    const machine = new KeptMachine(machineId, deps, { desired, applied: null, record: null });
    this.#machines.set(machineId, machine);
    // Before it is up: its names are proved to a directory while it starts.
    if (deps.driver.attested !== undefined) void deps.onRoute();
    machine.wish(desired);
  }

  #depsOf(isolation: Isolation): KeptDeps | null {
    const driver = this.#drivers.get(isolation);
    if (driver === undefined) return null;
    const { store, report, log, certify } = this.#options;
    return {
      ...{ store, driver, report, log, certify },
      clock: this.#options.clock ?? (() => performance.now()),
      onRoute: async () => {
        await Promise.all([this.#options.onRoutes(this.#routes()), this.#options.ssh?.set(this.#logins())]);
      },
      onGone: (machineId) => {
        this.#machines.delete(machineId);
        this.#options.onRoutes(this.#routes());
        this.#options.ssh?.release(machineId).catch((error: unknown) => {
          log("host.ssh-entries", { machineId, error: String(error) });
        });
      },
      ssh: async (machineId) => {
        const entry = await this.#options.ssh?.of(machineId);
        return entry ? { ...entry, hostKeys: [...entry.hostKeys] } : null;
      },
    };
  }

  /** Machines that one logs in to, and that are up. */
  #logins(): Map<string, Endpoint> {
    const all = [...this.#machines.values()].filter(({ desired }) => desired.want !== "down");
    return new Map(all.flatMap(({ id, endpoint }) => (endpoint?.ssh ? [[id, endpoint] as const] : [])));
  }

  /**
   * A name leads to one machine. One that is to go holds its names no longer: they may be another's before
   * the last of it is gone. Of two that claim one, the younger has it; control is about to say the same.
   */
  #routes(): KeptRoute[] {
    const routes = new Map<string, KeptRoute>();
    for (const machine of this.#machines.values()) {
      if (machine.desired.want === "down") continue;
      const attests = this.#drivers.get(machine.desired.spec.isolation)?.attested !== undefined;
      const inside = attests || machine.endpoint?.tlsInside ? { tlsInside: true as const } : {};
      for (const domain of machine.desired.spec.kept?.domains ?? [])
        routes.set(domain, { domain, machineId: machine.id, target: machine.endpoint, ...inside });
    }
    return [...routes.values()];
  }
}
