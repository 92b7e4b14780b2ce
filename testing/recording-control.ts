// SPDX-License-Identifier: Apache-2.0
/**
 * Control's end of a real link, for tests of hosts: it remembers what was observed, and can refuse to
 * commit it or go away as a control does.
 */
import { randomBytes } from "node:crypto";
import type { Desired, HostFacts, MachineSpec, Observation } from "#contract/link/machine.ts";
import type { ResidueQuestion, Residues } from "#contract/link/residues.ts";
import type { ControlLink } from "#link/port.ts";
import { listenSocket } from "#link/socket.ts";

export class RecordingControl {
  readonly observed: Observation[] = [];
  readonly hosts: HostFacts[] = [];
  /** Thrown by the handler instead of committing. */
  refuse: ((observation: Observation) => boolean) | undefined;
  /** What it finds of a machine in its database; it may throw or never answer. */
  residues: (question: ResidueQuestion) => Promise<Residues> = async () => ({ rows: 0, keys: 0 });
  /** What a joining host is told; null to tell it nothing. */
  complete: (() => Desired[]) | null = null;
  link!: ControlLink;
  readonly #wakes = new Set<() => void>();

  static async listen(path: string): Promise<RecordingControl> {
    const control = new RecordingControl();
    control.link = await listenSocket({
      path,
      handlers: {
        async onHost(facts) {
          control.hosts.push(facts);
          if (control.complete) control.link.sendDesired(facts.hostId, control.complete(), true);
          control.#wake();
        },
        onHostGone() {},
        onResidues: (_hostId, question) => control.residues(question),
        async onObserved(_hostId, observations) {
          if (observations.some((one) => control.refuse?.(one))) throw new Error("the rows are locked");
          control.observed.push(...observations);
          control.#wake();
        },
      },
    });
    return control;
  }

  /** The newest observation of the machine in one of these states. */
  async sees(machineId: string, ...states: Observation["state"][]): Promise<Observation> {
    return this.until(`${machineId} ${states.join(" or ")}`, () =>
      this.observed.findLast((one) => one.machineId === machineId && states.includes(one.state)),
    );
  }

  async until<T>(what: string, look: () => T | undefined, mostMs = 20_000): Promise<T> {
    const until = performance.now() + mostMs;
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (performance.now() > until) throw new Error(`never seen: ${what}`);
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#wakes.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, 50);
        this.#wakes.add(wake);
      });
    }
  }

  async joined(count = 1): Promise<string> {
    return this.until("a host", () => this.hosts[count - 1]?.hostId);
  }

  #wake(): void {
    for (const wake of [...this.#wakes]) wake();
  }
}

export const newMachineId = () => `mach_${randomBytes(16).toString("hex")}`;

export function spec(changes: Partial<MachineSpec> = {}): MachineSpec {
  return {
    isolation: "process",
    image: null,
    cpuMillis: 1000,
    memoryMiB: 64,
    pidsMax: 64,
    network: "none",
    endProof: {
      profile: "casemate-cdp/1",
      subject: {
        session_id: `sess_${randomBytes(16).toString("hex")}`,
        created_at: `${new Date().toISOString().slice(0, 19)}Z`,
        data_classification: "PHI",
        jurisdiction: "US",
        ttl_seconds: 300,
      },
    },
    ...changes,
  };
}

export function desire(machineId: string, changes: Partial<Desired> = {}): Desired {
  return {
    machineId,
    generation: 1,
    want: "up",
    spec: spec(),
    remainingMs: 60_000,
    trigger: "api",
    ...changes,
  };
}
