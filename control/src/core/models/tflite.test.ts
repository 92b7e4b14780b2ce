// SPDX-License-Identifier: Apache-2.0
/** TensorFlow Lite: read as far as the report says, by the confined child, and believed in nothing. */
import { randomBytes } from "node:crypto";
import { afterAll, expect, it } from "vitest";
import type { Report } from "#models/job.ts";
import { describeWith } from "#testing/requirements.ts";
import { openRunner, userNamespaces } from "./testing.ts";

type Value = number | string | number[] | Fields | Fields[] | Buffer | null;
/** By the number of the field in the schema. */
interface Fields {
  fields: Value[];
}
const table = (...fields: Value[]): Fields => ({ fields });
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && "fields" in value;

/** A flat buffer with what it points at behind it. */
function flat(root: Fields): Buffer {
  const out = Buffer.alloc(64 * 1024);
  let end = 8;
  const take = (bytes: number): number => {
    const at = end;
    end += Math.ceil(bytes / 4) * 4;
    return at;
  };
  const point = (slot: number, target: number) => out.writeUInt32LE(target - slot, slot);
  const emit = (value: Exclude<Value, number | null>): number => {
    if (isFields(value)) return emitTable(value);
    if (typeof value === "string" || Buffer.isBuffer(value)) {
      const bytes = Buffer.from(value);
      const at = take(4 + bytes.length + 1);
      out.writeUInt32LE(bytes.length, at);
      bytes.copy(out, at + 4);
      return at;
    }
    const at = take(4 + 4 * value.length);
    out.writeUInt32LE(value.length, at);
    for (const [n, each] of value.entries())
      if (isFields(each)) point(at + 4 + 4 * n, emitTable(each));
      else out.writeInt32LE(each, at + 4 + 4 * n);
    return at;
  };
  const emitTable = ({ fields }: Fields): number => {
    const shape = take(4 + 2 * fields.length);
    const at = take(4 + 4 * fields.length);
    out.writeUInt16LE(4 + 2 * fields.length, shape);
    out.writeUInt16LE(4 + 4 * fields.length, shape + 2);
    out.writeInt32LE(at - shape, at);
    for (const [n, value] of fields.entries()) {
      if (value === null) continue;
      const slot = at + 4 + 4 * n;
      out.writeUInt16LE(slot - at, shape + 4 + 2 * n);
      if (typeof value === "number") out.writeInt32LE(value, slot);
      else point(slot, emit(value));
    }
    return at;
  };
  out.writeUInt32LE(emitTable(root), 0);
  out.write("TFL3", 4, "latin1");
  return out.subarray(0, end);
}

const FLOAT = 0;
const BOOL = 6;
const tensor = (name: string, shape: number[], type = FLOAT, buffer = 0, signature: number[] | null = null) =>
  table(shape, type, buffer, name, null, null, null, signature);

function classifier(image = tensor("image-", [1, 32, 32, 3])): Buffer {
  const tensors = [image, tensor("scores-0:Cat;1:Dog", [1, 2]), tensor("w", [2, 3], FLOAT, 1)];
  const operators = [table(0), table(1), table(0), table(2), table(3)];
  const graph = table(tensors, [0], [1], operators, "main");
  const codes = [table(3), table(9), table(32, "Mine"), table(127, null, null, 200)];
  return flat(table(3, codes, [graph], "made by hand", [table(null), table(Buffer.alloc(24))]));
}

describeWith([userNamespaces], "a TensorFlow Lite file", () => {
  const runner = openRunner();
  afterAll(() => runner[Symbol.asyncDispose]());
  const inspected = async (bytes: Uint8Array): Promise<Report | string[]> => {
    const done = await runner.inspect(bytes, "tflite");
    if (!done.ok) return done.rules.map(({ Id }) => Id);
    if (done.value.op !== "inspect") throw new Error("not inspected");
    return done.value.report;
  };

  it("is told with its operators, weights, inputs and outputs, and that nothing here runs it", async () => {
    expect(await inspected(classifier())).toMatchObject({
      Conforms: false,
      Rules: [{ Id: "format.tflite", Level: "error" }],
      Producer: "made by hand",
      Operators: { CONV_2D: 2, FULLY_CONNECTED: 1, "custom Mine": 1, "builtin 200": 1 },
      Parameters: 6,
      Inputs: [{ Name: "image-", DataType: "float32", Shape: [1, 32, 32, 3] }],
      Outputs: [{ Name: "scores-0:Cat;1:Dog", DataType: "float32", Shape: [1, 2] }],
      Classes: ["Cat", "Dog"],
    });
  });

  it("is held to the rules of names, types and fixed sizes as any other", async () => {
    const rules = async (image: Fields) =>
      ((await inspected(classifier(image))) as Report).Rules.map(({ Id }) => Id).slice(1);
    expect(await rules(tensor("x", [1, 32, 32, 3]))).toContain("io.image-missing");
    expect(await rules(tensor("image-", [1, 32, 32, 3], BOOL))).not.toEqual([]);
    expect(await rules(tensor("image-", [1, 32, 32, 3], FLOAT, 0, [-1, 32, 32, 3]))).not.toEqual([]);
  });

  it("that is cut off anywhere, or points anywhere, is told as unreadable or told of, and ends nothing", async () => {
    const whole = classifier();
    const head = Buffer.from("\0\0\0\0TFL3", "latin1");
    const cases = [
      ...[8, 20, 100, whole.length - 40].map((length) => whole.subarray(0, length)),
      Buffer.concat([head, randomBytes(4000)]),
      Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0x7f]), head.subarray(4)]),
      flat(table(3, null, [table(null, [7, -1], [0x7fffffff])])),
    ];
    for (const bytes of cases) {
      const found = await inspected(bytes);
      if (Array.isArray(found)) expect(found[0]).toMatch(/^(format\.unreadable|limits\.nodes)$/);
      else expect(found.Conforms).toBe(false);
    }
    expect(runner.left()).toEqual([]);
  });
});
