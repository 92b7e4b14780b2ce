// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a device can run what it is to run. A pipeline that fails on a roof in another town is found out
 * by somebody with a ladder, so all of it is looked at when it is saved, and all that is wrong is said at
 * once. Pure: what is known of models and of the server is given.
 */
import { randomUUID } from "node:crypto";
import {
  DEPTH_MAX,
  type GivenChain,
  type GivenPipeline,
  PIPELINES_MAX,
} from "#contract/devices/pipelines.ts";

export interface Issue {
  path: string;
  message: string;
}

/** What is known of one version of a model that the device's owner may see. */
export interface KnownModel {
  name: string;
  /** The version that `default` means. */
  defaultVersion: number;
  ok: boolean;
  versions: ReadonlyMap<number, KnownVersion>;
}

export interface KnownVersion {
  takesNms: boolean;
  /** Heads of what it gives: scores, alarm, bboxes, or another. */
  outputs: readonly string[];
  classes: readonly string[];
  alarms: readonly string[];
  /** Media types of what was made of it. */
  artifacts: readonly string[];
}

export interface KnownServer {
  supportsPipelines: boolean;
  /** Media types that its runtime takes, the best first; null: it has not said. */
  targets: readonly string[] | null;
  preprocessors: readonly string[];
  postprocessors: readonly string[];
}

/** As it is kept. */
export interface KeptPipeline {
  UUID: string;
  Name: string;
  modelUUID: string;
  modelVersion: number;
  resizingMethod: "Letterbox" | "Stretch" | "Crop";
  Preprocessor: string;
  Postprocessor: string;
  PostprocessorSettings: Record<string, string | number | boolean>;
  modelNMS?: number;
  Mask?: [number, number][][];
  Classes?: string[];
  chains: KeptChain[];
}
export interface KeptChain extends KeptPipeline {
  Mode: "Direct" | "Conditional" | "FeatureExtraction";
  Field?: string;
  Label?: string;
}

const STEPS_MAX = 64;

export interface Known {
  /** By lower-case UUID; what is not here is not there for the device's owner. */
  models: ReadonlyMap<string, KnownModel>;
  server: KnownServer;
}

export function checkPipelines(
  given: readonly GivenPipeline[],
  known: Known,
): { kept: KeptPipeline[]; issues: Issue[] } {
  const issues: Issue[] = [];
  const say = (path: string, message: string) => void issues.push({ path, message });
  const { server } = known;
  if (!server.supportsPipelines && given.length > 0)
    say("", "the device's server does not support pipelines");
  if (server.targets === null && given.length > 0)
    say("", "the device's server has not said what it can run");
  if (given.length > PIPELINES_MAX) say("", `a device has at most ${PIPELINES_MAX} pipelines`);
  let steps = 0;
  const seen = new Set<string>();

  const walk = (one: GivenPipeline, path: string, above: readonly string[]): KeptPipeline => {
    steps++;
    const uuid = one.UUID?.toLowerCase() ?? randomUUID();
    if (seen.has(uuid)) say(`${path}.UUID`, "stands twice");
    seen.add(uuid);
    const modelUUID = one.modelUUID.toLowerCase();
    const model = known.models.get(modelUUID);
    const version = one.modelVersion ?? model?.defaultVersion ?? 0;
    const its = model?.versions.get(version);
    if (model === undefined) say(`${path}.modelUUID`, "there is no such model");
    else if (!model.ok) say(`${path}.modelUUID`, `${model.name} cannot be run: its status is not ok`);
    else if (its === undefined)
      say(`${path}.modelVersion`, `${model.name} has no version ${version} that conforms`);
    else {
      if (above.includes(modelUUID)) say(`${path}.modelUUID`, `${model.name} is chained to itself`);
      checkStep(one, its, server, path, say);
    }
    const chains = (one.chains ?? []).map((chain, at): KeptChain => {
      const where = `${path}.chains[${at}]`;
      if (above.length + 2 > DEPTH_MAX) say(where, `is deeper than ${DEPTH_MAX}`);
      if (its !== undefined) checkChain(chain, its, where, say);
      const { Mode, Field, Label } = chain;
      return {
        ...{ Mode, ...(Field !== undefined && { Field }), ...(Label !== undefined && { Label }) },
        ...walk(chain, where, [...above, modelUUID]),
      };
    });
    return {
      UUID: uuid,
      Name: one.Name ?? model?.name ?? "",
      ...{ modelUUID, modelVersion: version },
      resizingMethod: one.resizingMethod ?? "Letterbox",
      Preprocessor: one.Preprocessor ?? "",
      Postprocessor: one.Postprocessor ?? "",
      PostprocessorSettings: one.PostprocessorSettings ?? {},
      ...(one.modelNMS !== undefined && { modelNMS: one.modelNMS }),
      ...(one.Mask !== undefined && { Mask: one.Mask as [number, number][][] }),
      ...(one.Classes !== undefined && { Classes: one.Classes }),
      chains,
    };
  };
  const kept = given.map((one, at) => walk(one, `[${at}]`, []));
  if (steps > STEPS_MAX) say("", `there are ${steps} steps; a device runs at most ${STEPS_MAX}`);
  return { kept, issues };
}

type Say = (path: string, message: string) => void;

function checkStep(one: GivenPipeline, its: KnownVersion, server: KnownServer, path: string, say: Say): void {
  if (server.targets !== null && artifactFor(its, server.targets) === null)
    say(`${path}.modelUUID`, "nothing was made of it that the device's server can run");
  if (one.modelNMS !== undefined && !its.takesNms)
    say(`${path}.modelNMS`, "the model has no input nms_sensitivity-");
  for (const [member, offered] of [
    ["Preprocessor", server.preprocessors],
    ["Postprocessor", server.postprocessors],
  ] as const) {
    const wanted = one[member] ?? "";
    if (wanted !== "" && !offered.includes(wanted))
      say(`${path}.${member}`, "the device's server does not offer it");
  }
  const stranger = one.Classes?.find((name) => !its.classes.includes(name));
  if (stranger !== undefined) say(`${path}.Classes`, `the model has no class ${stranger}`);
}

/** Which of the parent's outputs the chained one hangs on. */
function checkChain({ Mode, Field, Label }: GivenChain, parent: KnownVersion, path: string, say: Say): void {
  if (Mode !== "Conditional" && Field !== undefined) say(`${path}.Field`, "is for Conditional only");
  if (Mode !== "FeatureExtraction" && Label !== undefined)
    say(`${path}.Label`, "is for FeatureExtraction only");
  if (Mode === "Conditional") {
    if (Field === undefined) say(`${path}.Field`, "is missing: what has to be true");
    else if (!parent.alarms.includes(Field)) say(`${path}.Field`, `the parent gives no alarm ${Field}`);
  }
  if (Mode === "FeatureExtraction") {
    if (!parent.outputs.includes("bboxes")) say(`${path}.Mode`, "the parent gives no boxes to cut out");
    else if (Label !== undefined && !parent.classes.includes(Label))
      say(`${path}.Label`, `the parent has no class ${Label}`);
  }
}

/** The first of the runtime's targets that there is something for. */
export const artifactFor = (
  its: Pick<KnownVersion, "artifacts">,
  targets: readonly string[],
): string | null => targets.find((target) => its.artifacts.includes(target)) ?? null;
