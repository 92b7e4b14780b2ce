// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { GivenPipeline } from "#contract/devices/pipelines.ts";
import { checkPipelines, type Known, type KnownVersion } from "./checks.ts";

const ONNX = "application/x-onnx";
const id = (n: number) => `00000000-0000-4000-8000-00000000000${n}`;
const [DETECTOR, ALARM, CLASSIFIER, BROKEN] = [id(1), id(2), id(3), id(4)];

const version = (change: Partial<KnownVersion> = {}): KnownVersion => ({
  ...{ takesNms: false, outputs: ["scores"], classes: ["cat", "dog"], alarms: [], artifacts: [ONNX] },
  ...change,
});
const model = (name: string, versions: [number, KnownVersion][], ok = true) => ({
  ...{ name, ok, defaultVersion: versions[0]![0], versions: new Map(versions) },
});
const KNOWN: Known = {
  models: new Map([
    [
      DETECTOR,
      model("detector", [
        [2, version({ outputs: ["bboxes"], takesNms: true })],
        [1, version()],
      ]),
    ],
    [ALARM, model("alarm", [[1, version({ outputs: ["alarm"], alarms: ["fire"], classes: ["fire"] })]])],
    [CLASSIFIER, model("classifier", [[1, version({ artifacts: ["application/x-onnx; device=hailo"] })]])],
    [BROKEN, model("broken", [[1, version()]], false)],
  ]),
  server: {
    supportsPipelines: true,
    targets: [ONNX],
    preprocessors: ["denoise"],
    postprocessors: ["loitering"],
  },
};
const issuesOf = (given: GivenPipeline[], known = KNOWN) =>
  checkPipelines(given, known).issues.map(({ path, message }) => `${path}: ${message}`);
const detector = (more: Partial<GivenPipeline> = {}): GivenPipeline => ({ modelUUID: DETECTOR, ...more });

describe("what a device is to run", () => {
  it("is kept with ids, names and the version that default means", () => {
    const { kept, issues } = checkPipelines(
      [detector({ modelNMS: 0.5, chains: [{ Mode: "Direct", modelUUID: ALARM }] })],
      KNOWN,
    );
    expect(issues).toEqual([]);
    expect(kept[0]).toMatchObject({
      Name: "detector",
      modelVersion: 2,
      modelNMS: 0.5,
      resizingMethod: "Letterbox",
    });
    expect(kept[0]!.chains[0]).toMatchObject({
      Mode: "Direct",
      modelUUID: ALARM,
      modelVersion: 1,
      chains: [],
    });
    expect(kept[0]!.UUID).not.toBe(kept[0]!.chains[0]!.UUID);
  });

  it.each<[string, GivenPipeline[], string]>([
    ["a model that is not there", [{ modelUUID: id(9) }], "[0].modelUUID: there is no such model"],
    [
      "one that is not ok",
      [{ modelUUID: BROKEN }],
      "[0].modelUUID: broken cannot be run: its status is not ok",
    ],
    [
      "a version that is not there",
      [detector({ modelVersion: 7 })],
      "[0].modelVersion: detector has no version 7 that conforms",
    ],
    [
      "a threshold that the model does not take",
      [detector({ modelVersion: 1, modelNMS: 0.5 })],
      "[0].modelNMS: the model has no input nms_sensitivity-",
    ],
    [
      "a model for another chip",
      [{ modelUUID: CLASSIFIER }],
      "[0].modelUUID: nothing was made of it that the device's server can run",
    ],
    [
      "a processor that is not offered",
      [detector({ Postprocessor: "psychic" })],
      "[0].Postprocessor: the device's server does not offer it",
    ],
    [
      "a class that the model has not",
      [detector({ Classes: ["cat", "cow"] })],
      "[0].Classes: the model has no class cow",
    ],
    [
      "a chain without its condition",
      [{ modelUUID: ALARM, chains: [{ Mode: "Conditional", modelUUID: DETECTOR }] }],
      "[0].chains[0].Field: is missing: what has to be true",
    ],
    [
      "a condition that nobody gives",
      [{ modelUUID: ALARM, chains: [{ Mode: "Conditional", Field: "flood", modelUUID: DETECTOR }] }],
      "[0].chains[0].Field: the parent gives no alarm flood",
    ],
    [
      "boxes of a parent that gives none",
      [{ modelUUID: ALARM, chains: [{ Mode: "FeatureExtraction", modelUUID: DETECTOR }] }],
      "[0].chains[0].Mode: the parent gives no boxes to cut out",
    ],
    [
      "a label of a class that is not there",
      [detector({ chains: [{ Mode: "FeatureExtraction", Label: "cow", modelUUID: ALARM }] })],
      "[0].chains[0].Label: the parent has no class cow",
    ],
    [
      "a label where none is needed",
      [detector({ chains: [{ Mode: "Direct", Label: "cat", modelUUID: ALARM }] })],
      "[0].chains[0].Label: is for FeatureExtraction only",
    ],
    [
      "a model chained to itself",
      [
        detector({
          chains: [{ Mode: "Direct", modelUUID: ALARM, chains: [{ Mode: "Direct", modelUUID: DETECTOR }] }],
        }),
      ],
      "[0].chains[0].chains[0].modelUUID: detector is chained to itself",
    ],
    [
      "one id twice",
      [detector({ UUID: id(7) }), detector({ UUID: id(7).toUpperCase() })],
      "[1].UUID: stands twice",
    ],
  ])("is refused: %s", (_what, given, issue) => {
    expect(issuesOf(given)).toEqual([issue]);
  });

  it("is refused by a server that does not know pipelines, or has not said what it runs", () => {
    const server = { ...KNOWN.server, supportsPipelines: false };
    expect(issuesOf([detector()], { ...KNOWN, server })).toEqual([
      ": the device's server does not support pipelines",
    ]);
    const silent = { ...KNOWN.server, targets: null };
    expect(issuesOf([detector()], { ...KNOWN, server: silent })).toEqual([
      ": the device's server has not said what it can run",
    ]);
    expect(issuesOf([], { ...KNOWN, server })).toEqual([]);
  });

  it("all that is wrong is said at once", () => {
    const given = [detector({ Classes: ["cow"], Preprocessor: "x" }), { modelUUID: id(9) }, detector()];
    expect(issuesOf(given).map((issue) => issue.split(":")[0])).toEqual([
      "[0].Preprocessor",
      "[0].Classes",
      "[1].modelUUID",
    ]);
  });

  it("what was accepted is accepted again as it was kept, whatever it was", () => {
    const { steps } = fc.letrec<{ steps: GivenPipeline }>((tie) => ({
      steps: fc.record(
        {
          modelUUID: fc.constantFrom(DETECTOR, ALARM, CLASSIFIER, BROKEN, id(9)),
          modelVersion: fc.constantFrom(1, 2, 3),
          modelNMS: fc.constantFrom(0, 0.5, 1),
          Classes: fc.subarray(["cat", "dog", "fire", "cow"]),
          chains: fc.array(
            fc
              .tuple(
                tie("steps"),
                fc.constantFrom("Direct", "Conditional", "FeatureExtraction"),
                fc.constantFrom("fire", undefined),
              )
              .map(([one, Mode, Field]) => ({
                ...one,
                Mode,
                ...(Mode === "Conditional" && Field !== undefined && { Field }),
              })),
            { maxLength: 3 },
          ),
        },
        { requiredKeys: ["modelUUID"] },
      ) as fc.Arbitrary<GivenPipeline>,
    }));
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 4 }), (given) => {
        const { kept, issues } = checkPipelines(given, KNOWN);
        if (issues.length > 0) return;
        const again = checkPipelines(kept, KNOWN);
        expect(again).toEqual({ kept, issues: [] });
      }),
      { numRuns: 2000 },
    );
  });
});
