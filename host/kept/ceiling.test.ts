// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import type { Desired } from "#contract/link/machine.ts";
import { KEPT_SPEC } from "#drivers/conformance/kept-machine.ts";
import { newMachineId } from "#drivers/conformance/machine.ts";
import { refusalOf } from "./ceiling.ts";

const CEILING = { cpuMillis: 2_000, memoryMiB: 1_024, diskMiB: 100 };
const wish = (kept: { diskMiB: number; scratchMiB?: number }, more: Partial<Desired> = {}): Desired => ({
  ...{ machineId: newMachineId(), generation: 1, want: "up", remainingMs: null, trigger: "api" },
  spec: { ...KEPT_SPEC, cpuMillis: 1_000, memoryMiB: 512, kept: { labels: {}, domains: [], ...kept } },
  ...more,
});

test("a machine is refused for what it would take beyond the ceiling, its scratch among its disk, and halted ones keep theirs", () => {
  const full = wish({ diskMiB: 60, scratchMiB: 30 });
  const halted = wish({ diskMiB: 0, scratchMiB: 30 }, { want: "halted" });
  expect(refusalOf(CEILING, wish({ diskMiB: 10 }), [full])).toBeUndefined();
  expect(refusalOf(CEILING, wish({ diskMiB: 11 }), [full])).toBe("no disk left on this host");
  expect(refusalOf(CEILING, wish({ diskMiB: 0, scratchMiB: 11 }), [full])).toBe("no disk left on this host");
  expect(refusalOf(CEILING, wish({ diskMiB: 71 }), [halted])).toBe("no disk left on this host");
  expect(refusalOf(CEILING, wish({ diskMiB: 0 }), [full, wish({ diskMiB: 0 })])).toBe(
    "no cpu left on this host",
  );
  expect(
    refusalOf({ ...CEILING, cpuMillis: 9_000 }, wish({ diskMiB: 0 }), [full, wish({ diskMiB: 0 })]),
  ).toBe("no memory left on this host");
  expect(refusalOf(CEILING, wish({ diskMiB: 70 }), [halted])).toBeUndefined();
});
