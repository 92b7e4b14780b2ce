// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from "vitest";
import { Fault } from "#contract/errors.ts";
import { openPasswords, requirePassword } from "./index.ts";

const password = "correct horse battery";

describe("passwords", () => {
  it("match what was kept, in either form of the same letters, and nothing else", async () => {
    const { hash, matches } = openPasswords();
    const kept = await hash("caf\u00e9 caf\u00e9 caf\u00e9");
    expect(await matches("cafe\u0301 cafe\u0301 cafe\u0301", kept)).toBe(true);
    for (const wrong of ["", "cafe cafe cafe", "x".repeat(10_000)])
      expect(await matches(wrong, kept)).toBe(false);
    expect(await hash(password)).not.toBe(await hash(password));
  });

  it("of nobody match nothing", async () => {
    const { matches } = openPasswords();
    for (const given of ["", password]) expect(await matches(given, null)).toBe(false);
  });

  it("are hashed a few at a time; who floods is told to come again, and those who wait are served", async () => {
    const { hash } = openPasswords();
    const tries = await Promise.allSettled(Array.from({ length: 40 }, () => hash(password)));
    const refused = tries.filter((one) => one.status === "rejected");
    expect(refused.length).toBe(8);
    for (const { reason } of refused) expect((reason as Fault).code).toBe("platform.overloaded");
    expect(await hash(password)).toContain("$argon2id$");
  });

  it("that are guessed first are refused", () => {
    for (const weak of ["ada@example.com", "adalovelace1815", "11111111112222"])
      expect(() => requirePassword(weak, weak.includes("@") ? weak : "adalovelace@example.com")).toThrow(
        Fault,
      );
    expect(() => requirePassword(password, "ada@example.com")).not.toThrow();
  });
});
