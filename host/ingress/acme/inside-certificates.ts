// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates from a directory for keys that machines keep, by requests that the machines made. Each start of a machine has
 * another key, so each is another order.
 *
 *     no certificate ──order──▶ certificate ──2/3 of its life, order──▶ certificate …
 *
 *  A. No machine waits for a directory: it is told when its certificate is there, and has our own authority's until then.
 *  B. Directories sign the same names a few times a week. What was signed, and how often it failed, is on disk, so that
 *     neither a machine nor a host that starts again and again presses one.
 *  C. One order at a time; one machine's failures hold up no other.
 *  D. The names are those that control wants of the machine, and the request's are the same (names.ts): a directory signs all or none.
 *  E. A proof is given for the token of an order of ours, as long as that order is under way.
 */
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { waitMs } from "#link/backoff.ts";
import { eraseFile } from "../../durable-file.ts";
import type { Account } from "./account.ts";
import { answerByHttp, answerByName } from "./answers.ts";
import { type AcmeOptions, LIFE_USED, LOCAL, RETRY_AFTER_MOST_MS, TIMING } from "./certificates.ts";
import { orderCertificate } from "./order.ts";
import { readPrivate, writePrivate } from "./private-file.ts";
import { DirectoryFault, plain } from "./transport.ts";

export interface InsideKey {
  /** First the one by which the machine is known. */
  names: readonly string[];
  /** DER. */
  request: Uint8Array;
  /** Hex. */
  spkiSha256: string;
}

interface Needs extends AcmeOptions {
  folder: string;
  account: Account;
  now(): Date;
  log(event: string, facts: Record<string, unknown>): void;
  /** A machine of this id has another certificate to be given. */
  onIssued(machineId: string): void;
}

interface InsideRecord {
  names: readonly string[];
  directoryUrl: string;
  spkiSha256: string;
  issued: { chainPem: string; notAfterMs: number; renewAtMs: number } | null;
  /** Of a week. */
  signedAtMs: number[];
  failures: number;
  retryAtMs: number;
}

interface Entry {
  machineId: string;
  key: InsideKey;
  record: InsideRecord;
  /** Tokens of the order under way, with what answers them. */
  proofs: Map<string, string>;
  gone: AbortController;
}

/** B. A large public directory signs five. */
const SIGNED_A_WEEK_MAX = 4;
const WEEK_MS = 7 * 24 * 3_600_000;

export class InsideCertificates {
  readonly #needs: Needs;
  readonly #timing: typeof TIMING;
  readonly #folder: string;
  readonly #entries = new Map<string, Entry>();
  #routes: ReadonlyMap<string, string> = new Map();
  readonly #closing = new AbortController();
  #ordering: Promise<void> | null = null;
  readonly #work = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(needs: Needs) {
    this.#needs = needs;
    this.#timing = { ...TIMING, ...needs.timing };
    this.#folder = join(needs.folder, "acme");
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
  }

  /** A. A chain for this key, or null: then there will be an order, and `onIssued`. */
  find(key: InsideKey): string | null {
    const [name = ""] = key.names;
    const machineId = this.#routes.get(name);
    if (machineId === undefined || key.names.some((each) => LOCAL.test(each))) return null;
    let entry = this.#entries.get(name);
    if (entry === undefined || !isSame(entry.record, key)) {
      entry?.gone.abort(new Error("the machine has another key"));
      const record = this.#recordOf(name, key);
      entry = { machineId, key, record, proofs: new Map(), gone: new AbortController() };
      this.#entries.set(name, entry);
    }
    this.#turn();
    const { issued } = entry.record;
    return issued !== null && issued.notAfterMs > this.#needs.now().getTime() ? issued.chainPem : null;
  }

  /** E */
  proofOf(domain: string, token: string): string | undefined {
    for (const { key, proofs } of this.#entries.values())
      if (proofs.size > 0 && key.names.includes(domain)) return proofs.get(token);
    return undefined;
  }

  /** All names of machines with keys of their own, from now on. */
  follow(routes: Iterable<{ domain: string; machineId: string }>): void {
    const before = this.#routes;
    this.#routes = new Map([...routes].map(({ domain, machineId }) => [domain, machineId]));
    for (const domain of before.keys()) {
      if (this.#routes.has(domain)) continue;
      this.#entries.get(domain)?.gone.abort(new Error("the route is gone"));
      this.#entries.delete(domain);
      this.#track(eraseFile(this.#pathOf(domain)));
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the host is stopping"));
    clearTimeout(this.#timer);
    await Promise.allSettled([this.#ordering, ...this.#work]);
  }

  /** B. What an earlier start or process knew of these names. */
  #recordOf(name: string, { names, spkiSha256 }: InsideKey): InsideRecord {
    const { directoryUrl, log } = this.#needs;
    const fresh = {
      names,
      directoryUrl,
      spkiSha256,
      issued: null,
      signedAtMs: [],
      failures: 0,
      retryAtMs: 0,
    };
    try {
      const found = readPrivate(this.#pathOf(name)) as InsideRecord | undefined;
      if (found === undefined || found.directoryUrl !== directoryUrl) return fresh;
      if (isSame(found, { names, spkiSha256 })) return found;
      return { ...found, names, spkiSha256, issued: null };
    } catch (error) {
      log("ingress.acme-record-refused", { domain: name, error: plain(String(error)) });
      return fresh;
    }
  }

  /** C */
  #turn(): void {
    clearTimeout(this.#timer);
    if (this.#closing.signal.aborted || this.#ordering !== null) return;
    const nowMs = this.#needs.now().getTime();
    for (const [name, entry] of this.#entries)
      if (dueAtMs(entry.record, nowMs) <= nowMs) {
        this.#ordering = this.#order(name, entry).finally(() => {
          this.#ordering = null;
          this.#turn();
        });
        return;
      }
    this.#timer = setTimeout(() => this.#turn(), this.#timing.lookMs);
    this.#timer.unref();
  }

  async #order(name: string, entry: Entry): Promise<void> {
    const { challenge, publish, account, now, log, onIssued } = this.#needs;
    const { key, machineId, proofs } = entry;
    const late = AbortSignal.timeout(this.#timing.orderMs);
    const over = AbortSignal.any([entry.gone.signal, this.#closing.signal]);
    const signal = AbortSignal.any([over, late]);
    const keep = async (record: InsideRecord) => {
      entry.record = record;
      if (!over.aborted) await writePrivate(this.#pathOf(name), record);
    };
    const base64 = Buffer.from(key.request).toString("base64");
    const lines = base64.match(/.{1,64}/g)!.join("\n");
    try {
      const { chainPem, notBefore, notAfter } = await orderCertificate({
        ...{ client: await account.client(), names: key.names, spkiSha256: key.spkiSha256, now, signal },
        requestPem: `-----BEGIN CERTIFICATE REQUEST-----\n${lines}\n-----END CERTIFICATE REQUEST-----\n`,
        kinds: challenge === "dns-01" ? ["dns-01", "http-01"] : ["http-01"],
        answer: async (kind, domain, token, value) =>
          kind === "http-01"
            ? answerByHttp(proofs, token, value)
            : answerByName({
                ...{ publish, wish: { machineId, domain, value }, signal },
                ...{ settleMs: this.#timing.dnsSettleMs, track: (work) => this.#track(work) },
              }),
        pollMs: this.#timing.pollMs,
      });
      if (over.aborted) return;
      const nowMs = now().getTime();
      const lifeMs = notAfter.getTime() - notBefore.getTime();
      // With a clock that is wrong, or lives of minutes, we would order without end.
      const renewAtMs = Math.max(notBefore.getTime() + lifeMs * LIFE_USED, nowMs + this.#timing.retryFirstMs);
      const issued = { chainPem, notAfterMs: notAfter.getTime(), renewAtMs };
      const signedAtMs = [...recent(entry.record, nowMs), nowMs];
      await keep({ ...entry.record, issued, signedAtMs, failures: 0, retryAtMs: 0 });
      if (over.aborted) return;
      log("ingress.acme-certificate", { domain: name, inside: true, notAfter: notAfter.toISOString() });
      onIssued(machineId);
    } catch (error) {
      if (over.aborted) return;
      const fault = error instanceof DirectoryFault ? error : null;
      if (fault?.problem === "accountDoesNotExist") account.forget();
      const { retryFirstMs, retryMostMs } = this.#timing;
      const failures = entry.record.failures + 1;
      const saysMs = Math.min(fault?.retryAfterMs ?? 0, RETRY_AFTER_MOST_MS);
      const pauseMs = Math.max(waitMs({ firstMs: retryFirstMs, mostMs: retryMostMs }, failures - 1), saysMs);
      const retryAtMs = now().getTime() + pauseMs;
      const words = late.aborted
        ? "the order took too long"
        : error instanceof Error
          ? error.message
          : String(error);
      log("ingress.acme-failed", {
        ...{ domain: name, inside: true, failures, retryAt: new Date(retryAtMs).toISOString() },
        error: plain(words),
      });
      await keep({ ...entry.record, failures, retryAtMs }).catch((fault: unknown) =>
        log("ingress.acme-fault", { error: plain(String(fault)) }),
      );
    } finally {
      proofs.clear();
    }
  }

  #track(work: Promise<void>): void {
    const tracked: Promise<void> = work
      .catch((error: unknown) => this.#needs.log("ingress.acme-fault", { error: plain(String(error)) }))
      .finally(() => this.#work.delete(tracked));
    this.#work.add(tracked);
  }

  #pathOf(name: string): string {
    return join(this.#folder, `inside-${createHash("sha256").update(name).digest("hex")}.json`);
  }
}

const isSame = (
  record: Pick<InsideRecord, "names" | "spkiSha256">,
  key: Pick<InsideKey, "names" | "spkiSha256">,
) => record.spkiSha256 === key.spkiSha256 && record.names.join() === key.names.join();

const recent = ({ signedAtMs }: InsideRecord, nowMs: number) =>
  signedAtMs.filter((at) => nowMs - at < WEEK_MS);

function dueAtMs(record: InsideRecord, nowMs: number): number {
  const signed = recent(record, nowMs);
  const roomAtMs = signed.length < SIGNED_A_WEEK_MAX ? 0 : signed.at(-SIGNED_A_WEEK_MAX)! + WEEK_MS;
  return Math.max(record.issued?.renewAtMs ?? 0, record.retryAtMs, roomAtMs);
}
