// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { type GraphProto, GraphProtoSchema, type ModelProto, TensorProtoSchema } from "onnx-buf";
import { afterAll, expect, it } from "vitest";
import type { Format } from "#models/job.ts";
import { carried, counting, detector, detectorParts, floats, modelOf, node, value } from "#models/testing.ts";
import { describeWith } from "#testing/requirements.ts";
import { zipOf } from "#testing/zip.ts";
import { LIMITS, openRunner, userNamespaces } from "./testing.ts";

const BIG = 1n << 40n;
const INT64 = 7;

const changed = (change: (graph: GraphProto, model: ModelProto) => void) => () =>
  detector((model) => change(model.graph!, model));

/** A graph of a few bytes that computes with a hundred gigabytes. */
function greedy(): Buffer {
  const parts = detectorParts();
  const size = create(TensorProtoSchema, {
    name: "size",
    dims: [2n],
    dataType: INT64,
    int64Data: [160_000n, 160_000n],
  });
  parts.initializer.push(size);
  parts.node.unshift(
    node("ConstantOfShape", ["size"], ["filled"]),
    node("ReduceMean", ["filled"], ["one"], { axes: [0, 1], keepdims: 0 }),
    node("Add", ["image-", "one"], ["more"]),
  );
  parts.node[3]!.input[0] = "more";
  return modelOf(parts);
}

function nested(depth: number): Buffer {
  let inner = create(GraphProtoSchema, { name: "leaf" });
  for (let n = 0; n < depth; n++) {
    const branch = node("If", ["c"], ["d"]);
    branch.attribute = [carried("then_branch", { g: inner })];
    inner = create(GraphProtoSchema, { name: "level", node: [branch] });
  }
  return detector((model) => model.graph!.node.push(...inner.node));
}

const MODELS: [string, string, () => Uint8Array][] = [
  ["random bytes", "format.unreadable", () => randomBytes(100_000)],
  ["no bytes", "format.empty", () => Buffer.alloc(0)],
  ["JSON", "format.unreadable", () => Buffer.from('{"graph": {}}')],
  ["a model cut off in the middle", "format.unreadable", () => detector().subarray(0, 900)],
  ["bytes that are a message without a graph", "onnx.no-graph", () => Buffer.from([0x08, 0x08])],
  ["a graph of nothing", "onnx.no-nodes", changed((graph) => graph.node.splice(0))],
  ["a graph in a graph, twenty deep", "onnx.nesting", () => nested(20)],
  ["a graph in a graph, deeper than its bytes are read", "onnx.nesting", () => nested(500)],
  [
    "weights in another file",
    "onnx.external-data",
    changed(({ initializer }) => {
      initializer[0]!.rawData = new Uint8Array();
      initializer[0]!.dataLocation = 1;
      initializer[0]!.externalData = [
        { $typeName: "onnx.StringStringEntryProto", key: "location", value: "../../../etc/passwd" },
      ];
    }),
  ],
  [
    "weights of a node in another file",
    "onnx.external-data",
    changed((graph) => {
      const constant = node("Constant", [], ["k"]);
      constant.attribute = [
        carried("value", { t: create(TensorProtoSchema, { name: "far", dataLocation: 1 }) }),
      ];
      graph.node.push(constant);
    }),
  ],
  ["a tensor without end", "onnx.huge-tensor", changed((graph) => graph.initializer[0]!.dims.push(BIG))],
  [
    "a tensor of less than nothing",
    "onnx.huge-tensor",
    changed((graph) => graph.initializer[0]!.dims.push(-1n)),
  ],
  [
    "a picture without end",
    "io.huge",
    () => modelOf({ ...detectorParts(), input: [value("image-", [1, 3, 1_000_000, 1_000_000])] }),
  ],
  [
    "a value that waits for itself",
    "onnx.cyclic",
    changed(({ node: [conv, relu] }) => {
      conv!.input[0] = relu!.output[0]!;
    }),
  ],
  ["a value that is made twice", "onnx.duplicate-name", changed((graph) => graph.node.push(graph.node[1]!))],
  [
    "a value that nothing makes",
    "onnx.dangling",
    changed((graph) => {
      graph.node[1]!.input[0] = "nowhere";
    }),
  ],
  [
    "an operator of somebody's own",
    "onnx.custom-operator",
    changed((graph) => {
      graph.node[1]!.domain = "com.example";
    }),
  ],
  [
    "an operator that is none",
    "onnx.unknown-operator",
    changed((graph) => {
      graph.node[1]!.opType = "Reluu";
    }),
  ],
  [
    "operators of a version to come",
    "onnx.opset",
    changed((_graph, model) => {
      model.opsetImport[0]!.version = 99n;
    }),
  ],
  ["operators of no version", "onnx.opset", changed((_graph, model) => model.opsetImport.splice(0))],
  [
    "a form to come",
    "onnx.ir-version",
    changed((_graph, model) => {
      model.irVersion = 99n;
    }),
  ],
  [
    "weights of another size than they say",
    "runtime.refused",
    changed((graph) => {
      graph.initializer[0]!.rawData = graph.initializer[0]!.rawData.slice(0, 100);
    }),
  ],
  [
    "weights that are text",
    "runtime.refused",
    changed((graph) => {
      graph.initializer[0]!.dataType = 8;
    }),
  ],
  ["a size that is not fixed", "io.dynamic", () => modelOf(detectorParts("image-", undefined, "n"))],
  ["names that say nothing", "io.role", () => modelOf(detectorParts("x"))],
  ["names that are none", "io.name", () => modelOf(detectorParts("an image"))],
];

const model = detector();
const LINK = 0o120777 * 65_536;
const ARCHIVES: [string, string, () => Uint8Array][] = [
  ["random bytes", "archive.unreadable", () => randomBytes(1000)],
  ["no model", "archive.models", () => zipOf([{ name: "labels.txt", bytes: Buffer.from("a") }])],
  [
    "two models",
    "archive.models",
    () =>
      zipOf([
        { name: "a.onnx", bytes: model },
        { name: "b.onnx", bytes: model },
      ]),
  ],
  ["a way out", "archive.unreadable", () => zipOf([{ name: "../../out.onnx", bytes: model }])],
  ["an absolute path", "archive.unreadable", () => zipOf([{ name: "/etc/out.onnx", bytes: model }])],
  [
    "a link",
    "archive.link",
    () => zipOf([{ name: "m.onnx", bytes: Buffer.from("/etc/passwd"), attributes: LINK }]),
  ],
  ["a secret", "archive.encrypted", () => zipOf([{ name: "m.onnx", bytes: model, encrypted: true }])],
  ["a bomb", "archive.bomb", () => zipOf([{ name: "m.onnx", bytes: Buffer.alloc(200_000_000) }])],
  [
    "a bomb that says it is small",
    "archive.unreadable",
    () => zipOf([{ name: "m.onnx", bytes: Buffer.alloc(200_000_000), claimed: 1000 }]),
  ],
  [
    "too much",
    "archive.entries",
    () => zipOf(Array.from({ length: 10_001 }, (_each, n) => ({ name: `${n}`, bytes: new Uint8Array() }))),
  ],
];

describeWith([userNamespaces], "a stranger's file", () => {
  const runner = openRunner();
  afterAll(() => runner[Symbol.asyncDispose]());

  const rulesOf = async (bytes: Uint8Array, format: Format = "onnx") => {
    const done = await runner.inspect(bytes, format);
    expect(runner.left()).toEqual([]);
    if (!done.ok) return done.rules;
    if (done.value.op !== "inspect") throw new Error("another answer");
    expect(done.value.report.Conforms).toBe(false);
    return done.value.report.Rules;
  };
  const errors = async (...given: Parameters<typeof rulesOf>) =>
    (await rulesOf(...given)).filter(({ Level }) => Level === "error").map(({ Id }) => Id);

  it.each(MODELS)("that is %s is told as %s, and nothing of it is left", async (_what, id, make) => {
    expect(await errors(make())).toContain(id);
  });

  it.each(ARCHIVES)(
    "that is an archive with %s is told as %s, and nothing of it is left",
    async (_what, id, make) => {
      expect(await errors(make(), "zip")).toEqual([id]);
    },
  );

  it("of another kind than it says is told as unreadable", async () => {
    for (const format of ["ort", "tflite"] as const)
      expect(await errors(randomBytes(1000), format)).toEqual(["format.unreadable"]);
  });

  it("that computes without end is ended, and said to have taken too long", async () => {
    const job = { op: "inspect", format: "onnx", limits: LIMITS, repair: null } as const;
    const done = await runner.run(job, counting(BIG), { limits: { timeoutMs: 4_000 } });
    expect(done).toMatchObject({ ok: false, rules: [{ Id: "limits.time" }] });
    expect(runner.left()).toEqual([]);
  });

  it("that needs more memory than there is for it is refused", async () => {
    expect((await errors(greedy()))[0]).toMatch(/^(limits.memory|runtime.failed)$/);
  });

  it("is given up when nobody wants it any more, and nothing of it is left", async () => {
    const given = new AbortController();
    const job = { op: "inspect", format: "onnx", limits: LIMITS, repair: null } as const;
    const running = runner.run(job, counting(BIG), { signal: given.signal });
    await sleep(1_000);
    given.abort();
    await expect(running).rejects.toThrow(/aborted/);
    expect(runner.left()).toEqual([]);
  });

  it("in an archive with other things is found and judged", async () => {
    const done = await runner.inspect(
      zipOf([
        { name: "readme.txt", bytes: Buffer.from("hello") },
        { name: "deep/model.onnx", bytes: model },
      ]),
      "zip",
    );
    expect(done).toMatchObject({
      ok: true,
      value: { report: { Conforms: true, Classes: ["Red thing", "Green", "Blue"] } },
    });
  });

  it("with a wrong weight is not called by the place where it lay", async () => {
    const wrong = detector(({ graph }) => {
      graph!.initializer.push(floats("w1", [1], [1]));
    });
    for (const { Message } of await rulesOf(wrong)) expect(Message).not.toMatch(/\/job|node_modules|\/tmp/);
  });
});
