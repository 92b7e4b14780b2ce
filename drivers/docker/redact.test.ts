// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import type { ComposePayload } from "#contract/link/payload.ts";
import { redactor } from "./redact.ts";

const payload = (more: Partial<ComposePayload>): ComposePayload => ({
  ...{ kind: "compose", compose: "", env: {}, files: {}, registries: [] },
  ...{ publicService: "api", publicPort: 80 },
  ...more,
});
const base64 = (text: string) => Buffer.from(text).toString("base64");

describe("words without the payload's secrets", () => {
  const long = "a-key-that-is-longer-than-thirty-two-characters-by-far";
  const clean = redactor(
    payload({
      env: { A: "my-password-1", B: "two\nlines of it", SHORT: "true", LONG: long, EMPTY: "" },
      files: { "c.conf": base64("user=me\npass=word-in-a-file\n") },
      registries: [{ server: "r", username: "me", password: "registry-word" }],
    }),
  );

  test.each([
    ["nothing to hide", "nothing to hide"],
    ["no such thing: my-password-1", "no such thing: ***"],
    ["my-password-1my-password-1 x", "****** x"],
    ["two is short, lines of it is not", "two is short, *** is not"],
    ["true", "true"],
    ["got pass=word-in-a-file there", "got *** there"],
    ["registry-word", "***"],
    ["", ""],
    ["my-password-", "my-password-"],
  ])("%o becomes %o", (text, expected) => expect(clean(text)).toBe(expected));

  test("what begins like a long secret is taken out to the end of its line", () => {
    expect(clean(`before ${long} after\nnext`)).toBe("before ***\nnext");
    expect(clean(`before ${long.slice(0, 40)}`)).toBe("before ***");
  });

  test("of secrets that overlap nothing is left", () => {
    const both = redactor(payload({ env: { A: "abcdefgh", B: "efghijkl", C: "cdefgh" } }));
    expect(both("<abcdefghijkl>")).toBe("<***>");
    expect(both("<abcdefgh><cdefgh>")).toBe("<***><***>");
  });

  test("a text is asked about as often as it is long, however many secrets there are and whatever they are", () => {
    const text = "a".repeat(7_000);
    const few = redactor(payload({ env: { A: "aaaaaab" } }));
    const many = redactor(
      payload({
        env: Object.fromEntries(
          Array.from({ length: 5_000 }, (_, n) => [`E${n}`, `${"a".repeat(6 + (n % 200))}${n}`]),
        ),
      }),
    );
    few(text);
    many(text);
    expect(few.asked).toBeLessThanOrEqual(text.length * 28);
    expect(many.asked).toBeLessThanOrEqual(text.length * 28);
    const before = many.asked;
    many(text + text);
    expect(many.asked - before).toBeLessThanOrEqual(2.1 * before);
  });

  test("of a payload with more secrets than anybody writes nothing is let out", () => {
    const lines = Array.from({ length: 1_000 }, (_, n) => `line ${n}`.padEnd(7))
      .join("\n")
      .slice(0, 6_000);
    const files = Object.fromEntries(Array.from({ length: 400 }, (_, n) => [`${n}`, base64(lines)]));
    expect(redactor(payload({ files }))("pulling caddy:2")).toBe("***");
  });

  test("of very long words the last whole lines are kept, and no end of a secret without its beginning", () => {
    const told = clean(`${"x".repeat(70_000)} my-password-1\nlast words`);
    expect(told).toBe("***\nlast words");
    const cut = clean(`${"y".repeat(100)}my-password-1${"x".repeat(16 * 1024 - 8)}`);
    expect(cut).toBe("***");
  });
});
