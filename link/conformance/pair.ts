// SPDX-License-Identifier: Apache-2.0
/** A control and a host joined by the link under test, and what went over it. */
import type { Desired, HostFacts, Observation, StreamRequest } from "#contract/link/machine.ts";
import type { ControlHandlers, ControlLink, HostHandlers, HostLink } from "../port.ts";

export interface LinkFactory {
  /** A listening control; `dial` joins a host to it. */
  control(handlers: ControlHandlers): Promise<{
    link: ControlLink;
    dial(facts: HostFacts, handlers: HostHandlers): Promise<HostLink>;
    /** Breaks the transport under the links without either side having asked for it. */
    drop(): Promise<void>;
    /** Bytes the other side sent on a raw connection; absent where there is none (a broker). */
    raw?(bytes: Uint8Array): Promise<Buffer>;
    dispose(): Promise<void>;
  }>;
}

export const factsOf = (hostId: string): HostFacts => ({
  hostId,
  version: "0.0.0",
  bootId: "boot",
  cpus: 1,
  memoryMiB: 1,
  drivers: [],
  issuers: [],
  engines: {},
});

export const REQUEST: StreamRequest = { kind: "file-get", machineId: "mach_x", path: "x" };

export function desiredOf(number: number): Desired {
  return {
    machineId: `mach_${number.toString(16).padStart(32, "0")}`,
    generation: 1,
    want: "up",
    spec: {
      isolation: "process",
      image: null,
      cpuMillis: 1,
      memoryMiB: 1,
      pidsMax: 1,
      network: "none",
      endProof: {
        profile: "casemate-cdp/1",
        subject: {
          session_id: "s",
          created_at: "c",
          data_classification: "d",
          jurisdiction: "j",
          ttl_seconds: null,
        },
      },
    },
    remainingMs: null,
    trigger: "api",
  };
}

interface Pair {
  control: Awaited<ReturnType<LinkFactory["control"]>>;
  link: ControlLink;
  host: HostLink;
  joins: HostFacts[];
  gone: string[];
  observed: Observation[];
  batches: { batch: Desired[]; complete: boolean }[];
  until<T>(what: string, look: () => T | undefined | false): Promise<T>;
}

interface PairOptions {
  onStream?: HostHandlers["onStream"];
  onObserved?: (observations: Observation[]) => void;
  onHost?: (facts: HostFacts) => void;
  onChallenge?: ControlHandlers["onChallenge"];
  onResidues?: ControlHandlers["onResidues"];
  beforeCommit?: () => Promise<void>;
}

export async function until<T>(what: string, look: () => T | undefined | false): Promise<T> {
  for (const since = performance.now(); performance.now() - since < 15_000; ) {
    const found = look();
    if (found !== undefined && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`never seen: ${what}`);
}

export async function linked(
  factory: LinkFactory,
  options: PairOptions,
  body: (pair: Pair) => Promise<void>,
): Promise<void> {
  const joins: HostFacts[] = [];
  const gone: string[] = [];
  const observed: Observation[] = [];
  const batches: Pair["batches"] = [];
  const control = await factory.control({
    async onHost(facts) {
      options.onHost?.(facts);
      joins.push(facts);
    },
    onHostGone: (hostId) => gone.push(hostId),
    ...(options.onChallenge && { onChallenge: options.onChallenge }),
    ...(options.onResidues && { onResidues: options.onResidues }),
    async onObserved(_hostId, observations) {
      options.onObserved?.(observations);
      await options.beforeCommit?.();
      observed.push(...observations);
    },
  });
  let host: HostLink | undefined;
  try {
    host = await control.dial(factsOf("host_a"), {
      onDesired: (batch, complete) => batches.push({ batch, complete }),
      onStream: options.onStream ?? ((_request, stream) => stream.end({ kind: "done", trailer: null })),
    });
    await until("the host", () => joins.length > 0);
    await body({ control, link: control.link, host, joins, gone, observed, batches, until });
  } finally {
    await host?.close();
    await control.link.close();
    await control.dispose();
  }
}

export const running = (number: number): Observation => ({
  machineId: desiredOf(number).machineId,
  generation: 1,
  state: "running",
});
