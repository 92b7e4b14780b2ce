// SPDX-License-Identifier: Apache-2.0
/**
 * Who vouches for the TPMs of this host's machines: an authority of the driver's own, made and used by swtpm's tools, that
 * signs the certificate of each TPM's endorsement key. It says "a machine of this host has this TPM", and it is the
 * host's operator who says so. Its keys are in a folder that no uid of a machine may enter: a guest that
 * took over its QEMU could else vouch for a TPM that never was.
 */
import { X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../docker/program.ts";
import { DriverFault } from "../driver.ts";

const SETUP_MS = 60_000;
const ISSUER = "issuer.pem";
const ROOT = "swtpm-localca-rootca-cert.pem";

export interface TpmAuthorityOptions {
  /** Made if it is not there; nobody else's. */
  folder: string;
  /** `swtpm_setup`. */
  program: string;
}

export class TpmAuthority {
  readonly #options: TpmAuthorityOptions;
  /** Its tools count their certificates in a file, so one works at a time. */
  #last: Promise<unknown> = Promise.resolve();
  #chain: Promise<string[]> | null = null;

  constructor(options: TpmAuthorityOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true, mode: 0o700 });
  }

  /** DER in base64: what signed for the keys, and the root above it. The first call makes them. */
  chain(): Promise<string[]> {
    this.#chain ??= this.#makeChain().catch((error: unknown) => {
      this.#chain = null;
      throw error;
    });
    return this.#chain;
  }

  /** Makes a new TPM's state with a certificate for its endorsement key; once in the TPM's life. */
  endow(stateFolder: string, signal: AbortSignal): Promise<void> {
    const turn = this.#last.then(() => this.#setUp(stateFolder, signal));
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #makeChain(): Promise<string[]> {
    const { folder } = this.#options;
    if (!existsSync(join(folder, ISSUER)) || !existsSync(join(folder, ROOT))) {
      // The tools make their keys when they are first asked for a certificate: of a TPM that nobody uses.
      const state = mkdtempSync(join(folder, ".first-"));
      try {
        await this.endow(state, AbortSignal.timeout(SETUP_MS));
      } finally {
        rmSync(state, { recursive: true, force: true });
      }
    }
    return [ISSUER, ROOT].map((name) =>
      new X509Certificate(readFileSync(join(folder, name))).raw.toString("base64"),
    );
  }

  async #setUp(stateFolder: string, signal: AbortSignal): Promise<void> {
    const { folder, program } = this.#options;
    const path = (name: string) => join(folder, name);
    const lines = (name: string, all: readonly string[]) => writeFileSync(path(name), `${all.join("\n")}\n`);
    lines("localca.conf", [
      `statedir = ${folder}`,
      `signingkey = ${path("signing-key.pem")}`,
      `issuercert = ${path(ISSUER)}`,
      `certserial = ${path("serial")}`,
    ]);
    lines("localca.options", [
      "--platform-manufacturer Casemate",
      "--platform-version 1",
      "--platform-model VM",
    ]);
    lines("setup.conf", [
      `create_certs_tool = ${program.replace(/[^/]*$/, "swtpm_localca")}`,
      `create_certs_tool_config = ${path("localca.conf")}`,
      `create_certs_tool_options = ${path("localca.options")}`,
    ]);
    const words = ["--tpm2", "--tpmstate", stateFolder, "--create-ek-cert", "--lock-nvram"];
    const ran = await runProgram([program, ...words, "--config", path("setup.conf")], {
      ...{ timeoutMs: SETUP_MS, cwd: folder, signal },
    }).catch((cause: unknown) => {
      throw new DriverFault("machine.start-failed", `the TPM could not be made: is ${program} installed?`, {
        cause,
      });
    });
    if (ran.code === 0) return;
    const last = `${ran.stdout}\n${ran.stderr}`.trim().split("\n").at(-1)!.slice(-200);
    throw new DriverFault("machine.start-failed", `the TPM could not be made: ${last}`);
  }
}
