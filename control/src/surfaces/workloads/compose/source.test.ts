// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import { Findings } from "./findings.ts";
import { type Item, readSource, TEXT_BYTES_MAX } from "./source.ts";
import { apiOf, refusals, service } from "./testing.ts";

function plain(item: Item): unknown {
  if (item.kind === "text") return item.text;
  if (item.kind === "number" || item.kind === "flag") return item.value;
  if (item.kind === "list") return item.items.map(plain);
  if (item.kind === "map")
    return Object.fromEntries([...item.entries].map(([key, { item }]) => [key, plain(item)]));
  return null;
}

function read(text: string): { value: unknown; found: string[] } {
  const findings = new Findings();
  const root = readSource(text, findings);
  return {
    value: root === null ? undefined : plain(root),
    found: findings.violations.map((v) => `${v.path}:${v.line}`),
  };
}

describe("is refused", () => {
  test.each<[string, string, string]>([
    ["what is no YAML", "a: [", ":1"],
    ["a tab as indentation", "a:\n\tb: 1", ":2"],
    ["a second document", "a: 1\n---\nb: 2", ":2"],
    ["YAML 1.1 by directive", "%YAML 1.1\n---\na: yes", ":1"],
    ["a directive for tags", "%TAG !e! tag:example.com,2000:\n---\na: 1", ":1"],
    ["a key that stands twice", "a: 1\nb:\n  c: 1\n  c: 2", "b.c:4"],
    ["a key that stands twice, spelled otherwise", 'a: 1\n"\\x61": 2', "a:2"],
    ["a key that is a number", "1: a", ":1"],
    ["a key that is a boolean", "true: a", ":1"],
    ["a key that is null", "~: a", ":1"],
    ["a key that is a list", "? [a]\n: b", ":1"],
    ["a key that is an alias", "a: &x b\n*x : c", ":2"],
    ["a key with a tag", "!!int 1: a", ":1"],
    ["__proto__", "a:\n  __proto__: {b: 1}", "a.__proto__:2"],
    ["__proto__, escaped", '"__pr\\u006fto__": 1', "__proto__:1"],
    ["constructor", "constructor: 1", "constructor:1"],
    ["prototype", "prototype: 1", "prototype:1"],
    ["a dollar sign in a key", "a$b: 1", "a$b:1"],
    ["a control character in a key", '"a\\tb": 1', '["a\\tb"]:1'],
    ["a quoted merge key", '"<<": {a: 1}', '["<<"]:1'],
    ["two merge keys", "<<: {a: 1}\n<<: {b: 1}", '["<<"]:2'],
    ["a merged string", "<<: a", '["<<"]:1'],
    ["a tag of one's own", "a: !reset null", "a:1"],
    ["a tag of one's own on a map", "a: !x {b: 1}", "a:1"],
    ["the tag that means nothing", "a: ! b", "a:1"],
    ["!!binary", "a: !!binary YQ==", "a:1"],
    ["!!set", "a: !!set {b}", "a:1"],
    ["!!omap", "a: !!omap [b: 1]", "a:1"],
    ["!!timestamp", "a: !!timestamp 2001-01-01", "a:1"],
    ["!!merge", "!!merge <<: {a: 1}", ":1"],
    ["a tag that does not fit its value", "a: !!bool maybe", ":1"],
    ["an alias without anchor", "a: *b", "a:1"],
    ["an alias before its anchor", "a: *b\nc: &b 1", "a:1"],
    ["an alias inside of its own anchor", "a: &b [*b]", "a[0]:1"],
    ["an anchor that is named twice", "a: &b 1\nc: &b 2", "c:2"],
    ["a NUL, escaped", 'a: "\\0"', "a:1"],
    ["a NUL", "a: \0", ":1"],
    ["half of a character, escaped", 'a: "\\uD800"', "a:1"],
  ])("%s", (_name, text, where) => {
    expect(read(text).found.map((one) => one.replace(/^\["(.*\$.*)"\]:/, "$1:"))).toContain(where);
  });

  test("a text above the bound", () => {
    expect(read(`a: ${"x".repeat(TEXT_BYTES_MAX)}`).found).toEqual([":1"]);
    expect(read(`a: ${"é".repeat(TEXT_BYTES_MAX / 2)}`).found).toEqual([":1"]);
  });

  test("a document that is nested too deep", () => {
    expect(read(`${"[".repeat(40)}${"]".repeat(40)}`).found).toHaveLength(1);
    const deepByAlias = ["a0: &a0 [[[[[[[[[[]]]]]]]]]]"];
    for (let n = 1; n < 10; n++) deepByAlias.push(`a${n}: &a${n} [[[[[*a${n - 1}]]]]]`);
    expect(read(deepByAlias.join("\n")).found).toEqual([":1"]);
  });
});

describe("costs no more than its length", () => {
  const MIB = 1024 * 1024;
  /** In a place that may have any size, so that nothing but the bound refuses it. */
  const under = (definitions: string, value: string) =>
    `${definitions}\nservices: {api: {image: a, command: ${value}}}\n`;
  const laughs = (open: string, close: string) =>
    [`x-0: &a0 ${open}${Array(9).fill("lol").join(",")}${close}`]
      .concat(
        Array.from(
          { length: 20 },
          (_, n) => `x-${n + 1}: &a${n + 1} ${open}${Array(9).fill(`*a${n}`).join(",")}${close}`,
        ),
      )
      .join("\n");
  const wide = Array.from({ length: 5000 }, (_, n) => `k${n}: 1`).join(",");
  const whole = [":1"];
  test.each<[string, string, string[]]>([
    ["a billion laughs", under(laughs("[", "]"), "*a20"), whole],
    ["a billion laughs that nothing uses", under(laughs("[", "]"), "b"), whole],
    [
      "one long string, many times",
      under(`x-a: &a ${"x".repeat(MIB / 2)}`, `[${"*a,".repeat(20_000)}]`),
      whole,
    ],
    [
      "one wide map, merged many times",
      under(`x-a: &a {${wide}}\nx-b: {<<: [${"*a,".repeat(5000)}]}`, "b"),
      ['["x-b"]["<<"]:2', "x-b.<<:2", 'x-b["<<"]:2'],
    ],
    ["many nodes", under("", `[${"a,".repeat(20_000)}]`).replace("command", "expose"), ["many"]],
    ["open lists", "[".repeat(MIB), whole],
    ["open lists that are closed", "[".repeat(20_000) + "]".repeat(20_000), ["too deep"]],
    ["open maps", "{a: ".repeat(MIB / 4), whole],
    ["dashes", "- ".repeat(MIB / 2), whole],
    ["question marks", "? ".repeat(MIB / 2), whole],
    ["commas", `[${",".repeat(MIB - 2)}`, whole],
    ["tags", "!a ".repeat(MIB / 3), whole],
    ["anchors", "&a ".repeat(MIB / 3), whole],
    ["comments", "#\n".repeat(MIB / 2), whole],
    ["directives", "%a\n".repeat(MIB / 3), whole],
    ["many keys", Array.from({ length: 10_000 }, (_, n) => `k${n}: 1`).join("\n"), ["many"]],
    [
      "many keys in one flow map",
      `{${Array.from({ length: 30_000 }, (_, n) => `k${n}`).join(",")}}`,
      ["many"],
    ],
  ])("%s", (_name, text, where) => {
    const started = performance.now();
    const found = refusals(text);
    if (where[0] === "many") expect(found.length).toBeGreaterThan(100);
    else if (where[0] === "too deep") expect(found).not.toEqual([]);
    else expect(where).toContain(found.join(" "));
    // A tenth of it alone; the rest is for a machine that does other things too.
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  test("an alias of an alias of an alias, each a level deeper, stays within the depth", () => {
    expect(read(`${"{a: ".repeat(31)}1${"}".repeat(31)}`).found).toEqual([]);
    expect(read(`${"{a: ".repeat(32)}1${"}".repeat(32)}`).found).toEqual([
      `${Array(32).fill("a").join(".")}:1`,
    ]);
  });
});

describe("is read", () => {
  test("by YAML 1.2: yes, no and on are words, and 22:22 is no number", () => {
    const text = "a: yes\nb: no\nc: on\nd: 22:22\ne: True\nf: 0x1F\ng: ~";
    expect(read(text).value).toEqual({ a: "yes", b: "no", c: "on", d: "22:22", e: true, f: 31, g: null });
  });

  test("with merge keys: what stands there goes first, then the earlier map", () => {
    const text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  z: 3\n  <<: [*a, *b]";
    expect(read(text).value).toMatchObject({ c: { z: 3, x: 1, y: 1 } });
  });

  test("with core tags", () => {
    expect(read('a: !!str 80\nb: !!int "80"\nc: !!map {d: !!seq []}')).toEqual({
      value: { a: "80", b: 80, c: { d: [] } },
      found: [],
    });
  });

  test("with a byte order mark, and with Windows' line ends, on the right line", () => {
    expect(read("\ufeffa: 1").value).toEqual({ a: 1 });
    expect(refusals(service("privileged: true").replaceAll("\n", "\r\n"))).toEqual([
      "services.api.privileged:4",
    ]);
  });

  test("a block at the end of the text, with no line feed that is not there", () => {
    expect(read("a: |\n  x").value).toEqual({ a: "x" });
    expect(read("a: |\n  x\n").value).toEqual({ a: "x\n" });
    expect(read("a: |-\n  x\n").value).toEqual({ a: "x" });
    expect(read("a: |+\n  x\n\n").value).toEqual({ a: "x\n\n" });
  });

  test("numbers where text is meant, only if they are written as they are read", () => {
    expect(apiOf(service("environment: {A: 10, B: true, C: -1, D: 1.5}")).environment).toEqual({
      A: "10",
      B: "true",
      C: "-1",
      D: "1.5",
    });
    for (const value of [
      "010",
      "0o10",
      "0x10",
      "1.10",
      "1e3",
      ".5",
      "True",
      ".inf",
      "9007199254740993",
      "+1",
    ]) {
      expect(refusals(service(`environment: {A: ${value}}`))).toEqual(["services.api.environment.A:4"]);
      expect(refusals(service(`environment: {A: "${value}"}`))).toEqual([]);
    }
  });
});
