// SPDX-License-Identifier: Apache-2.0
/** What a proof says of the machine and the build it was made on; read once at start. */
import { readdirSync, readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { canonicalJson, digestText } from "#evidence/proofs/hash.ts";

export interface BootFacts {
  bootId: string;
  kernel: string;
  cpus: number;
  memoryMiB: number;
  engine: { name: string; version: string; build_sha256: string };
}

const ROOT = new URL("..", import.meta.url).pathname;
/** The folders whose code decides what a proof claims. */
const MEASURED = ["confine", "contract", "drivers", "evidence", "host", "link"];

export function readBoot(): BootFacts {
  return {
    bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
    kernel: release(),
    cpus: cpus().length,
    memoryMiB: Math.floor(totalmem() / 2 ** 20),
    engine: { name: "casemate", version: versionOf(), build_sha256: buildDigest() },
  };
}

function versionOf(): string {
  return (JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string }).version;
}

/** Over path and digest of every source file that runs: two hosts with equal digests run the same code. */
function buildDigest(): string {
  const files: Record<string, string> = {};
  for (const folder of MEASURED)
    for (const entry of readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || entry.name.includes(".test.")) continue;
      const path = join(entry.parentPath, entry.name);
      files[path.slice(ROOT.length)] = digestText(readFileSync(path));
    }
  return digestText(canonicalJson(files));
}
