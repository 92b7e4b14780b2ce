// SPDX-License-Identifier: Apache-2.0
/**
 * The host's handle on its signer process. Started once, with the host; when it dies on its own it is
 * started again at the next call, and what was asked of the dead one rejects: session keys died
 * with it, and whoever needs one asks for a new one.
 *
 * As root the signer gets a uid of its own, no capabilities and no_new_privs; otherwise it runs as us
 * and only its folder's mode stands between it and other processes of the same user.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { chownSync, mkdirSync } from "node:fs";
import { createInterface } from "node:readline";
import type { ProofParts } from "#evidence/proofs/build.ts";
import type { Issuer } from "#evidence/proofs/certificate.ts";
import { keyFile } from "../durable-file.ts";
import type { SignerRequest } from "./main.ts";
import type { NewKey, Signed } from "./session-keys.ts";

export interface SignerOptions {
  /** Holds the sealed issuer key; made 0700 and given to the signer's uid. */
  folder: string;
  /** The key-encryption key, 32 bytes, made at first start; keep it on another disk than `folder`. */
  kekPath: string;
  /** Used when this process is root. */
  uid: number;
}

const ENTRY = new URL("./main.ts", import.meta.url).pathname;
const STOP_MS = 2_000;

class SignerFault extends Error {}

export class Signer {
  readonly #options: SignerOptions;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #child: ChildProcess | undefined;
  #opened: Promise<void> | undefined;
  #issuers: Issuer[] = [];
  #lastId = 0;
  #closed = false;

  private constructor(options: SignerOptions) {
    this.#options = options;
  }

  static async start(options: SignerOptions): Promise<Signer> {
    const signer = new Signer(options);
    await signer.#open();
    return signer;
  }

  /** Every issuer there was, newest last. */
  issuers(): Issuer[] {
    return this.#issuers;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  newKey(sessionId: string): Promise<NewKey> {
    return this.#ask({ op: "newKey", sessionId }) as Promise<NewKey>;
  }

  sign(keyId: string, parts: ProofParts): Promise<Signed> {
    return this.#ask({ op: "sign", keyId, parts }) as Promise<Signed>;
  }

  async discard(keyId: string): Promise<void> {
    await this.#ask({ op: "discard", keyId });
  }

  async rotate(): Promise<Issuer[]> {
    const { issuers } = (await this.#ask({ op: "rotate" })) as { issuers: Issuer[] };
    this.#issuers = issuers;
    return issuers;
  }

  async probe(): Promise<boolean> {
    return ((await this.#ask({ op: "probe" })) as { ok: boolean }).ok;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.stdin!.end();
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await gone;
    clearTimeout(late);
  }

  async #ask(request: SignerRequest): Promise<unknown> {
    if (this.#closed) throw new SignerFault("the signer is closed");
    await this.#open();
    return this.#send(request);
  }

  #open(): Promise<void> {
    this.#opened ??= this.#start().catch((error) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  async #start(): Promise<void> {
    const { folder, kekPath, uid } = this.#options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const privileged = process.getuid?.() === 0;
    if (privileged) chownSync(folder, uid, uid);
    const confined = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"];
    const owned = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
    const node = [process.execPath, ENTRY];
    // No core dump may hold a key. The working folder is entered before the uid changes.
    const [command, ...args] = privileged
      ? ["prlimit", "--core=0:0", "setpriv", ...owned, ...confined, ...node]
      : ["prlimit", "--core=0:0", "setpriv", "--no-new-privs", ...node];
    const child = spawn(command!, args, { cwd: folder, env: {}, stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    const gone = (why: string) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#opened = undefined;
      for (const { reject } of this.#waiting.values()) reject(new SignerFault(why));
      this.#waiting.clear();
    };
    child.on("error", (error) => gone(`the signer could not start: ${error.message}`));
    child.on("exit", (code, signal) => gone(`the signer ended (${signal ?? code})`));
    child.stdin!.on("error", () => {});
    createInterface({ input: child.stdout! }).on("line", (line) => this.#answered(line));
    try {
      const kek = await keyFile(kekPath);
      const opened = this.#send({ op: "open", kek: kek.toString("base64") });
      kek.fill(0);
      this.#issuers = ((await opened) as { issuers: Issuer[] }).issuers;
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  #send(request: SignerRequest): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const child = this.#child;
      if (!child) {
        reject(new SignerFault("the signer ended"));
        return;
      }
      const id = ++this.#lastId;
      this.#waiting.set(id, { resolve, reject });
      child.stdin!.write(`${JSON.stringify({ ...request, id })}\n`);
    });
  }

  #answered(line: string): void {
    const { id, result, error } = JSON.parse(line) as { id: number; result?: unknown; error?: string };
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new SignerFault(error));
  }
}
