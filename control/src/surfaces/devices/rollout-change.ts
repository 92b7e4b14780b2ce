// SPDX-License-Identifier: Apache-2.0
/** What a rollout makes of what a device runs, in which stage, and when too much has gone wrong. Pure. */
import type { Static } from "typebox";
import type { GivenPipeline } from "#contract/devices/pipelines.ts";
import { ABORT_KINDS, type AbortGiven, type StageGiven } from "#contract/devices/rollouts.ts";
import { Fault } from "#contract/errors.ts";
import type { KeptPipeline, KnownModel } from "./checks.ts";
import { withoutIds } from "./pipelines.ts";

export type RolloutChange =
  | { Pipelines: GivenPipeline[] }
  | { Replaces: string; Function: string; Version: number };

/** What the device is to run then; null: there is nothing of it to change. */
export function changed(change: RolloutChange, now: readonly KeptPipeline[]): GivenPipeline[] | null {
  if ("Pipelines" in change) return change.Pipelines.map(withoutIds);
  let touched = false;
  const { Replaces, Function: model, Version: version } = change;
  const walk = <P extends KeptPipeline>(one: P): P => {
    const hit = one.modelUUID === Replaces && (model !== Replaces || one.modelVersion !== version);
    touched ||= hit;
    const run = hit ? { modelUUID: model, modelVersion: version } : {};
    return { ...one, ...run, chains: one.chains.map(walk) };
  };
  const after = now.map(walk);
  return touched ? after : null;
}

/** The versions that are meant now: devices of a later stage get no other ones. */
export const withVersions = <P extends GivenPipeline>(one: P, models: ReadonlyMap<string, KnownModel>): P => {
  const version = one.modelVersion ?? models.get(one.modelUUID.toLowerCase())?.defaultVersion;
  const chains = (one.chains ?? []).map((chain) => withVersions(chain, models));
  return { ...one, ...(version !== undefined && { modelVersion: version }), chains };
};

export interface Stage {
  /** How many devices have been changed when it is over. */
  Upto: number;
  HoldSeconds: number;
}

const HOLD_S = 300;
const STAGES: readonly Static<typeof StageGiven>[] = [{ Count: 1 }, { Percent: 25 }, { Percent: 100 }];

/** A stage that adds no device to those before is there and passed over. */
export function stagesOf(given: readonly Static<typeof StageGiven>[] = STAGES, devices: number): Stage[] {
  const refuse = (at: number, why: string): never => {
    throw new Fault("request.invalid", { detail: `Stages[${at}] ${why}`, field: `Stages[${at}]` });
  };
  let before = 0;
  const stages = given.map(({ Count, Percent, HoldSeconds = HOLD_S }, at) => {
    if ((Count === undefined) === (Percent === undefined)) refuse(at, "has either Count or Percent");
    const wanted = Count ?? Math.ceil((devices * Percent!) / 100);
    before = Math.max(before, Math.min(wanted, devices));
    return { Upto: before, HoldSeconds };
  });
  if (given.at(-1)!.Percent !== 100) refuse(given.length - 1, "is the last one, and has Percent 100");
  return stages;
}

export const stageOf = (stages: readonly Stage[], position: number): number =>
  stages.findIndex(({ Upto }) => position < Upto);

export interface Failing {
  /** Those that were changed, or were to be and could not. */
  changed: number;
  failed: number;
  timedOut: number;
}

/** Frames of changed devices, well or not, and those that could not be looked at. */
export interface Figures {
  Frames: number;
  Errors: number;
}

const FRAMES_MIN = 100;

/** Why a rollout ends here; null: it goes on. */
export function exceeded(
  abort: Static<typeof AbortGiven>,
  { changed, failed, timedOut }: Failing,
  figures: Figures | null = null,
): string | null {
  const { Failures, TimedOut, FailurePercent, MinDevices = 1 } = abort;
  const { ErrorPercent, MinFrames = FRAMES_MIN } = abort;
  if (Failures !== undefined && failed > Failures) return `${failed} devices failed`;
  if (TimedOut !== undefined && timedOut > TimedOut) return `${timedOut} devices did not report in time`;
  const kinds = kindsOf(abort);
  const bad = kinds.reduce((sum, kind) => sum + { failed, timed_out: timedOut }[kind], 0);
  if (FailurePercent !== undefined && changed >= MinDevices && bad * 100 > FailurePercent * changed)
    return `${bad} of ${changed} devices ${kinds.map((kind) => KINDS[kind]).join(" or ")}`;
  if (ErrorPercent === undefined || figures === null || figures.Frames < MinFrames) return null;
  return figures.Errors * 100 > ErrorPercent * figures.Frames
    ? `${figures.Errors} of ${figures.Frames} frames could not be looked at`
    : null;
}

type Kind = (typeof ABORT_KINDS)[number];
const KINDS: Record<Kind, string> = { failed: "failed", timed_out: "did not report in time" };
const kindsOf = ({ Kinds }: Static<typeof AbortGiven>): Kind[] =>
  ABORT_KINDS.filter((kind) => Kinds === undefined || Kinds.includes(kind));

/** Without a word about how many may fail, none may; of the kinds that are named, if any are. */
export function abortOf(given: Static<typeof AbortGiven> = {}): Static<typeof AbortGiven> {
  if (["Failures", "TimedOut", "FailurePercent"].some((name) => name in given)) return given;
  const none = { failed: { Failures: 0 }, timed_out: { TimedOut: 0 } };
  return Object.assign({ ...given }, ...kindsOf(given).map((kind) => none[kind]));
}
