// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate workloads seal`: gives a machine that starts the values of its sealed variables. The machine's evidence is verified here, on
 * the owner's computer, against an image and a compose file the owner has; only then are the values sealed to the key that the
 * evidence binds. Whoever runs the installation carries a box.
 */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { reportDataOf } from "#evidence/launch/report-data.ts";
import { judgeServed } from "#evidence/launch/served.ts";
import { sealBox } from "#guest/seal.ts";
import { describeVerdict, imageBytesOf } from "./evidence-files.ts";
import { UsageFault } from "./usage.ts";
import { expectationOf, filesOf } from "./verify-served.ts";

export interface SealOptions {
  url: string;
  keyFile?: string;
  envFile: string;
  image: string;
  compose: string;
  file?: string[];
  roots?: string;
  /** What is accepted of processors; see `expectationOf`. */
  policy?: string;
  firmware?: string;
  cpuModel?: string;
  cpus?: string;
}

interface Asked {
  evidence: string;
  beside: string[];
  keys: { sealing: string; tls: string };
  manifest: string;
  key_name: string | null;
}

const NONCE_BYTES = 32;

/** Answers 0 when the machine has its box, 1 when its evidence is refused. */
export async function sealCommand(
  workloadId: string,
  options: SealOptions,
  out: (text: string) => void = (text) => process.stdout.write(text),
): Promise<number> {
  const env = readEnvFile(options.envFile);
  const compose = await imageBytesOf(options.compose);
  const files = (await filesOf(options.file)) ?? new Map<string, Uint8Array>();
  const { image, policy, roots, firmware, cpuModel, cpus } = options;
  const policyOf = await expectationOf({ image, policy, roots, firmware, "cpu-model": cpuModel, cpus });
  const nonce = randomBytes(NONCE_BYTES);
  const asked = (await call(options, "/platform/v1/attestations", {
    ...{ workload_id: workloadId, purpose: "seal", nonce: nonce.toString("hex") },
  })) as Asked;
  const bytes = (text: string) => Buffer.from(text, "base64");
  const sealingKey = bytes(asked.keys.sealing);
  const evidence: unknown = JSON.parse(bytes(asked.evidence).toString());
  const reportData = await reportDataOf(bytes(asked.keys.tls), { form: "seal", nonce, sealingKey });
  const answer = { evidence, manifest: asked.manifest, report_data: Buffer.from(reportData).toString("hex") };
  const verdict = await judgeServed(
    {
      ...{ answer, spki: bytes(asked.keys.tls), nonce, sealingKey },
      ...(asked.key_name !== null && { keyName: asked.key_name }),
    },
    { ...{ policyOf, compose, files, beside: asked.beside.map(bytes), atMs: Date.now() } },
  );
  out(describeVerdict("machine", verdict));
  if (!verdict.accepted) return 1;
  const launchSha256 = createHash("sha256").update(bytes(asked.manifest)).digest();
  const box = await sealBox("env", { sealingKey, launchSha256 }, Buffer.from(JSON.stringify(env)));
  await call(options, "/api/v1/workloads/sealed-env", {
    ...{ workloadId, sealingKey: asked.keys.sealing, box: Buffer.from(box).toString("base64") },
  });
  out(`${Object.keys(env).length} variables are sealed to the machine's key.\n`);
  return 0;
}

/** Lines `NAME=value`; the value is what follows, to the end of the line. */
function readEnvFile(path: string): Record<string, string> {
  const lines = readFileSync(path, "utf8").split("\n");
  const env = lines.flatMap((line, at) => {
    if (/^\s*(#|$)/.test(line)) return [];
    const [, name, value] = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(line) ?? [];
    // The line may hold a secret, so only its number is said.
    if (name === undefined) throw new UsageFault(`${path}: line ${at + 1} is no NAME=value`);
    return [[name, value!] as const];
  });
  if (env.length === 0) throw new UsageFault(`${path} has no variable`);
  return Object.fromEntries(env);
}

/** The key comes from a file or the environment: a command line is everybody's on this computer. */
async function call({ url, keyFile }: SealOptions, path: string, body: object): Promise<unknown> {
  const key = keyFile === undefined ? process.env.CASEMATE_API_KEY : readFileSync(keyFile, "utf8").trim();
  if (!key) throw new UsageFault("Give the key by --key-file, or in CASEMATE_API_KEY.");
  const response = await fetch(new URL(path, url), {
    ...{ method: "POST", body: JSON.stringify(body), redirect: "error" },
    headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
  });
  const said = (await response.json().catch(() => ({}))) as { message?: string; error?: string };
  if (!response.ok)
    throw new Error(`${path} answered ${response.status}: ${said.message ?? said.error ?? ""}`);
  return said;
}
