// SPDX-License-Identifier: Apache-2.0
/** The operator's commands on a running installation or its folder. `--json` prints what the server said. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { backup, restore } from "#embedded/backup.ts";
import { openCheckpoint } from "#evidence/log/checkpoint.ts";
import { bytesOf } from "./evidence-files.ts";

export interface Target {
  state: string;
  url?: string;
  key?: string;
  json?: boolean;
}

export async function rotateKeysCommand(target: Target): Promise<number> {
  const reply = await callAdmin(target, "POST", "/platform/v1/keys/rotate");
  print(
    target,
    reply,
    `new key-encryption key ${reply.key_id}; ${reply.rewrapped} data keys wrapped again; access tokens are signed by ${reply.signing_key_id} in five minutes`,
  );
  return 0;
}

export async function rotateLogKeyCommand(target: Target): Promise<number> {
  const reply = await callAdmin(target, "POST", "/platform/v1/log/rotate-key");
  print(target, reply, `the transparency log is signed by ${reply.key} from now on`);
  return 0;
}

/** An issuer (`iss_…`), or the key of one proof. */
export async function revokeIssuedCommand(id: string, target: Target): Promise<number> {
  const body = id.startsWith("iss_") ? { issuer_id: id } : { key_id: id };
  const reply = await callAdmin(target, "POST", "/platform/v1/issuers/revoke", body);
  print(target, reply, `${reply.revoked} is revoked; give verifiers /platform/v1/issuers/manifest again`);
  return 0;
}

/** The issuer's key lies with the host, so this works on the machine itself and over no network. */
export async function rotateIssuerCommand(target: Target): Promise<number> {
  const { url, pid } = runningOn(target.state);
  const issuers = async () =>
    ((await (await fetch(`${url}/platform/v1/issuers`)).json()) as { issuerId: string }[]).length;
  const before = await issuers();
  process.kill(pid, "SIGUSR2");
  for (let tries = 0; tries < 100; tries++) {
    if ((await issuers()) > before) {
      print(
        target,
        { issuers: before + 1 },
        `a new issuer signs from now on; give verifiers ${url}/platform/v1/issuers again`,
      );
      return 0;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`the host has not announced a new issuer; see ${join(target.state, "logs/host.log")}`);
}

export async function healthCommand(target: Target): Promise<number> {
  const { url } = whereOf(target);
  const response = await fetch(`${url}/v1/health`).catch((cause) => {
    throw new Error(`no answer from ${url}: is casemate up?`, { cause });
  });
  const health = (await response.json()) as {
    status: string;
    engines: Record<string, boolean>;
    database: boolean;
  };
  const bad = Object.entries({ ...health.engines, database: health.database }).filter(([, well]) => !well);
  print(
    target,
    health,
    bad.length === 0 ? "healthy" : `${health.status}: ${bad.map(([name]) => name).join(", ")} not well`,
  );
  return health.status === "healthy" ? 0 : 1;
}

export async function backupCommand(file: string, { state, json = false }: Target): Promise<number> {
  await backup(state, file);
  print(
    { state, json },
    { file },
    `written ${file}: it holds every key of this installation, keep it as secret as ${state}`,
  );
  return 0;
}

export async function restoreCommand(
  file: string,
  { state, json = false, logCheckpoint }: Target & { logCheckpoint?: string },
): Promise<number> {
  const newest = logCheckpoint === undefined ? null : await bytesOf(logCheckpoint);
  if (newest !== null && openCheckpoint(newest) === null)
    throw new Error(`${logCheckpoint} is no checkpoint of a log`);
  restore(file, state, newest);
  const log =
    newest === null
      ? " Its transparency log signs nothing until it is told what it signed last: --log-checkpoint."
      : "";
  print(
    { state, json },
    { state },
    `restored into ${state}: start it with ./casemate up --state ${state}${log && "."}${log}`,
  );
  return 0;
}

export function print({ json = false }: Target, value: unknown, sentence: string): void {
  process.stdout.write(`${json ? JSON.stringify(value) : sentence}\n`);
}

/** `--url` and `--key`, or both from the state folder of an installation on this machine. */
function whereOf({ state, url, key }: Target): { url: string; key: string | null } {
  // `@file` keeps the key out of process listings; a bare key is for those who know that.
  const given = key?.startsWith("@") ? readFileSync(key.slice(1), "utf8").trim() : key;
  if (url !== undefined) return { url: url.replace(/\/$/, ""), key: given ?? null };
  return { url: runningOn(state).url, key: given ?? readFileSync(join(state, "admin.key"), "utf8").trim() };
}

const runningOn = (state: string) =>
  JSON.parse(readFileSync(join(state, "running.json"), "utf8")) as { url: string; pid: number };

export async function callAdmin(
  target: Target,
  method: string,
  path: string,
  given?: object,
): Promise<Record<string, unknown>> {
  let where: { url: string; key: string | null };
  try {
    where = whereOf(target);
  } catch (cause) {
    throw new Error(`no casemate runs on ${target.state}; give --state, or --url and --key`, { cause });
  }
  if (where.key === null) throw new Error("--key is needed with --url");
  const response = await fetch(where.url + path, {
    method,
    headers: {
      authorization: `Bearer ${where.key}`,
      ...(given === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(given === undefined ? {} : { body: JSON.stringify(given) }),
  }).catch((cause) => {
    throw new Error(`no answer from ${where.url}: is casemate up?`, { cause });
  });
  const body = (await response.json()) as Record<string, unknown>;
  if (!response.ok) throw new Error(`${response.status} ${body.message}`);
  return body;
}
