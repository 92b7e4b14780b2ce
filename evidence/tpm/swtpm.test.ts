// SPDX-License-Identifier: Apache-2.0
/** A TPM in software, asked by the tools that everyone has: what they write is read, and what is made here they open. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { parseTpmPolicy, type TpmExpectation, tpmDemandsOf } from "#evidence/policy/tpm.ts";
import { describeWith, programs } from "#testing/requirements.ts";
import { concatBytes, hexOf } from "../bytes.ts";
import { parseCertificate } from "../x509/certificate.ts";
import { certificatesOf } from "../x509/files.ts";
import { bytesOf } from "../x509/specimen.ts";
import { makeCredential } from "./credential.ts";
import { nameOf, parseSigningKey } from "./public.ts";
import { extendedBy, writeEventLog } from "./specimen.ts";
import { type TpmEvidence, verifyTpm } from "./verify.ts";
import { u32 } from "./wire.ts";

const needs = programs(["swtpm", "swtpm_setup", "tpm2_quote"], "swtpm swtpm-tools tpm2-tools");
const execute = promisify(execFile);
const NONCE = createHash("sha256").update("a nonce and a key").digest();
const EVENTS = [4, 9, 11, 12].map((pcr) => ({ pcr, data: bytesOf(`measured into ${pcr}`) }));
const sha = (bytes: Uint8Array) => Uint8Array.from(createHash("sha256").update(bytes).digest());
/** While the authority of this test's own is valid, whatever the clock says. */
const NOW_MS = Date.now() + 60_000;

let folder = "";
let daemon: ChildProcess | null = null;
const path = (name: string) => join(folder, name);
const fileOf = async (name: string) => Uint8Array.from(await readFile(path(name)));

/** Each tool leaves its objects in the TPM, which has room for three. */
async function tool(name: string, ...argv: string[]): Promise<string> {
  const env = { ...process.env, TPM2TOOLS_TCTI: `swtpm:path=${path("socket")}`, TSS2_LOG: "all+none" };
  const options = { env, cwd: folder, timeout: 20_000 };
  const { stdout } = await execute(name, argv, options);
  await execute("tpm2_flushcontext", ["--transient-object"], options);
  return stdout;
}

async function startTpm(): Promise<void> {
  folder = await mkdtemp(join(tmpdir(), "casemate-swtpm-"));
  await mkdir(path("state"));
  await mkdir(path("authority"));
  const authority = (name: string) => `${name} = ${path("authority")}`;
  await writeFile(
    path("localca.conf"),
    [
      authority("statedir"),
      `${authority("signingkey")}/key.pem`,
      `${authority("issuercert")}/issuer.pem`,
      `${authority("certserial")}/serial`,
    ].join("\n"),
  );
  await writeFile(
    path("localca.options"),
    "--platform-manufacturer x\n--platform-version 1\n--platform-model x\n",
  );
  await writeFile(
    path("setup.conf"),
    `create_certs_tool = ${(await execute("sh", ["-c", "command -v swtpm_localca"])).stdout.trim()}\ncreate_certs_tool_config = ${path("localca.conf")}\ncreate_certs_tool_options = ${path("localca.options")}\n`,
  );
  const setup = [
    "--tpm2",
    "--tpmstate",
    path("state"),
    "--create-ek-cert",
    "--lock-nvram",
    "--config",
    path("setup.conf"),
    "--write-ek-cert-files",
    folder,
  ];
  await execute("swtpm_setup", setup, { cwd: folder, timeout: 60_000 });
  const socket = (name: string) => `type=unixio,path=${path(name)}`;
  daemon = spawn(
    "swtpm",
    [
      "socket",
      "--tpm2",
      "--tpmstate",
      `dir=${path("state")}`,
      "--server",
      socket("socket"),
      "--ctrl",
      socket("socket.ctrl"),
      "--flags",
      "not-need-init,startup-clear",
    ],
    { stdio: "ignore" },
  );
  await vi.waitFor(() => tool("tpm2_getrandom", "--hex", "1"), { timeout: 20_000, interval: 100 });
}

describeWith([needs], "a TPM in software", () => {
  beforeAll(async () => {
    await startTpm();
    await tool("tpm2_createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub");
    for (const [name, kind, scheme] of [
      ["ecc", "ecc", "ecdsa"],
      ["rsa", "rsa", "rsassa"],
    ] as const)
      await tool(
        "tpm2_createak",
        "-C",
        "ek.ctx",
        "-c",
        `${name}.ctx`,
        "-G",
        kind,
        "-g",
        "sha256",
        "-s",
        scheme,
        "-f",
        "tss",
        "-u",
        `${name}.pub`,
        "-n",
        `${name}.name`,
      );
    for (const { pcr, data } of EVENTS) await tool("tpm2_pcrextend", `${pcr}:sha256=${hexOf(sha(data))}`);
  }, 120_000);
  afterAll(async () => {
    if (daemon !== null && daemon.exitCode === null) {
      const ended = new Promise((resolve) => daemon!.once("exit", resolve));
      daemon.kill();
      await ended;
    }
    if (folder !== "") await rm(folder, { recursive: true });
  });

  async function quoteBy(key: string): Promise<TpmEvidence> {
    await tool(
      "tpm2_quote",
      "-c",
      `${key}.ctx`,
      "-l",
      "sha256:4,9,11,12",
      "-q",
      NONCE.toString("hex"),
      "-f",
      "tss",
      "-m",
      `${key}.quote`,
      "-s",
      `${key}.signature`,
    );
    return {
      quote: await fileOf(`${key}.quote`),
      signature: await fileOf(`${key}.signature`),
      key: await fileOf(`${key}.pub`),
      eventLog: writeEventLog(EVENTS),
      endorsement: [
        await fileOf("ek-rsa2048.crt"),
        await fileOf("authority/issuer.pem"),
        await fileOf("authority/swtpm-localca-rootca-cert.pem"),
      ],
    };
  }

  async function demandsFor(key: string, expected: TpmExpectation = { nonce: NONCE }) {
    const [root] = certificatesOf(await fileOf("authority/swtpm-localca-rootca-cert.pem"));
    const reading = parseTpmPolicy({
      pcrs: Object.fromEntries(EVENTS.map(({ pcr, data }) => [pcr, [hexOf(extendedBy(sha(data)))]])),
      keys: [hexOf(await fileOf(`${key}.name`))],
      endorsementRoots: [hexOf(sha(root!.spki))],
    });
    if (!reading.ok) throw new Error(reading.faults.join());
    return tpmDemandsOf(reading.policy, expected);
  }

  test.each(["ecc", "rsa"])("makes a quote that is accepted, by a key of %s", async (key) => {
    const demands = await demandsFor(key);
    const verdict = await verifyTpm(await quoteBy(key), { atMs: NOW_MS, demands });
    expect(verdict.steps.filter(({ ok }) => !ok)).toEqual([]);
    expect(verdict).toMatchObject({ accepted: true, hardware: false, unasked: [] });
    expect(verdict.keyName).toBe(hexOf(await fileOf(`${key}.name`)));
  });

  test("whose quote is refused for another nonce, by another key, and under another root", async () => {
    const evidence = await quoteBy("ecc");
    const failing = async (change: Partial<TpmEvidence>, demands = demandsFor("ecc")) => {
      const { steps } = await verifyTpm({ ...evidence, ...change }, { atMs: NOW_MS, demands: await demands });
      return steps.filter(({ ok }) => !ok).map(({ name }) => name);
    };
    expect(await failing({}, demandsFor("ecc", { nonce: bytesOf("another") }))).toEqual(["nonce"]);
    expect(await failing({}, demandsFor("rsa"))).toEqual(["key-known"]);
    expect(await failing({ key: await fileOf("rsa.pub") })).toEqual(["signature", "key-known"]);
    const [certificate, , root] = evidence.endorsement!;
    expect(await failing({ endorsement: [certificate!, root!] })).toEqual(["endorsement"]);
    expect(await failing({ endorsement: [root!, certificate!] })).toEqual(["endorsement"]);
    const { atMs } = { atMs: Date.UTC(2001, 0) };
    const early = await verifyTpm(evidence, { atMs, demands: await demandsFor("ecc") });
    expect(early.steps.filter(({ ok }) => !ok).map(({ name }) => name)).toEqual(["endorsement"]);
  });

  test("opens a credential that was made here for its two keys, and none for another key", async () => {
    const { spki } = parseCertificate(await fileOf("ek-rsa2048.crt"));
    const name = await nameOf(parseSigningKey(await fileOf("ecc.pub")));
    expect(hexOf(name)).toBe(hexOf(await fileOf("ecc.name")));
    const secret = Uint8Array.from({ length: 32 }, (_, index) => index * 7);
    const open = async (forName: Uint8Array) => {
      const { blob, encryptedSeed } = await makeCredential(spki, forName, secret);
      await writeFile(path("credential"), concatBytes(u32(0xbadcc0de), u32(1), blob, encryptedSeed));
      await tool("tpm2_startauthsession", "--policy-session", "-S", "session.ctx");
      try {
        await tool("tpm2_policysecret", "-S", "session.ctx", "-c", "e");
        await tool(
          "tpm2_activatecredential",
          "-c",
          "ecc.ctx",
          "-C",
          "ek.ctx",
          "-i",
          "credential",
          "-o",
          "secret",
          "-P",
          "session:session.ctx",
        );
      } finally {
        await tool("tpm2_flushcontext", "session.ctx");
      }
      return fileOf("secret");
    };
    expect(await open(name)).toEqual(secret);
    const other = await nameOf(parseSigningKey(await fileOf("rsa.pub")));
    await expect(open(other)).rejects.toThrow();
  });
});
