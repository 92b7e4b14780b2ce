// SPDX-License-Identifier: Apache-2.0
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ERRORS, Fault, isErrorCode } from "./errors.ts";

const ROOT = new URL("..", import.meta.url).pathname;

describe("the table of codes", () => {
  it("holds every code that a driver, a host or the link can send up", () => {
    const files = globSync("{drivers,host,link,testing}/**/*.ts", { cwd: ROOT }).filter(
      (file) => !file.endsWith(".test.ts"),
    );
    const thrown = /(?:DriverFault\(|super\(|code: )\s*"([a-z]+\.[a-z-]+)"/g;
    const codes = files.flatMap((file) =>
      [...readFileSync(join(ROOT, file), "utf8").matchAll(thrown)].map((match) => match[1]!),
    );
    expect(codes.length).toBeGreaterThan(10);
    // A stream that its reader left, and what control tells a host: neither reaches a customer.
    expect(
      [...new Set(codes)].filter(
        (code) =>
          !isErrorCode(code) &&
          !["link.cancelled", "link.no-challenges", "link.no-residues", "x.y"].includes(code),
      ),
    ).toEqual([]);
  });

  it("fills sentences from public details only by name", () => {
    expect(new Fault("ledger.concurrent", { cap: 3 }).message).toContain("3 concurrent sessions");
    expect(ERRORS["identity.unauthorized"].status).toBe(401);
  });
});
