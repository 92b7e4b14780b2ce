// SPDX-License-Identifier: Apache-2.0
import { expect, it } from "vitest";
import { pooledBytes } from "./random.ts";

it("no bytes are handed out twice, whatever sizes are asked for", () => {
  const seen = new Set<string>();
  for (let n = 0; n < 20_000; n++) {
    const bytes = pooledBytes(8 + (n % 40));
    const head = bytes.subarray(0, 8).toString("hex");
    expect(seen.has(head)).toBe(false);
    expect(head).not.toBe("0".repeat(16));
    seen.add(head);
  }
});

it("what was handed out is its owner's: the next asker does not change it", () => {
  const mine = pooledBytes(16);
  const kept = Buffer.from(mine);
  for (let n = 0; n < 2000; n++) pooledBytes(16).fill(1);
  expect(mine.equals(kept)).toBe(true);
});
