// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: compose's variables, not ours
import { describe, expect, test } from "vitest";
import { interpolate } from "./interpolate.ts";

const values: Record<string, string> = { A: "a", EMPTY: "", NESTED: "${A}$A" };
const run = (template: string, left = 1000) =>
  interpolate(template, (name) => (Object.hasOwn(values, name) ? values[name] : undefined), { left });
const text = (template: string) => {
  const done = run(template);
  return "refusal" in done ? `refused: ${done.refusal}` : done.text;
};

describe("variables are replaced", () => {
  test.each([
    ["plain", "plain"],
    ["$A", "a"],
    ["${A}", "a"],
    ["x$A.y${A}z", "xa.yaz"],
    ["$NONE", ""],
    ["$$", "$"],
    ["$$A", "$A"],
    ["$$$A", "$a"],
    ["$${A}", "${A}"],
    ["${NONE:-d}", "d"],
    ["${EMPTY:-d}", "d"],
    ["${EMPTY-d}", ""],
    ["${A:-d}", "a"],
    ["${NONE-d}", "d"],
    ["${NONE:-}", ""],
    ["${NONE:-a:-b}", "a:-b"],
    ["${A:+yes}", "yes"],
    ["${EMPTY:+yes}", ""],
    ["${EMPTY+yes}", "yes"],
    ["${NONE+yes}", ""],
    ["${A:?needed}", "a"],
    ["${EMPTY?needed}", ""],
    ["${NONE:-${A}}", "a"],
    ["${NONE:-${NONE:-x}y}z", "xyz"],
    ["${NONE:-$$}", "$"],
    ['${NONE:-{"a":1}}', '{"a":1}'],
    ["${A:-$bad{}", "a"],
  ])("%s", (template, expected) => {
    expect(text(template)).toBe(expected);
  });

  test("once: a value that looks like a variable stays what it is", () => {
    expect(text("$NESTED")).toBe("${A}$A");
    expect(text("${NONE:-$NESTED}")).toBe("${A}$A");
  });

  test("and names without a value are told", () => {
    expect(run("$NONE ${A} ${OTHER:-x}")).toEqual({
      text: " a x",
      unset: ["NONE"],
      used: ["NONE", "A", "OTHER"],
    });
  });
});

describe("is refused", () => {
  test.each([
    "$",
    "a$",
    "$1",
    "$ A",
    "${",
    "${A",
    "${}",
    "${1}",
    "${A!}",
    "${A:}",
    "${A:=x}",
    "${ A }",
    "${A/b/c}",
    "${NONE:-${A}",
  ])("%s", (template) => {
    expect(text(template)).toMatch(/^refused: This is no variable/);
  });

  test("a required variable without value, by its name alone", () => {
    expect(text("${NONE:?tell}")).toBe("refused: The variable NONE is required and has no value.");
    expect(text("${EMPTY:?tell}")).toMatch(/^refused/);
    expect(text("${NONE?}")).toMatch(/^refused/);
  });

  test("a default in a default, without end", () => {
    expect(text(`${"${N:-".repeat(20)}x${"}".repeat(20)}`)).toMatch(/^refused: Variables are nested deeper/);
  });

  test("more text than was allowed", () => {
    expect(run("$A".repeat(20), 10)).toHaveProperty("refusal");
  });
});
