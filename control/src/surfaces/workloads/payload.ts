// SPDX-License-Identifier: Apache-2.0
/**
 * What a client gave us to run, as it is kept: sealed under the workload's identity, opened only to be
 * shown to its owner (redacted) and to be handed to the host that starts it. The operator of this
 * installation has seen it when it came over the wire in clear; at rest only who holds the keys can.
 */

import { Fault } from "#contract/errors.ts";
import type { ComposePayload } from "#contract/link/payload.ts";
import { lendPullKey } from "../../core/identity/index.ts";
import type { Vault } from "../../core/vault/index.ts";
import type { Database } from "../../database/open.ts";
import type { ComposePlan, ComposeVerdict } from "./compose/check.ts";
import { checkEnvironment } from "./compose/environment.ts";
import { checkFileName, decodeBase64 } from "./compose/files.ts";
import type { ComposeJudge } from "./compose/judge.ts";
import { composeText } from "./compose/text.ts";
import { type Pins, registriesOf, withPins } from "./images.ts";
import { PLACEHOLDER } from "./sealed-env.ts";

export interface Given {
  dockerCompose: string;
  envVars: Record<string, string>;
  files: Record<string, string>;
  dockerCredentials: { server: string; username: string; password: string }[];
  publicService: string;
  publicPort: number;
  /** Names whose values the machine gets from its owner alone; absent from what was sealed before there were any. */
  sealedEnv?: string[];
  /** Absent from what was sealed before there was a registry. */
  pins?: Pins;
}

export const payloadIdentity = (workload: string): string => `workloads/${workload}/payload`;

export const composeIdentity = (workload: string): string => `workloads/${workload}/compose`;

/** The whole for the host, and the part that its owner is shown. */
export async function sealGiven(
  vault: Vault,
  workload: string,
  given: Given,
): Promise<{ payload: Buffer; compose: Buffer }> {
  const [payload, compose] = await Promise.all([
    vault.seal(payloadIdentity(workload), Buffer.from(JSON.stringify(given))),
    vault.seal(composeIdentity(workload), Buffer.from(given.dockerCompose)),
  ]);
  return { payload, compose };
}

export async function openGiven(vault: Vault, workload: string, sealed: Buffer): Promise<Given> {
  return JSON.parse((await vault.open(payloadIdentity(workload), sealed)).toString());
}

/** Everything that is wrong with variables and files, then what the policy says of the compose file. */
export async function checkGiven(
  judge: ComposeJudge,
  account: string,
  given: Given,
): Promise<ComposeVerdict> {
  const placeholders = Object.fromEntries((given.sealedEnv ?? []).map((name) => [name, PLACEHOLDER]));
  const env = { ...given.envVars, ...placeholders };
  const variables = checkEnvironment(env);
  if (variables.length > 0) {
    const detail = variables[0]!.message;
    throw new Fault("workload.reserved-variable", { detail }, { issues: variables });
  }
  const issues = Object.entries(given.files).flatMap(([name, body]) => {
    const wrong = checkFileName(name) ?? (decodeBase64(body) === null ? "is not base64" : null);
    return wrong === null ? [] : [{ path: `files.${name.slice(0, 128)}`, message: wrong }];
  });
  if (issues.length > 0)
    throw new Fault("workload.file", { detail: `${issues[0]!.path} ${issues[0]!.message}` }, { issues });
  return judge.judge(account, {
    text: given.dockerCompose,
    files: Object.keys(given.files),
    env,
    publicContainerName: given.publicService,
    publicContainerPort: given.publicPort,
  });
}

export async function requirePlan(
  judge: ComposeJudge,
  account: string,
  given: Given,
): Promise<Extract<ComposeVerdict, { ok: true }>> {
  const verdict = await checkGiven(judge, account, given);
  if (verdict.ok) return verdict;
  const first = verdict.violations[0]!;
  const detail = `${first.path} (line ${first.line}): ${first.message}`;
  throw new Fault("workload.compose", { detail }, { issues: verdict.violations });
}

/** What a host takes at most (host/kept/streams.ts), with room for what JSON makes of odd characters. */
const PAYLOAD_MAX = 24 * 1024 * 1024;
/** What the container driver takes of the document, which grows by the variables in it. */
const DOCUMENT_MAX = 4 * 1024 * 1024;

/** Refuses now what no host would ever take. */
export function requireFits(given: Given, plan: ComposePlan): void {
  const payload = toPayload(given, plan);
  const large = payload.compose.length > DOCUMENT_MAX || JSON.stringify(payload).length > PAYLOAD_MAX;
  if (large)
    throw new Fault("workload.compose", {
      detail: "with its variables and files filled in it is larger than a machine takes",
    });
}

/** For the host: the checked document, never the client's text. */
export function toPayload(given: Given, plan: ComposePlan): ComposePayload {
  return {
    kind: "compose",
    compose: composeText(withPins(plan.document, given.pins ?? {})),
    env: given.envVars,
    files: Object.fromEntries(
      Object.entries(given.files).map(([name, body]) => [name, decodeBase64(body)!.toString("base64")]),
    ),
    registries: [...given.dockerCredentials],
    publicService: given.publicService,
    publicPort: given.publicPort,
  };
}

/** The client's, and one for our own registry that ends with the start it was lent for. */
export async function loginsOf(
  db: Database,
  given: Given,
  borrower: { account: string; machine: string; incarnation: number },
): Promise<ComposePayload["registries"]> {
  const own = registriesOf(given.pins ?? {});
  if (own.length === 0) return [...given.dockerCredentials];
  const password = await lendPullKey(db.run, borrower);
  // Before the client's own: a login of theirs for our name would be asked first, and is not needed.
  return [...own.map((server) => ({ server, username: "casemate", password })), ...given.dockerCredentials];
}
