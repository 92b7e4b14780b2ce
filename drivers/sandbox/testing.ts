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

let made = 0;

export function ownDriver(name: string, more: Partial<SandboxOptions> = {}): OwnDriver {
  const folder = mkdtempSync(join(tmpdir(), `casemate-${name}-`));
  const owner = `test-${name}-${process.pid}`;
  // A range for each test process and in it one for each driver, so that no two share a uid.
  const base = 1_901_000_000 + (process.pid % 90_000) * 1_000 + made++ * 100;
  const options = { folder, owner, uids: { base, count: 99 }, proberUid: base + 99, ...more };
  const driver = new SandboxDriver(options);
  const close = async () => {
    await driver.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { driver, folder, owner, options, close };
}
