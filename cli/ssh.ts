// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate ssh`: logs in to an instance by its name, with the machine's own `ssh`. Neither a resolver nor a known_hosts of yours
 * is needed: where the instance is, and by which keys it is known, its record says, and control shows no keys that the machine's
 * evidence did not bind. Any other key at that address ends it before anything is said.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { orUsage, UsageFault } from "./usage.ts";

export interface SshOptions {
  url: string;
  keyFile?: string;
  /** A private key; without it what ssh itself uses. */
  identity?: string;
}

interface Login {
  hostname: string;
  status: string;
  ssh: { address: string; port: number; user: string; known_hosts: string[] } | null;
}

/** By ssh for a fault of its own, as where it was not let in. */
const NOT_REACHED = 255;

const toStderr = (text: string) => process.stderr.write(text);

/** Answers what the command inside ended with. */
export const sshCommand = (
  name: string,
  words: readonly string[],
  options: SshOptions,
  err: (text: string) => void = toStderr,
): Promise<number> => orUsage("casemate ssh --help says more\n", err, () => logIn(name, words, options, err));

async function logIn(
  name: string,
  words: readonly string[],
  options: SshOptions,
  err: (text: string) => void,
): Promise<number> {
  const { hostname, status, ssh } = await recordOf(name, options);
  if (ssh === null) {
    err(`casemate: the instance ${name} is ${status}; one logs in when it is ready\n`);
    return NOT_REACHED;
  }
  const folder = mkdtempSync(join(tmpdir(), "casemate-ssh-"));
  try {
    const known = join(folder, "known_hosts");
    const keys = ssh.known_hosts.map((line) => line.split(" ").slice(1).join(" "));
    writeFileSync(known, keys.map((key) => `${hostname} ${key}\n`).join(""), { mode: 0o600 });
    const settings = [
      ...[`UserKnownHostsFile=${known}`, "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes"],
      ...[`HostKeyAlias=${hostname}`, "UpdateHostKeys=no", "CheckHostIP=no"],
    ];
    return await run("ssh", [
      ...settings.flatMap((setting) => ["-o", setting]),
      ...(options.identity === undefined ? [] : ["-o", "IdentitiesOnly=yes", "-i", options.identity]),
      ...["-p", String(ssh.port), "-l", ssh.user, "--", ssh.address, ...words],
    ]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function recordOf(name: string, { url, keyFile }: SshOptions): Promise<Login> {
  const key =
    keyFile === undefined ? process.env.CASEMATE_INSTANCES_KEY : readFileSync(keyFile, "utf8").trim();
  if (key === undefined || key === "")
    throw new UsageFault("a key of the tenant is in CASEMATE_INSTANCES_KEY or in --key-file");
  const reply = await fetch(new URL(`/v1/instances/${encodeURIComponent(name)}`, url), {
    headers: { authorization: `Bearer ${key}` },
  });
  const body = (await reply.json()) as { data?: Login; error?: { message: string } };
  if (body.data === undefined) throw new Error(body.error?.message ?? `the API answered ${reply.status}`);
  return body.data;
}

function run(program: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: "inherit" });
    child.once("error", (cause) =>
      reject(new Error(`${program} cannot be started (apt-get install openssh-client)`, { cause })),
    );
    // Ctrl-C is for what runs inside; we end when it does.
    const ignore = () => {};
    process.on("SIGINT", ignore);
    child.once("exit", (code) => {
      process.off("SIGINT", ignore);
      resolve(code ?? NOT_REACHED);
    });
  });
}
