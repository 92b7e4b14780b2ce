// SPDX-License-Identifier: Apache-2.0
import { assert, constant, json, property, string } from "fast-check";
import { describe, expect, test } from "vitest";
import { JSON_BYTES_MAX, JSON_DEPTH_MAX, parseStrictJson } from "./strict-json.ts";

const codeOf = (input: string | Uint8Array, options = {}) => {
  const parsed = parseStrictJson(input, options);
  return parsed.ok ? "ok" : parsed.code;
};
const bytes = (...values: number[]) => Uint8Array.from(values);

describe("is refused", () => {
  test.each([
    ["an empty text", ""],
    ["white space alone", " \n"],
    ["a comment", "{}//"],
    ["a trailing comma in an object", '{"a":1,}'],
    ["a trailing comma in an array", "[1,]"],
    ["a missing comma", "[1 2]"],
    ["a missing colon", '{"a" 1}'],
    ["a key without quotes", "{a:1}"],
    ["single quotes", "{'a':1}"],
    ["two documents", "{}{}"],
    ["an unclosed object", '{"a":1'],
    ["an unclosed array", "[["],
    ["an unclosed string", '"abc'],
    ["an unclosed escape", '"\\'],
    ["an unclosed string after an escape", '"\\n'],
    ["an escape that does not exist", '"\\x41"'],
    ["an inherited name as an escape", '"\\constructor"'],
    ["a short unicode escape", '"\\u12"'],
    ["a signed unicode escape", '"\\u+123"'],
    ["a control character in a string", '"a\nb"'],
    ["a control character after an escape", '"\\t\u0001"'],
    ["a leading zero", "01"],
    ["a leading plus", "+1"],
    ["a bare minus", "-"],
    ["a dot without digits", "1."],
    ["an exponent without digits", "1e"],
    ["NaN", "NaN"],
    ["Infinity", "-Infinity"],
    ["hexadecimal", "0x10"],
    ["an upper-case word", "True"],
    ["a word cut short", "nul"],
    ["a no-break space", "\u00a0{}"],
    ["a byte order mark", "\ufeff{}"],
  ])("%s", (_name, text) => {
    expect(codeOf(text)).toBe("not_json");
    expect(codeOf(new TextEncoder().encode(text))).toBe("not_json");
  });

  test.each([
    ["a cut sequence", bytes(0x22, 0xc3, 0x22)],
    ["an overlong form", bytes(0x22, 0xc0, 0xaf, 0x22)],
    ["an encoded surrogate", bytes(0x22, 0xed, 0xa0, 0x80, 0x22)],
    ["a byte that is never UTF-8", bytes(0x22, 0xff, 0x22)],
    ["a byte order mark", bytes(0xef, 0xbb, 0xbf, 0x7b, 0x7d)],
    ["UTF-16", bytes(0x7b, 0, 0x7d, 0)],
  ])("as bytes: %s", (_name, input) => {
    expect(codeOf(input)).toBe("not_json");
  });

  test.each([
    ["at the top", '{"a":1,"a":2}'],
    ["with the same value", '{"a":1,"a":1}'],
    ["in depth", '[{"b":{"a":1,"a":1}}]'],
    ["spelled with an escape", '{"a":1,"\\u0061":2}'],
    ["spelled with an escaped slash", '{"/":1,"\\/":2}'],
    ["named __proto__", '{"__proto__":1,"__proto__":2}'],
    ["named like a number", '{"1":1,"0":0,"1":2}'],
  ])("a duplicate key %s", (_name, text) => {
    expect(codeOf(text)).toBe("duplicate_key");
  });

  test.each([
    ["escaped high", '"\\ud800"'],
    ["escaped low", '{"a":"\\udc00"}'],
    ["in a key", '{"\\ud800":1}'],
    ["in the wrong order", '"\\udc00\\ud800"'],
    ["raw in text", '"\ud800"'],
    ["raw beside an escape", '"\\n\ud800"'],
  ])("a lone surrogate %s", (_name, text) => {
    expect(codeOf(text)).toBe("lone_surrogate");
  });

  test("what nests deeper than the limit, however deep", () => {
    const nested = (depth: number, open: string, close: string) => open.repeat(depth) + close.repeat(depth);
    expect(codeOf(nested(JSON_DEPTH_MAX, "[", "]"))).toBe("ok");
    expect(codeOf(nested(JSON_DEPTH_MAX + 1, "[", "]"))).toBe("too_deep");
    expect(codeOf(nested(JSON_DEPTH_MAX + 1, '{"a":[', "]}"))).toBe("too_deep");
    expect(codeOf("[".repeat(200_000))).toBe("too_deep");
    expect(codeOf(nested(100_000, "[", "]"))).toBe("too_deep");
  });

  test("what is larger than the limit in bytes", () => {
    const text = (length: number) => `"${"a".repeat(length - 2)}"`;
    expect(codeOf(text(JSON_BYTES_MAX))).toBe("ok");
    expect(codeOf(text(JSON_BYTES_MAX + 1))).toBe("too_large");
    expect(codeOf(new Uint8Array(JSON_BYTES_MAX + 1))).toBe("too_large");
    expect(codeOf(`"${"€".repeat(JSON_BYTES_MAX / 3)}"`)).toBe("too_large");
  });

  test.each(["1.5", "1.0", "1e2", "-0", "9007199254740992", "-9007199254740992", "1e400", "-0.0"])(
    "%s where integers are asked for",
    (text) => {
      expect(codeOf(`{"a":${text}}`, { integersOnly: true })).toBe("number_not_integer");
      expect(codeOf(` {"a":${text}}`, { integersOnly: true })).toBe("number_not_integer");
    },
  );
});

test("integers up to 2^53−1 are read exactly", () => {
  const text = "[0,-1,9007199254740991,-9007199254740991]";
  expect(parseStrictJson(text, { integersOnly: true })).toEqual({
    ok: true,
    value: [0, -1, Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER],
    integers: true,
  });
});

test("a member named __proto__ is a member and changes no prototype", () => {
  for (const text of ['{"__proto__":{"a":1}}', ' {"__proto__":{"a":1}}']) {
    const parsed = parseStrictJson(text);
    if (!parsed.ok) throw new Error(parsed.code);
    expect(Object.keys(parsed.value as object)).toEqual(["__proto__"]);
    expect(Object.getPrototypeOf(parsed.value)).toBe(Object.prototype);
  }
});

test("it agrees with the platform's parser on every text that both accept, on both of its ways", () => {
  assert(
    property(json(), (text) => {
      const expected = { ok: true, value: JSON.parse(text) };
      // A space before it sends the same text past the quick way.
      for (const spelled of [text, ` ${text}`]) {
        const parsed = parseStrictJson(spelled);
        if (parsed.ok) expect(parsed).toMatchObject(expected);
        else expect(["lone_surrogate", "too_deep"]).toContain(parsed.code);
      }
    }),
    { numRuns: 500 },
  );
});

test("its two ways give the same answer to any text", () => {
  const soup = string({
    unit: constant('{}[]":,\\u0d8a1-.e tfn').chain((letters) => {
      return string({ minLength: 1, maxLength: 1 }).map(
        (one) => letters[one.charCodeAt(0) % letters.length]!,
      );
    }),
    maxLength: 24,
  });
  assert(
    property(soup, (text) => {
      expect(parseStrictJson(text)).toEqual(parseStrictJson(` ${text}`));
    }),
    { numRuns: 2000 },
  );
});
