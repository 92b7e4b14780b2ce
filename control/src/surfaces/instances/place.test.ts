// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import type { HostFacts } from "#contract/link/machine.ts";
import type { ControlLink } from "#link/port.ts";
import type { GuestImages } from "../../core/attestation/index.ts";
import { openFleet } from "../../core/fleet/index.ts";
import { requirePlace } from "./place.ts";

type Driver = Partial<HostFacts["drivers"][number]> & Pick<HostFacts["drivers"][number], "isolation">;

const image = { sha256: "a".repeat(64), metadata: null as never, text: () => "" };
const images = (...flavours: string[]) =>
  ({ ofFlavour: (name) => (flavours.includes(name) ? image : null) }) as Pick<
    GuestImages,
    "ofFlavour"
  > as GuestImages;
const REFUSAL = { code: "host.not-ready" };

async function place(
  agent: string,
  hosts: Record<string, Driver[]>,
  more: object = {},
  built = images("base", "openclaw"),
) {
  const link = { sendDesired: () => {} } as Partial<ControlLink> as ControlLink;
  const fleet = openFleet(() => link);
  fleet.onJoin(async () => []);
  for (const [hostId, drivers] of Object.entries(hosts))
    await fleet.joined({
      ...{ hostId, version: "1", bootId: "b", cpus: 1, memoryMiB: 1024, issuers: [], engines: {} },
      drivers: drivers.map((driver) => ({
        ready: true,
        missing: null,
        limits: "",
        privileged: true,
        ...driver,
      })),
    });
  const instances = { memoryMiB: 512, requireHardware: false, allowSlowAgents: false, ...more };
  return requirePlace({ fleet, guestImages: built, instances }, agent);
}

const CONTAINER: Driver = { isolation: "system-container" };
const DOCKER: Driver = { isolation: "container" };
const EMULATED: Driver = { isolation: "vm-vtpm", accelerator: "tcg" };
const PROCESSOR: Driver = { isolation: "vm-vtpm", accelerator: "kvm" };

describe("an instance with an agent that needs a processor", () => {
  test("is a machine only where a processor runs it, and else a container", async () => {
    const hosts = { one: [EMULATED, CONTAINER], two: [PROCESSOR] };
    expect(await place("openclaw", hosts)).toMatchObject({ isolation: "vm-vtpm", hosts: ["two"] });
    expect(await place("openclaw", { one: [EMULATED, CONTAINER] })).toMatchObject({
      isolation: "system-container",
    });
    await expect(place("openclaw", { one: [EMULATED] })).rejects.toMatchObject(REFUSAL);
    const slow = { allowSlowAgents: true };
    expect(await place("openclaw", { one: [EMULATED, CONTAINER] }, slow)).toMatchObject({
      isolation: "vm-vtpm",
    });
  });

  test("has the memory that it needs, and more where the operator says so", async () => {
    expect((await place("openclaw", { one: [CONTAINER] })).memoryMiB).toBe(3_072);
    expect((await place("openclaw", { one: [CONTAINER] }, { memoryMiB: 8_192 })).memoryMiB).toBe(8_192);
    expect((await place("none", { one: [CONTAINER] })).memoryMiB).toBe(512);
  });

  test("is refused where the image with it was not built, and without hardware where that is required", async () => {
    await expect(place("openclaw", { one: [PROCESSOR] }, {}, images("base"))).rejects.toMatchObject(REFUSAL);
    const required = { requireHardware: true };
    await expect(place("openclaw", { one: [PROCESSOR, CONTAINER] }, required)).rejects.toMatchObject(REFUSAL);
  });
});

describe("a plain instance", () => {
  test("is the strongest machine that a host here has", async () => {
    const hosts = { one: [EMULATED, CONTAINER], two: [{ isolation: "vm-snp" } as Driver] };
    expect(await place("none", hosts)).toMatchObject({ isolation: "vm-snp", hosts: ["two"] });
    expect(await place("none", { one: [EMULATED, CONTAINER] })).toMatchObject({ isolation: "vm-vtpm" });
  });

  test("is a container only where no machine is, nor may be in a moment, and never Docker's", async () => {
    const lost: Driver = { isolation: "vm", ready: false, missing: "no QEMU" };
    expect(await place("none", { one: [lost, CONTAINER] })).toMatchObject({
      isolation: "system-container",
      hosts: ["one"],
    });
    const looking = { ...lost, looking: true };
    await expect(place("none", { one: [looking, CONTAINER] })).rejects.toMatchObject(REFUSAL);
    await expect(place("none", { one: [lost, DOCKER] })).rejects.toMatchObject(REFUSAL);
  });

  test("is refused, and not weakened, where the operator requires hardware", async () => {
    const required = { requireHardware: true };
    await expect(place("none", { one: [PROCESSOR, CONTAINER] }, required)).rejects.toMatchObject(REFUSAL);
    const hosts = { one: [PROCESSOR, CONTAINER], two: [{ isolation: "vm-tdx" } as Driver] };
    expect(await place("none", hosts, required)).toMatchObject({ isolation: "vm-tdx", hosts: ["two"] });
  });

  test("is refused without its image", async () => {
    await expect(place("none", { one: [PROCESSOR] }, {}, images())).rejects.toMatchObject(REFUSAL);
  });
});
