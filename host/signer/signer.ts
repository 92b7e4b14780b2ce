// SPDX-License-Identifier: Apache-2.0
/**
 * The host's handle on its signer process. Started once, with the host; when it dies on its own it is
 * started again at the next call, and what was asked of the dead one rejects: session keys died
 * with it, and whoever needs one asks for a new one.
 *
 * As root the signer gets a uid of its own, no capabilities and no_new_privs; otherwise it runs as us
 * and only its folder's mode stands between it and other processes of the same user.
 */
import type { ChildProcess } from "node:child_process";
import { chownSync, mkdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { spawnPart } from "#confine/spawn.ts";
import type { ImageSignature } from "#evidence/images/signature.ts";
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
/** All that the signer imports lies below it. */
const ROOT = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
const STOP_MS = 2_000;

class SignerFault extends Error {}

export class Signer {
  readonly #options: SignerOptions;
  /** The signer itself; the child is what confines it. */
  #pid: number | undefined;
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
    return this.#child === undefined ? undefined : this.#pid;
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

  signImage(metadataSha256: string): Promise<ImageSignature> {
    return this.#ask({ op: "signImage", metadataSha256 }) as Promise<ImageSignature>;
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
    // No core dump may hold a key. As root it sees the program and its own folder and nothing else, so
    // a clone in a home folder that only root may enter serves as well as any.
    // The working folder is entered last, by the only uid that may.
    const child = spawnPart({
      command: "prlimit",
      args: [
        "--core=0:0",
        ...["env", `--chdir=${folder}`],
        ...(privileged ? [] : ["setpriv", "--no-new-privs"]),
        ...[process.execPath, ENTRY],
      ],
      env: {},
      cwd: "/",
      confinement: privileged ? { uid, gid: uid, readable: [ROOT], writable: [folder] } : null,
      stdio: ["pipe", "pipe", "inherit"],
    });
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
      const { issuers, pid } = (await opened) as { issuers: Issuer[]; pid: number };
      this.#issuers = issuers;
      this.#pid = pid;
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
