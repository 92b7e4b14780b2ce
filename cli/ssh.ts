// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate ssh`: logs in to an instance by its name, with the machine's own `ssh`. Neither a resolver nor a known_hosts of yours
 * is needed: where the instance is, and by which keys it is known, its record says, and control shows no keys that the machine's
 * evidence did not bind. Any other key at that address ends it before anything is said.
 *
 * For an `ssh` that is started by other programs it gives the two things that this one needs, by the lines that `up` prints: the way
 * to the machine (`--pipe`, ProxyCommand) and its keys (`--known-hosts`, KnownHostsCommand).
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { orUsage, UsageFault } from "./usage.ts";

export interface SshOptions {
  url: string;
  keyFile?: string;
  /** A private key; without it what ssh itself uses. */
  identity?: string;
  /** Carries standard input and output to the machine's SSH server. */
  pipe?: boolean;
  /** Prints its keys as known_hosts has them. */
  knownHosts?: boolean;
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
  if ([options.pipe, options.knownHosts, words.length > 0].filter(Boolean).length > 1)
    throw new UsageFault("--pipe, --known-hosts and a command exclude each other");
  const { hostname, status, ssh } = await recordOf(name, options);
  if (ssh === null) {
    err(`casemate: the instance ${name} is ${status}; one logs in when it is ready\n`);
    return NOT_REACHED;
  }
  if (options.pipe === true) return carry(ssh);
  const known_hosts = ssh.known_hosts
    .map((line) => `${hostname} ${line.split(" ").slice(1).join(" ")}\n`)
    .join("");
  if (options.knownHosts === true) {
    process.stdout.write(known_hosts);
    return 0;
  }
  const folder = mkdtempSync(join(tmpdir(), "casemate-ssh-"));
  try {
    const known = join(folder, "known_hosts");
    writeFileSync(known, known_hosts, { mode: 0o600 });
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

/** By its name, or its whole host name, which has to be this tenant's: another's may have the same name before the first dot. */
async function recordOf(given: string, { url, keyFile }: SshOptions): Promise<Login> {
  const [name = "", ...rest] = given.split(".");
  const key =
    keyFile === undefined ? process.env.CASEMATE_INSTANCES_KEY : readFileSync(keyFile, "utf8").trim();
  if (key === undefined || key === "")
    throw new UsageFault("a key of the tenant is in CASEMATE_INSTANCES_KEY or in --key-file");
  const reply = await fetch(new URL(`/v1/instances/${encodeURIComponent(name)}`, url), {
    headers: { authorization: `Bearer ${key}` },
  });
  const body = (await reply.json()) as { data?: Login; error?: { message: string } };
  if (body.data === undefined) throw new Error(body.error?.message ?? `the API answered ${reply.status}`);
  if (rest.length > 0 && body.data.hostname !== given.toLowerCase())
    throw new Error(`${given} is not this tenant's: its instance ${name} is ${body.data.hostname}`);
  return body.data;
}

function carry({ address, port }: NonNullable<Login["ssh"]>): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, allowHalfOpen: true });
    socket.once("error", reject);
    socket.once("close", () => resolve(0));
    process.stdin.pipe(socket).pipe(process.stdout);
  });
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
