// SPDX-License-Identifier: Apache-2.0
/**
 * A worker for one target that is not built in: takes jobs, reads the model, runs a compiler, hands in what it
 * made. Run it where the compiler is licensed:
 *
 *     CASEMATE_URL=https://casemate.example CLIENT_ID=… CLIENT_SECRET=… \
 *       node examples/toolchain-worker.ts 'application/x-onnx; device=hailo' -- hailo-compile {in} {out}
 *
 * `{in}` and `{out}` are files. It ends when its standard input does, or after one job with `--once`.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const IDLE_MS = 5_000;
const SOON_MS = 30_000;

const [before, command] = [process.argv.slice(2), process.argv.slice(process.argv.indexOf("--") + 1)];
const [target] = before;
const once = before.slice(0, before.indexOf("--")).includes("--once");
const { CASEMATE_URL: url, CLIENT_ID: id, CLIENT_SECRET: secret } = process.env;
if (target === undefined || command.length === 0 || !url || !id || !secret)
  throw new Error(
    "usage: CASEMATE_URL= CLIENT_ID= CLIENT_SECRET= toolchain-worker.ts <media type> [--once] -- <command>",
  );

let token = { value: "", until: 0 };

async function authorization(): Promise<string> {
  if (Date.now() > token.until - SOON_MS) {
    const body = new URLSearchParams({
      grant_type: "client_credentials",
      client_id: id!,
      client_secret: secret!,
    });
    const response = await fetch(`${url}/cdb/oauth2/token`, { method: "POST", body });
    if (!response.ok) throw new Error(`no token: ${response.status}`);
    const { access_token, expires_in } = (await response.json()) as {
      access_token: string;
      expires_in: number;
    };
    token = { value: access_token, until: Date.now() + Number(expires_in) * 1000 };
  }
  return `Bearer ${token.value}`;
}

async function call(
  method: string,
  path: string,
  body?: string | Uint8Array,
  headers: Record<string, string> = {},
) {
  const response = await fetch(url + path, {
    method,
    headers: { authorization: await authorization(), ...headers },
    ...(body === undefined ? {} : { body: body as string }),
  });
  if (!response.ok)
    throw new Error(`${method} ${path}: ${response.status} ${(await response.text()).slice(0, 300)}`);
  return response;
}

interface Leased {
  Conversion: { UUID: string };
  Source: { URL: string; SHA256: string };
  Lease: string;
}

/** False when there was nothing to do. */
async function work(): Promise<boolean> {
  const headers = { "content-type": "application/json" };
  const leased = await call("POST", "/cpt/conversions/lease", JSON.stringify({ Targets: [target] }), headers);
  if (leased.status === 204) return false;
  const { Conversion, Source, Lease } = (await leased.json()) as Leased;
  const folder = await mkdtemp(join(tmpdir(), "toolchain-"));
  try {
    const bytes = Buffer.from(await (await call("GET", Source.URL)).arrayBuffer());
    if (createHash("sha256").update(bytes).digest("hex") !== Source.SHA256)
      throw new Error("other bytes came");
    const [input, output] = [join(folder, "model"), join(folder, "artefact")];
    await writeFile(input, bytes);
    await run(command.map((word) => word.replaceAll("{in}", input).replaceAll("{out}", output)));
    await call("PUT", `/cpt/conversion/${Conversion.UUID}/artifact`, await readFile(output), {
      "x-lease": Lease,
    });
    console.log(`made ${target} for ${Conversion.UUID}`);
    return true;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function run([program, ...args]: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, { stdio: ["ignore", "inherit", "inherit"] });
    child.once("error", reject);
    child.once("exit", (code) =>
      code === 0 ? resolve() : reject(new Error(`${program} ended with ${code}`)),
    );
  });
}

process.stdin.resume().once("end", () => process.exit(0));
for (;;) {
  // A job that failed here is anybody's again when its lease ends.
  const busy = await work().catch((error: Error) => {
    console.error(error.message);
    return false;
  });
  if (once && busy) process.exit(0);
  if (!busy) await sleep(IDLE_MS);
}
