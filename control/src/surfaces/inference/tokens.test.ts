// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { costOf, guessTokens, readUsage, tokensAhead } from "./tokens.ts";

const count = fc.integer({ min: 0, max: 1_000_000_000 });
const price = fc.integer({ min: 0, max: 1_000_000_000 });

describe("a cost", () => {
  it("is of both prices, and never less than what was used", () => {
    const prices = { inputMicrosPerMillion: 150_000, outputMicrosPerMillion: 600_000 };
    expect(costOf({ input: 1_000_000, output: 1_000_000 }, prices)).toBe(750_000);
    expect(costOf({ input: 1, output: 0 }, prices)).toBe(1);
    expect(costOf({ input: 0, output: 0 }, prices)).toBe(0);
  });

  it("is exact however much it is, up to what can be kept", () => {
    fc.assert(
      fc.property(count, count, price, price, (input, output, inPrice, outPrice) => {
        const micros = costOf(
          { input, output },
          { inputMicrosPerMillion: inPrice, outputMicrosPerMillion: outPrice },
        );
        const exact = BigInt(input) * BigInt(inPrice) + BigInt(output) * BigInt(outPrice);
        expect(BigInt(micros) * 1_000_000n >= exact || micros === Number.MAX_SAFE_INTEGER).toBe(true);
        expect((BigInt(micros) - 1n) * 1_000_000n < exact).toBe(true);
      }),
    );
  });
});

describe("a count", () => {
  it.each([
    null,
    7,
    {},
    { prompt_tokens: -1 },
    { prompt_tokens: 1.5 },
    { prompt_tokens: 1, completion_tokens: "2" },
  ])("that is none (%j) is not believed", (given) => expect(readUsage(given)).toBeNull());

  it("of embeddings has no output", () => {
    expect(readUsage({ prompt_tokens: 4, total_tokens: 4 })).toEqual({ input: 4, output: 0 });
  });

  it("is guessed from texts, and from no picture", () => {
    const picture = { type: "image_url", image_url: { url: `data:image/png;base64,${"A".repeat(4000)}` } };
    expect(
      guessTokens([{ role: "user", content: [{ type: "text", text: "12345678" }, picture] }]),
    ).toBeLessThan(10);
    expect(guessTokens("")).toBe(0);
  });

  it("ahead is of what may be said at most", () => {
    expect(tokensAhead(5, "chat", { max_tokens: 10, n: 3 })).toEqual({ input: 5, output: 30 });
    expect(tokensAhead(5, "chat", { max_tokens: 10, max_completion_tokens: 20 })).toEqual({
      input: 5,
      output: 20,
    });
    expect(tokensAhead(5, "embeddings", { max_tokens: 10 })).toEqual({ input: 5, output: 0 });
  });
});
