// SPDX-License-Identifier: Apache-2.0
/**
 * What an instance is made in. Of what its agent can run in, the strongest that is here; never something weaker because the stronger
 * is still being looked for, and never without hardware where the operator requires it.
 */
import { Fault } from "#contract/errors.ts";
import type { HostFacts, MachineSpec } from "#contract/link/machine.ts";
import type { GuestImage } from "../../core/attestation/index.ts";
import type { Fleet } from "../../core/fleet/index.ts";
import type { Deps, InstancesConfig } from "./deps.ts";

type Isolation = MachineSpec["isolation"];

const HARDWARE = ["vm-snp", "vm-tdx"] as const;
/** Strongest first. */
const MACHINES = [...HARDWARE, "vm-vtpm", "vm"] as const;
const CONTAINER = "system-container";

interface AgentNeeds {
  /** The flavour of guest image that it is in. */
  image: string;
  memoryMiBMin: number;
  /** Its program gives up where a processor is emulated. */
  needsProcessor: boolean;
}

const NEEDS: Record<string, AgentNeeds> = {
  none: { image: "base", memoryMiBMin: 0, needsProcessor: false },
  // 1,200 MiB of its own when it has answered once, 180 of its helpers, and room for what they write.
  openclaw: { image: "openclaw", memoryMiBMin: 3_072, needsProcessor: true },
};

/** Null: none was built here. */
export function imageWith(guestImages: Deps["guestImages"], agent: string): GuestImage | null {
  const needs = NEEDS[agent];
  return needs === undefined ? null : guestImages.ofFlavour(needs.image);
}

export interface Place {
  /** SHA-256 of its metadata. */
  image: string;
  isolation: Isolation;
  /** Those that can. */
  hosts: string[];
  memoryMiB: number;
}

export type PlaceNeeds = { fleet: Pick<Fleet, "able" | "missing" | "facts"> } & Pick<Deps, "guestImages"> & {
    instances: Pick<InstancesConfig, "memoryMiB" | "requireHardware" | "allowSlowAgents">;
  };

export function requirePlace({ fleet, guestImages, instances }: PlaceNeeds, agent: string): Place {
  const needs = NEEDS[agent];
  const image = imageWith(guestImages, agent);
  if (needs === undefined || image === null)
    throw notReady(
      `There is no image with the agent ${agent} here yet${needs === undefined ? "" : `: casemate images build ${needs.image}`}.`,
    );
  const fast = needs.needsProcessor && !instances.allowSlowAgents;
  const hostsOf = (isolation: Isolation) => {
    const able = fleet.able(isolation);
    return fast ? able.filter((host) => hasProcessor(fleet.facts(), host, isolation)) : able;
  };
  const machines: readonly Isolation[] = instances.requireHardware ? HARDWARE : MACHINES;
  const found = machines.find((one) => hostsOf(one).length > 0) ?? (mayBeContainer() ? CONTAINER : undefined);
  const hosts = found === undefined ? [] : found === CONTAINER ? fleet.able(found) : hostsOf(found);
  if (found === undefined || hosts.length === 0) throw notReady(lackOf());
  const memoryMiB = Math.max(instances.memoryMiB, needs.memoryMiBMin);
  return { image: image.sha256, isolation: found, hosts, memoryMiB };

  /** A container is no machine: for what runs in one as well, only where there is none and none may come in a moment. */
  function mayBeContainer(): boolean {
    if (instances.requireHardware || fleet.able(CONTAINER).length === 0) return false;
    const drivers = fleet.facts().flatMap((facts) => facts.drivers);
    if (drivers.some(({ isolation, looking }) => isOneOf(MACHINES, isolation) && looking === true))
      return false;
    return fast || !MACHINES.some((one) => fleet.able(one).length > 0);
  }

  function lackOf(): string {
    if (instances.requireHardware)
      return `Instances need hardware that keeps them from their host, and no host here has it: ${fleet.missing("vm-snp") ?? fleet.missing("vm-tdx") ?? "none is configured for it"}`;
    const missing = fleet.missing("vm-vtpm") ?? fleet.missing("vm");
    if (!fast) return missing ?? "No host here runs virtual machines.";
    const container = fleet.missing(CONTAINER) ?? "no host here runs system containers";
    return `The agent ${agent} needs a virtual machine with a processor of its own, or a system container: ${missing ?? "machines here are emulated"}; ${container}`;
  }
}

const notReady = (detail: string) => new Fault("host.not-ready", { detail });

const isOneOf = (all: readonly string[], one: string) => all.includes(one);

/** What a host does not say of a confidential machine is so: there is none without KVM. */
function hasProcessor(facts: readonly HostFacts[], hostId: string, isolation: Isolation): boolean {
  if (isOneOf(HARDWARE, isolation)) return true;
  const host = facts.find((each) => each.hostId === hostId);
  return host?.drivers.some((each) => each.isolation === isolation && each.accelerator === "kvm") === true;
}
