// SPDX-License-Identifier: Apache-2.0
/** Reads the JSON examples out of a seed document: the first authority on the wire, kept beside the vectors. */
import { spawnSync } from "node:child_process";
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

/**
 * The workloads seed's create request. Its text lost the indentation inside the compose file, which is
 * put back as the contract says; the placeholders get the values given; nothing else is changed.
 */
export function readCreateRequest(values: Record<string, string | number>): Record<string, unknown> {
  const name = readdirSync(seedsFolder).find((file) => file.startsWith("000"));
  const text = readFileSync(join(seedsFolder, name!), "utf8");
  const block = /workloads\/create[\s\S]*?-d '(\{[\s\S]*?\n\})'/.exec(text)?.[1];
  if (block === undefined) throw new Error("the seed has no create request");
  let filled = block.replaceAll("'\\''", "'");
  for (const [placeholder, value] of Object.entries(values))
    filled = filled.replaceAll(placeholder, String(value));
  const request = JSON.parse(filled) as Record<string, unknown>;
  const depths: [RegExp, number][] = [
    [/^api:/, 2],
    [/^(image|command):/, 4],
    [/^caddy /, 6],
  ];
  request.dockerCompose = String(request.dockerCompose)
    .split("\n")
    .map((line) => {
      const bare = line.trim();
      return " ".repeat(depths.find(([form]) => form.test(bare))?.[1] ?? 0) + bare;
    })
    .join("\n");
  return request;
}

/**
 * The instances seed's quickstart as a script: its lines of code as they stand there, without the three values that every tenant has
 * of their own. Its text has no marks around code: a command begins with a word of the shell and ends where bash finds it complete.
 */
export function readQuickstart(change: (text: string) => string = (text) => text): string {
  const name = readdirSync(seedsFolder).find((file) => file.startsWith("002"))!;
  const text = readFileSync(join(seedsFolder, name), "utf8");
  const [, part = ""] = /\nQuickstart\n([\s\S]*?)\nEndpoints\n/.exec(text) ?? [];
  const commands: string[] = [];
  let open: string[] = [];
  for (const line of part.split("\n")) {
    if (open.length === 0 && !/^(export [A-Z_]+=|[A-Z_]+="|curl |while |echo "|ssh )/.test(line)) continue;
    open.push(line);
    const command = open.join("\n");
    if (line.endsWith("\\") || spawnSync("bash", ["-n"], { input: command }).status !== 0) continue;
    commands.push(command);
    open = [];
  }
  if (open.length > 0) throw new Error(`the quickstart does not end: ${open[0]}`);
  const given = /^export (API_BASE|TENANT_SLUG|CA_API_KEY)=/;
  return change(commands.filter((command) => !given.test(command)).join("\n"));
}
