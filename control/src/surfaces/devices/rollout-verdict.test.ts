// SPDX-License-Identifier: Apache-2.0
import { expect, it } from "vitest";
import { abortOf, exceeded, stageOf, stagesOf } from "./rollout-change.ts";
import { type Seen, type Verdict, verdictOf } from "./rollout-verdict.ts";

/** Its server was told, and has said nothing since. */
const told: Seen = {
  ...{ status: "changing", back: null, gone: false, ours: true, taken: false, tried: false },
  ...{ trialFailed: false, named: true, health: "ok", heard: true, silent: false, late: false },
};
const ran = { taken: true, tried: true };
const failed = { tried: true, trialFailed: true, health: "degraded" } as const;

it.each<[string, Partial<Seen>, Partial<Verdict>]>([
  ["is not well because nothing was heard", {}, { status: "changing" }],
  ["is well when it runs and its server is", ran, { status: "healthy" }],
  ["is not well while its server is not", { ...ran, health: "degraded" }, { status: "changing" }],
  [
    "is not well by a server that says nothing of itself",
    { ...ran, health: "unknown" },
    { status: "changing" },
  ],
  ["failed when its trial did", failed, { status: "failed" }],
  ["did not fail by a trial from before", { ...failed, tried: false }, { status: "changing" }],
  ["did not fail by another device's part", { ...failed, named: false }, { status: "changing" }],
  ["failed when it runs and its server fails", { ...ran, health: "failed" }, { status: "failed" }],
  ["is well when only something later failed", { ...ran, ...failed }, { status: "healthy" }],
  ["timed out when its time is over", { late: true }, { status: "timed_out" }],
  ["is well at the last moment", { ...ran, late: true }, { status: "healthy" }],
  ["stays well", { status: "healthy", ...ran }, { status: "healthy" }],
  ["stays well while its server starts again", { status: "healthy", late: true }, { status: "healthy" }],
  ["fell ill", { status: "healthy", ...ran, health: "degraded" }, { status: "failed" }],
  ["fell ill when it was started again", { status: "healthy", ...failed }, { status: "failed" }],
  ["fell silent", { status: "healthy", ...ran, silent: true }, { status: "timed_out" }],
  ["is silent still", { status: "timed_out", ...ran, heard: false }, { status: "timed_out" }],
  ["came back", { status: "timed_out", ...ran }, { status: "healthy" }],
  ["came back and failed", { status: "timed_out", ...failed }, { status: "failed" }],
  ["failed once and for all", { status: "failed", ...ran }, { status: "failed" }],
  ["waits for its turn", { status: "queued", ...failed }, { status: "queued" }],
  ["is out before its turn", { status: "queued", ours: false }, { status: "overtaken" }],
  ["is out after it", { ...ran, ours: false }, { status: "overtaken" }],
  ["is out while it is taken back", { back: "asked", ours: false }, { status: "overtaken", back: null }],
  ["is gone", { gone: true, ours: false }, { status: "gone" }],
  [
    "is taken back when its server says so",
    { status: "failed", back: "asked", ...ran },
    { status: "failed", back: "done" },
  ],
  ["is being taken back", { back: "asked", ...failed }, { status: "changing", back: "asked" }],
  ["is not answered for", { back: "asked", late: true }, { back: "unanswered" }],
  ["is answered for later", { back: "unanswered", ...ran, late: true }, { back: "done" }],
])("a device %s", (_what, seen, verdict) => {
  expect(verdictOf({ ...told, ...seen })).toMatchObject(verdict);
});

it("stages are shares of all devices, rounded up, and never fewer than before", () => {
  const sizes = (stages: object[], devices: number) => stagesOf(stages, devices).map(({ Upto }) => Upto);
  expect(sizes([{ Count: 1 }, { Percent: 25 }, { Percent: 100 }], 10)).toEqual([1, 3, 10]);
  expect(sizes([{ Count: 5 }, { Percent: 25 }, { Percent: 100 }], 3)).toEqual([3, 3, 3]);
  expect(sizes([{ Percent: 0.1 }, { Percent: 100 }], 7)).toEqual([1, 7]);
  const stages = stagesOf(undefined, 10);
  expect([0, 1, 2, 3, 9].map((position) => stageOf(stages, position))).toEqual([0, 1, 1, 2, 2]);
  for (const bad of [[{ Percent: 50 }], [{ Count: 7 }], [{}, { Percent: 100 }], [{ Count: 1, Percent: 100 }]])
    expect(() => stagesOf(bad, 7)).toThrow(/Stages\[0\]/);
});

it("too much has gone wrong when it is more than was allowed, and shares count from enough devices on", () => {
  const none = { changed: 10, failed: 0, timedOut: 0 };
  expect(exceeded(abortOf(), none)).toBeNull();
  expect(exceeded(abortOf({ MinDevices: 5 }), { ...none, failed: 1 })).toContain("1 devices failed");
  expect(exceeded(abortOf(), { ...none, timedOut: 1 })).toContain("did not report");
  const some = abortOf({ FailurePercent: 20, MinDevices: 10 });
  expect(exceeded(some, { changed: 9, failed: 9, timedOut: 0 })).toBeNull();
  expect(exceeded(some, { changed: 10, failed: 1, timedOut: 1 })).toBeNull();
  expect(exceeded(some, { changed: 10, failed: 2, timedOut: 1 })).toContain("3 of 10");
  expect(exceeded({ Failures: 1 }, { changed: 4, failed: 1, timedOut: 3 })).toBeNull();
});

it("of kinds of failing only those that are named count, as a share and when none may be", () => {
  const seen = { changed: 10, failed: 2, timedOut: 3 };
  const share = (...Kinds: ("failed" | "timed_out")[]) =>
    exceeded({ FailurePercent: 25, ...(Kinds.length > 0 && { Kinds }) }, seen);
  expect(share()).toBe("5 of 10 devices failed or did not report in time");
  expect(share("failed")).toBeNull();
  expect(share("timed_out")).toBe("3 of 10 devices did not report in time");
  expect(abortOf({ Kinds: ["failed"] })).toEqual({ Kinds: ["failed"], Failures: 0 });
  expect(abortOf({ Kinds: ["timed_out"] })).toEqual({ Kinds: ["timed_out"], TimedOut: 0 });
  expect(abortOf()).toEqual({ Failures: 0, TimedOut: 0 });
  expect(abortOf({ Kinds: ["failed"], TimedOut: 4 })).toEqual({ Kinds: ["failed"], TimedOut: 4 });
});
