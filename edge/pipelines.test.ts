// SPDX-License-Identifier: Apache-2.0
/** Chains and masks, with models that are really run. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { detector, floats, modelOf, node, value } from "../models/testing.ts";
import { type Found, type Loaded, load, modelKey, runPipeline, Turns } from "./pipelines.ts";
import type { ManifestArtifact, WishedPipeline } from "./wish.ts";

const BOOL = 9;
/** Whether the picture is bright, and another that looks at the same and at what the first one gave. */
const alarm = () =>
  modelOf(
    {
      input: [value("image-", [1, 3, 8, 8])],
      output: [value("alarm-0:Bright", [1, 1], BOOL)],
      initializer: [floats("much", [1], [128])],
      node: [
        node("ReduceMean", ["image-"], ["mean"], { axes: [1, 2, 3], keepdims: 0 }),
        node("Greater", ["mean", "much"], ["above"]),
        node("Reshape", ["above", "form"], ["alarm-0:Bright"]),
      ],
    },
    (model) => {
      const form = floats("form", [2], []);
      form.dataType = 7;
      form.rawData = new Uint8Array(BigInt64Array.from([1n, 1n]).buffer);
      model.graph!.initializer.push(form);
    },
  );
const listener = () =>
  modelOf({
    input: [value("image-", [1, 3, 8, 8]), value("alarm-0:Bright", [1, 1], BOOL)],
    output: [value("scores-0:Told", [1, 1])],
    initializer: [],
    node: [node("Cast", ["alarm-0:Bright"], ["scores-0:Told"], { to: 1 })],
  });

let folder: string;
const models = new Map<string, Loaded>();
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "casemate-edge-"));
  for (const [name, bytes] of Object.entries({
    boxes: detector(),
    inner: detector(),
    alarm: alarm(),
    listener: listener(),
  })) {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    const artifact = { Function: name, Version: 1, InputDriverDetails: {}, MediaType: "application/x-onnx" };
    models.set(
      modelKey(name, 1),
      await load(artifact as unknown as ManifestArtifact, path, { threads: 1, turns: new Turns() }),
    );
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Chain = WishedPipeline["chains"][number];
const step = (name: string, more: Partial<Chain> = {}): Chain => ({
  ...{
    UUID: name,
    Name: name,
    modelUUID: name,
    modelVersion: 1,
    resizingMethod: "Stretch",
    chains: [],
    Mode: "Direct",
  },
  ...more,
});
const picture = (background: string, width = 64, height = 64) =>
  sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toBuffer();
const run = async (one: WishedPipeline, background = "#ffffff"): Promise<Found> =>
  runPipeline(models, one, await picture(background));

describe("a chain", () => {
  it("on boxes of a class runs on what was cut out, and says where in the whole picture that is", async () => {
    const chain = step("inner", { Mode: "FeatureExtraction", Label: "Green" });
    const found = await run(step("boxes", { chains: [chain] }));
    const green = found.Detections.find(({ Class }) => Class === "Green")!;
    expect(green.Box).toEqual([8, 8, 40, 56]);
    expect(found.Chains).toHaveLength(1);
    // The inner model sees 32 by 48 pixels as its 32 by 32, and gives boxes of those.
    const inner = found.Chains[0]!.Detections.find(({ Class }) => Class === "Green")!;
    expect(inner.Box).toEqual([8 + 4, 8 + 6, 8 + 20, 8 + 42]);
  });

  it("with a condition runs when it is true, and not when it is not", async () => {
    const one = step("alarm", { chains: [step("inner", { Mode: "Conditional", Field: "Bright" })] });
    expect((await run(one, "#ffffff")).Chains.map(({ Name }) => Name)).toEqual(["inner"]);
    expect((await run(one, "#000000")).Chains).toEqual([]);
    const other = step("alarm", { chains: [step("inner", { Mode: "Conditional", Field: "Dark" })] });
    expect((await run(other, "#ffffff")).Chains).toEqual([]);
  });

  it("that is direct is given what the one before it gave", async () => {
    const one = step("alarm", { chains: [step("listener")] });
    expect((await run(one, "#ffffff")).Chains[0]!.Detections).toEqual([{ Class: "Told", Score: 1, Box: [] }]);
    expect((await run(one, "#000000")).Chains[0]!.Detections).toEqual([]);
    await expect(run(step("listener"))).rejects.toThrow("that nothing gives");
  });
});

it("what lies outside of the mask does not count, and classes that are not shown are not", async () => {
  const all = await run(step("boxes"));
  expect(all.Detections.map(({ Class }) => Class)).toEqual(["Red thing", "Green", "Blue"]);
  // Red lies around (11, 14) of 64, Green around (24, 32), Blue around (46, 38).
  const left: [number, number][] = [
    [0, 0],
    [0.5, 0],
    [0.5, 1],
    [0, 1],
  ];
  const masked = await run(step("boxes", { Mask: [left] }));
  expect(masked.Detections.map(({ Class }) => Class)).toEqual(["Red thing", "Green"]);
  const shown = await run(step("boxes", { Mask: [left], Classes: ["Green", "Blue"] }));
  expect(shown.Detections.map(({ Class }) => Class)).toEqual(["Green"]);
});

it("a model that is not there is said by its pipeline's name", async () => {
  await expect(run(step("boxes", { modelVersion: 2, Name: "Gate" }))).rejects.toThrow("the model of Gate");
});
