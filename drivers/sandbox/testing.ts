// SPDX-License-Identifier: Apache-2.0
/** A sandbox driver of a test file's own: its names, uids and folder meet those of no other. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SandboxDriver, type SandboxOptions } from "./driver.ts";

export interface OwnDriver {
  driver: SandboxDriver;
  folder: string;
  owner: string;
  options: SandboxOptions;
  close(): Promise<void>;
}

export function ownDriver(name: string, more: Partial<SandboxOptions> = {}): OwnDriver {
  const folder = mkdtempSync(join(tmpdir(), `casemate-${name}-`));
  const owner = `test-${name}-${process.pid}`;
  // A range for each test process: 4 million pids at most, 1,000 uids each would overflow, so by remainder.
  const base = 1_901_000_000 + (process.pid % 90_000) * 1_000;
  const options = { folder, owner, uids: { base, count: 900 }, proberUid: base + 999, ...more };
  const driver = new SandboxDriver(options);
  const close = async () => {
    await driver.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { driver, folder, owner, options, close };
}
