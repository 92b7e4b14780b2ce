// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates from a directory for the names with a route. A name asks for its own when its route
 * appears and is served with our own authority's until it is there; no handshake waits for a directory.
 *
 *     no certificate ──order──▶ certificate ──2/3 of its life, order──▶ certificate …
 *           └──failure──▶ wait, longer each time, and as long as the directory says ──▶ order
 *
 *  A. A few orders at once and no more. One name's failures hold up no other name; a directory that is
 *     away holds up all, since each would only find that out again.
 *  B. What was learnt is on disk before it counts: a restart neither orders again nor forgets a wait.
 *  C. A certificate is served from the moment it is stored until it ends. A renewed one keeps its key
 *     (leaves.ts, C), and connections that are open keep what they have.
 *  D. With its route a name loses its certificate and key, and the order that is under way for it.
 *  E. A proof is given for the token of an order of ours, as long as that order is under way.
 */
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import type { ChallengeWish } from "#contract/link/challenge.ts";
import { waitMs } from "#link/backoff.ts";
import { type LeafKey, leafKeyOf } from "../authority.ts";
import { Account } from "./account.ts";
import { answerByHttp, answerByName } from "./answers.ts";
import { type ChallengeKind, orderCertificate, requestFor } from "./order.ts";
import { type CertificateRecord, CertificateStore } from "./store.ts";
import { DirectoryFault, plain, useTransport } from "./transport.ts";

export interface AcmeOptions {
  /** https. */
  directoryUrl: string;
  email: string | null;
  /** PEM of the authorities that may have signed for the directory itself; null: those that Node trusts. */
  ca: string | null;
  challenge: ChallengeKind;
  /** Resolves when control has written it down; rejects with a `code` when it will not. */
  publish(wish: ChallengeWish): Promise<void>;
  timing?: Partial<AcmeTiming>;
}

export interface AcmeTiming {
  requestMs: number;
  orderMs: number;
  pollMs: number;
  /** From a record's publication until every name server has it: control's own keep what they read for 3 s. */
  dnsSettleMs: number;
  retryFirstMs: number;
  retryMostMs: number;
  /** How often, at least, the clock is looked at. */
  lookMs: number;
}

export const TIMING: AcmeTiming = {
  requestMs: 20_000,
  orderMs: 300_000,
  pollMs: 2_000,
  dnsSettleMs: 5_000,
  // A public directory believes a handful of wrong proofs an hour for a name, and then none.
  retryFirstMs: 300_000,
  retryMostMs: 12 * 3_600_000,
  lookMs: 60_000,
};

const ORDERS_MAX = 3;
export const RETRY_AFTER_MOST_MS = 7 * 24 * 3_600_000;
export const LIFE_USED = 2 / 3;
/** Share of a certificate's life by which renewals are spread, so that what was made together is not renewed so. */
const LIFE_SPREAD = 0.05;
/** No directory signs for these (RFC 6761, 6.3). */
export const LOCAL = /(^|\.)localhost$/;

export interface Served {
  key: LeafKey;
  certificatePem: string;
  notAfter: Date;
}

interface Entry {
  domain: string;
  machineId: string;
  record: CertificateRecord;
  served: Served | null;
  /** When what is on disk has been read. */
  loaded: Promise<void>;
  order: AbortController | null;
  /** Tokens of the order under way, with what answers them. */
  proofs: Map<string, string>;
}

interface Needs extends AcmeOptions {
  folder: string;
  /** The key that our own authority's certificate for the name has. */
  keyOf(domain: string): Promise<LeafKey | null>;
  now(): Date;
  log(event: string, facts: Record<string, unknown>): void;
  /** Another certificate is to be served for this name. */
  onRenewed(domain: string): void;
}

export class Certificates {
  readonly #needs: Needs;
  readonly #timing: AcmeTiming;
  readonly #store: CertificateStore;
  readonly #account: Account;
  readonly #entries = new Map<string, Entry>();
  readonly #closing = new AbortController();
  readonly #release: () => void;
  readonly #work = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  /** A: the directory was away this often, and is left alone until then. */
  #away = { failures: 0, untilMs: 0 };

  static async open(needs: Needs): Promise<Certificates> {
    const folder = join(needs.folder, "acme");
    const store = new CertificateStore(folder);
    const account = await Account.open({ ...needs, folder });
    return new Certificates(needs, store, account);
  }

  private constructor(needs: Needs, store: CertificateStore, account: Account) {
    this.#needs = needs;
    this.#timing = { ...TIMING, ...needs.timing };
    this.#store = store;
    this.#account = account;
    this.#release = useTransport({
      ca: needs.ca,
      requestMs: this.#timing.requestMs,
      signal: this.#closing.signal,
    });
  }

  /** Registered with the same directory for whoever else orders there. */
  get account(): Account {
    return this.#account;
  }

  /** Undefined: our own authority's is served. */
  async find(domain: string): Promise<Served | undefined> {
    const entry = this.#entries.get(domain);
    await entry?.loaded;
    return entry?.served && entry.served.notAfter > this.#needs.now() ? entry.served : undefined;
  }

  /** E. What answers this token of this name, if we ordered it. */
  proofOf(domain: string, token: string): string | undefined {
    return this.#entries.get(domain)?.proofs.get(token);
  }

  /** The key a certificate of this name has had, also when that has ended. */
  async keyOf(domain: string): Promise<LeafKey | undefined> {
    const entry = this.#entries.get(domain);
    await entry?.loaded;
    return entry?.served?.key;
  }

  /** All names with a route, from now on. */
  follow(routes: Iterable<{ domain: string; machineId: string }>): void {
    const wanted = new Map([...routes].map((route) => [route.domain, route]));
    for (const entry of this.#entries.values()) if (!wanted.has(entry.domain)) this.#drop(entry);
    for (const { domain, machineId } of wanted.values()) {
      const entry = this.#entries.get(domain);
      if (entry !== undefined) entry.machineId = machineId;
      else if (!LOCAL.test(domain)) this.#take(domain, machineId);
    }
    this.#turn();
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the host is stopping"));
    clearTimeout(this.#timer);
    await Promise.allSettled([...this.#work]);
    this.#release();
  }

  #take(domain: string, machineId: string): void {
    const { directoryUrl } = this.#needs;
    const record: CertificateRecord = { domain, directoryUrl, issued: null, failures: 0, retryAtMs: 0 };
    const nothing = { served: null, order: null, proofs: new Map<string, string>() };
    const entry: Entry = { domain, machineId, record, ...nothing, loaded: Promise.resolve() };
    this.#entries.set(domain, entry);
    entry.loaded = this.#load(entry);
  }

  /** What an earlier process knew of the name. */
  async #load(entry: Entry): Promise<void> {
    const { directoryUrl, log, now } = this.#needs;
    const { domain, record: fresh } = entry;
    try {
      const found = this.#store.find(domain);
      if (found?.directoryUrl === directoryUrl) {
        entry.record = found;
        if (found.issued !== null) entry.served = await served(found.issued);
      }
    } catch (error) {
      entry.record = fresh;
      log("ingress.acme-record-refused", { domain, error: plain(String(error)) });
    }
    if (entry.served === null || entry.served.notAfter <= now())
      log("ingress.acme-awaited", { domain, meanwhile: "own authority" });
  }

  /** D. */
  #drop(entry: Entry): void {
    this.#entries.delete(entry.domain);
    entry.order?.abort(new Error("the route is gone"));
    this.#track(this.#erase(entry.domain));
  }

  async #erase(domain: string): Promise<void> {
    // The route may be back already, with a record of its own.
    if (!this.#entries.has(domain)) await this.#store.remove(domain);
  }

  /** Starts what is due, and comes back when the next is. */
  #turn(): void {
    clearTimeout(this.#timer);
    if (this.#closing.signal.aborted) return;
    const now = this.#needs.now().getTime();
    const idle = [...this.#entries.values()].filter(({ order }) => order === null);
    let underWay = this.#entries.size - idle.length;
    let nextMs = this.#timing.lookMs;
    for (const entry of idle) {
      const inMs = Math.max(dueAtMs(entry.record), this.#away.untilMs) - now;
      if (inMs > 0) nextMs = Math.min(nextMs, inMs);
      else if (underWay < ORDERS_MAX) {
        underWay += 1;
        this.#track(this.#order(entry));
      }
    }
    this.#timer = setTimeout(() => this.#turn(), Math.max(nextMs, 10));
    this.#timer.unref();
  }

  #track(work: Promise<void>): void {
    const tracked: Promise<void> = work
      .catch((error: unknown) => this.#needs.log("ingress.acme-fault", { error: plain(String(error)) }))
      .finally(() => this.#work.delete(tracked));
    this.#work.add(tracked);
  }

  async #order(entry: Entry): Promise<void> {
    const { domain } = entry;
    const order = new AbortController();
    entry.order = order;
    const late = AbortSignal.timeout(this.#timing.orderMs);
    const signal = AbortSignal.any([order.signal, this.#closing.signal, late]);
    try {
      const key = entry.served?.key ?? (await this.#needs.keyOf(domain));
      if (key === null) return;
      const renewed = entry.served !== null;
      const issued = await this.#orderOnce(entry, key, signal).catch((error: unknown) => {
        if (!(error instanceof DirectoryFault) || error.problem !== "accountDoesNotExist") throw error;
        this.#account.forget();
        return this.#orderOnce(entry, key, signal);
      });
      if (order.signal.aborted || this.#closing.signal.aborted) return;
      const { chainPem, notBefore, notAfter } = issued;
      const lifeMs = notAfter.getTime() - notBefore.getTime();
      const renewMs = notBefore.getTime() + lifeMs * (LIFE_USED + LIFE_SPREAD * (Math.random() - 0.5));
      // With a clock that is wrong, or lives of minutes, we would order without end.
      const renewAtMs = Math.max(renewMs, this.#needs.now().getTime() + this.#timing.retryFirstMs);
      const record = { ...entry.record, issued: { keyPem: key.keyPem, chainPem, renewAtMs } };
      await this.#keep(entry, { ...record, failures: 0, retryAtMs: 0 }); // B
      if (order.signal.aborted) return;
      entry.served = await served(record.issued);
      this.#needs.onRenewed(domain);
      this.#away = { failures: 0, untilMs: 0 };
      this.#needs.log("ingress.acme-certificate", { domain, notAfter: notAfter.toISOString(), renewed });
    } catch (error) {
      if (order.signal.aborted || this.#closing.signal.aborted) return;
      await this.#failed(
        entry,
        late.aborted ? new Error("the order took too long", { cause: error }) : error,
      );
    } finally {
      entry.order = null;
      this.#turn();
    }
  }

  async #orderOnce(entry: Entry, key: LeafKey, signal: AbortSignal) {
    const { challenge, now, publish } = this.#needs;
    const { domain, machineId, proofs } = entry;
    return orderCertificate({
      ...{ client: await this.#account.client(), names: [domain], now, signal },
      ...{ requestPem: await requestFor(domain, key.keyPem), spkiSha256: key.spkiSha256 },
      // A name outside control's zone (a customer's own) can only be proved over HTTP.
      kinds: challenge === "dns-01" ? ["dns-01", "http-01"] : ["http-01"],
      answer: async (kind, name, token, value) =>
        kind === "http-01"
          ? answerByHttp(proofs, token, value)
          : answerByName({
              ...{ publish, wish: { machineId, domain: name, value }, signal },
              ...{ settleMs: this.#timing.dnsSettleMs, track: (work) => this.#track(work) },
            }),
      pollMs: this.#timing.pollMs,
    });
  }

  async #failed(entry: Entry, error: unknown): Promise<void> {
    const now = this.#needs.now().getTime();
    const { retryFirstMs, retryMostMs } = this.#timing;
    const pause = { firstMs: retryFirstMs, mostMs: retryMostMs };
    const fault = error instanceof DirectoryFault ? error : null;
    const failures = entry.record.failures + 1;
    const saysMs = Math.min(fault?.retryAfterMs ?? 0, RETRY_AFTER_MOST_MS);
    const retryAtMs = now + Math.max(waitMs(pause, failures - 1), saysMs);
    if (fault !== null && (fault.status === null || fault.status >= 500)) {
      const times = this.#away.failures + 1;
      this.#away = { failures: times, untilMs: now + Math.max(waitMs(pause, times - 1), saysMs) };
    }
    this.#needs.log("ingress.acme-failed", {
      ...{ domain: entry.domain, failures, retryAt: new Date(retryAtMs).toISOString() },
      error: plain(error instanceof Error ? error.message : String(error)),
    });
    await this.#keep(entry, { ...entry.record, failures, retryAtMs });
  }

  async #keep(entry: Entry, record: CertificateRecord): Promise<void> {
    entry.record = record;
    await this.#store.put(record);
    // D: the route went while we wrote.
    await this.#erase(entry.domain);
  }
}

const dueAtMs = ({ issued, retryAtMs }: CertificateRecord): number =>
  Math.max(issued?.renewAtMs ?? 0, retryAtMs);

async function served(issued: NonNullable<CertificateRecord["issued"]>): Promise<Served> {
  const key = await leafKeyOf(issued.keyPem);
  // Throws now what would break a handshake later, in the process that has to serve it.
  createSecureContext({ key: issued.keyPem, cert: issued.chainPem });
  const { validToDate } = new X509Certificate(issued.chainPem);
  return { key, certificatePem: issued.chainPem, notAfter: validToDate };
}
