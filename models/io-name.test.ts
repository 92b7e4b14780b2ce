// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  classesOf,
  type IoName,
  inputRoleOf,
  outputRoleOf,
  parseIoName,
  printIoName,
  processorOf,
} from "./io-name.ts";

const read = (text: string): IoName => {
  const parsed = parseIoName(text);
  if (!parsed.ok) throw new Error(`${text} ${parsed.fault.message}`);
  return parsed.name;
};

const head = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_]{0,20}$/);
const text = (without: RegExp) =>
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }).filter((each) => !without.test(each));
const pairs = fc.uniqueArray(
  fc.record({ key: text(/[:;\u0000-\u001f\u007f]/), value: text(/[;\u0000-\u001f\u007f]/) }),
  { selector: ({ key }) => key, maxLength: 8 },
);
const names = fc
  .record({ head, hyphen: fc.boolean(), pairs })
  .map((name) => ({ ...name, hyphen: name.hyphen || name.pairs.length > 0 }));

describe("names of inputs and outputs", () => {
  it.each([
    ["", 0],
    ["1image-", 0],
    ["-", 0],
    ["image input", 5],
    ["x.y-0:a", 1],
    ["scores-Cat", 7],
    ["scores-0:Cat;Dog", 13],
    ["scores-:Cat", 7],
    ["scores-0:", 9],
    ["scores-0:;1:Dog", 9],
    ["scores-;", 7],
    ["scores-0:a;;", 11],
    ["scores-0:a;0:b", 11],
    ["scores-0:a\nb", 10],
    [`s-${"0:a;".repeat(20_000)}`, 65_536],
  ])("that are none are refused at the place where they end to be one: %j", (name, at) => {
    expect(parseIoName(name)).toMatchObject({ ok: false, fault: { at } });
  });

  it.each([
    ["image-", { head: "image", hyphen: true, pairs: [] }],
    ["image", { head: "image", hyphen: false, pairs: [] }],
    ["nms_sensitivity-", { head: "nms_sensitivity", hyphen: true, pairs: [] }],
    [
      "bboxes-format:xyxysc;0:Traffic light;1:T-shirt",
      {
        head: "bboxes",
        hyphen: true,
        pairs: [
          { key: "format", value: "xyxysc" },
          { key: "0", value: "Traffic light" },
          { key: "1", value: "T-shirt" },
        ],
      },
    ],
    ["scores-0:10:30", { head: "scores", hyphen: true, pairs: [{ key: "0", value: "10:30" }] }],
  ])("are read as they stand: %j", (given, name) => {
    expect(read(given)).toEqual(name);
    expect(printIoName(name)).toBe(given);
  });

  it("end in one semicolon or none, which is the same name", () => {
    expect(printIoName(read("scores-0:Cat;1:Dog;"))).toBe("scores-0:Cat;1:Dog");
  });

  it("are read back as what was printed", () => {
    fc.assert(
      fc.property(names, (name) => {
        expect(read(printIoName(name))).toEqual(name);
      }),
    );
  });

  it("are printed as what was read, whatever text it was", () => {
    const some = fc.oneof(
      fc.string({ unit: "grapheme" }),
      fc.stringMatching(/^[a-z]{1,3}-?[-a:;0 ]{0,12}$/),
      names.map(printIoName),
    );
    fc.assert(
      fc.property(some, (given) => {
        const parsed = parseIoName(given);
        if (parsed.ok)
          expect(printIoName(parsed.name)).toBe(given.endsWith(";") ? given.slice(0, -1) : given);
        else expect(parsed.fault.at).toBeLessThanOrEqual(given.length);
      }),
      { numRuns: 2000 },
    );
  });

  it("list their classes in the order of the numbers, without a gap", () => {
    expect(classesOf(read("scores-1:Dog;0:Cat"))).toEqual({ ok: true, classes: ["Cat", "Dog"] });
    expect(classesOf(read("bboxes-format:xyxysc;0:A;1:B"))).toEqual({ ok: true, classes: ["A", "B"] });
    expect(classesOf(read("scores-0:Cat;2:Dog"))).toMatchObject({ ok: false });
    expect(classesOf(read("scores-01:Cat"))).toEqual({ ok: true, classes: [] });
  });

  it("say what they are for by what stands before the hyphen, older names of boxes too", () => {
    expect(["image", "nms_sensitivity-", "mask-", "x-"].map((each) => inputRoleOf(read(each)))).toEqual([
      ...["image", "nms_sensitivity", "mask", null],
    ]);
    const outputs = ["scores-0:A", "alarm-0:A", "bboxes-", "licenseplate_bboxes-0:A", "_bboxes", "boxes-"];
    expect(outputs.map((each) => (parseIoName(each).ok ? outputRoleOf(read(each)) : "none"))).toEqual([
      ...["scores", "alarm", "bboxes", "bboxes", "none", null],
    ]);
    expect(processorOf(read("licenseplate_bboxes-0:A"))).toBe("licenseplate");
    expect(processorOf(read("bboxes-"))).toBeNull();
  });
});
