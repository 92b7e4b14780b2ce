// SPDX-License-Identifier: Apache-2.0
/** BIND in the foreground with one zone that a key may change, as an unprivileged user where we are root, on a port of its own. */
import { spawn, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Requirement } from "./requirements.ts";

export const bind: Requirement = {
  met: spawnSync("named", ["-v"], { stdio: "ignore" }).error === undefined,
  reason: "needs a name server of other people's (apt-get install -y bind9)",
};

export interface TestBind {
  port: number;
  stop(): Promise<void>;
}

export interface BindKey {
  name: string;
  secret: Buffer;
}

/** The first key may change addresses, aliases and texts of the zone, the others nothing. */
export async function startBind(zone: string, keys: readonly BindKey[]): Promise<TestBind> {
  for (let tries = 0; tries < 5; tries++) {
    // Not one of those that the system gives to connections meanwhile.
    const started = await tryBind(zone, keys, randomInt(20_000, 32_000));
    if (started !== null) return started;
  }
  throw new Error("named did not start");
}

async function tryBind(zone: string, keys: readonly BindKey[], port: number): Promise<TestBind | null> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-bind-"));
  const stated = keys.map(
    ({ name, secret }) => `key "${name}" { algorithm hmac-sha256; secret "${secret.toString("base64")}"; };`,
  );
  writeFileSync(
    join(folder, "named.conf"),
    `options { directory "${folder}"; listen-on port ${port} { 127.0.0.1; }; listen-on-v6 { none; };
       recursion no; pid-file none; session-keyfile none; allow-transfer { none; }; notify no;
       dnssec-validation no; lock-file none; managed-keys-directory "${folder}"; empty-zones-enable no; };
     controls {};
     ${stated.join("\n")}
     zone "${zone}" { type primary; file "${folder}/zone"; update-policy { grant ${keys[0]!.name} zonesub A AAAA CNAME TXT; }; };`,
  );
  writeFileSync(
    join(folder, "zone"),
    `$ORIGIN ${zone}.\n@ 60 IN SOA ns.${zone}. hostmaster.${zone}. 1 60 60 600 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n`,
  );
  const user = process.getuid?.() === 0 ? { uid: 63_953, gid: 63_953 } : {};
  if (user.uid !== undefined)
    for (const path of [folder, join(folder, "zone")]) chownSync(path, user.uid, user.gid);
  chmodSync(folder, 0o755);
  const server = spawn("named", ["-g", "-4", "-n", "1", "-c", join(folder, "named.conf")], {
    stdio: ["ignore", "ignore", "pipe"],
    ...user,
  });
  let said = "";
  server.stderr.on("data", (part) => {
    said += part;
  });
  const ended = once(server, "exit");
  const stop = async () => {
    server.kill("SIGKILL");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  for (let tries = 0; tries < 200 && server.exitCode === null; tries++) {
    // A port that is taken is a complaint, not an end.
    // It says that it runs before it has its zones, and fails what is asked meanwhile.
    const isReady = said.includes(" running") && said.includes("all zones loaded");
    if (isReady && !said.includes("interface ignored")) return { port, stop };
    if (said.includes("interface ignored")) break;
    await sleep(50);
  }
  await stop();
  if (said.includes("interface ignored")) return null;
  throw new Error(`named did not start: ${said.slice(-2000)}`);
}
