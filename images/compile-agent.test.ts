// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { agentSourceSha256 } from "./compile-agent.ts";

let source: string;
beforeEach(() => {
  source = mkdtempSync(join(tmpdir(), "casemate-agent-"));
  mkdirSync(join(source, "tpm/wire"), { recursive: true });
  for (const path of ["main.go", "tpm/quote.go", "tpm/wire/read.go"]) writeFileSync(join(source, path), path);
});
afterEach(() => rmSync(source, { recursive: true, force: true }));

test.each(["main.go", "tpm/quote.go", "tpm/wire/read.go", "tpm/new.go"])(
  "the agent is another one when its file %s is",
  (path) => {
    const before = agentSourceSha256(source);
    writeFileSync(join(source, path), "changed");
    expect(agentSourceSha256(source)).not.toBe(before);
  },
);

test("a file that is moved to another folder makes another agent, a test of it does not", () => {
  const before = agentSourceSha256(source);
  writeFileSync(join(source, "tpm/quote_test.go"), "a test");
  expect(agentSourceSha256(source)).toBe(before);
  rmSync(join(source, "tpm/quote.go"));
  writeFileSync(join(source, "quote.go"), "tpm/quote.go");
  expect(agentSourceSha256(source)).not.toBe(before);
});
