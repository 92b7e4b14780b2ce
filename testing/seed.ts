// SPDX-License-Identifier: Apache-2.0
/** Reads the JSON examples out of a seed document: the first authority on the wire, kept beside the vectors. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Requirement } from "./requirements.ts";

const ROOT = new URL("..", import.meta.url).pathname;
export const vectorsFolder = resolve(ROOT, process.env.CASEMATE_VECTORS ?? "../shared/vectors");
const seedsFolder = join(vectorsFolder, "../seeds");

export const seeds: Requirement = {
  met: existsSync(seedsFolder),
  reason: "needs the seed documents beside the vectors (CASEMATE_VECTORS)",
};

export interface SeedExample {
  /** e.g. `POST /v1/signup`. */
  operation: string;
  /** `request`, or the status of a response. */
  part: string;
  value: Record<string, unknown>;
}

/** Every JSON block that follows a heading `METHOD /path` and a line `Request:` or `Response (200):`. */
export function readSeed(prefix: string): SeedExample[] {
  const name = readdirSync(seedsFolder).find((file) => file.startsWith(prefix));
  if (name === undefined) throw new Error(`no seed ${prefix}`);
  const examples: SeedExample[] = [];
  let operation = "";
  let part = "";
  let block: string[] | null = null;
  for (const line of readFileSync(join(seedsFolder, name), "utf8").split("\n")) {
    if (block !== null) {
      block.push(line);
      if (line === "}") {
        examples.push({ operation, part, value: JSON.parse(block.join("\n")) });
        block = null;
      }
    } else if (/^(GET|POST|PUT|DELETE) \/\S+$/.test(line)) operation = line;
    else if (line === "Request:") part = "request";
    else if (/^Response \((\d+)\):$/.test(line)) part = /\d+/.exec(line)![0];
    else if (line === "{") block = [line];
    else if (line === "Error Format") [operation, part] = ["any", "error"];
  }
  return examples;
}
