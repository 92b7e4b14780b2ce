// SPDX-License-Identifier: Apache-2.0
/**
 * The host's handle on its ingress process: what reads the bytes of strangers holds nothing of the
 * host's. It is started with the host, and again whenever it ends by itself.
 *
 *  A. The host decides and the process serves: routes are checked and kept here, the authority's key is
 *     here, and so is all talk with a directory of certificates (names.ts). A leaf is given out only for a
 *     domain that has a route at that moment, and for none whose key is in its machine.
 *  B. The process may have been taken over (life.ts, A). It gets keys of served names, and answers that
 *     any client gets; what it has to say for the log is bounded.
 *  C. `setRoutes` resolves when the process routes by the new table, so that who is told afterwards that a
 *     machine runs finds it. One that does not obey in time is ended; the next begins with the table.
 *  D. The ports are those of the first start, also where any free ones were asked for.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { AcmeOptions } from "./acme/certificates.ts";
import { Life, type Ports } from "./life.ts";
import { LIMITS, type Limits } from "./limits.ts";
import type { AttesterAnswer, AttesterAsk } from "./messages.ts";
import { type Names, openNames } from "./names.ts";
import { type IngressRoute, RouteTable } from "./routes.ts";

export interface IngressProcessOptions {
  /** Folder (0700) for the authority's key and certificate. */
  folder: string;
  /** Address to bind to. */
  host: string;
  /** 0: any free one; of httpsPort too. */
  httpPort: number;
  httpsPort: number;
  /** Used when this process is root. */
  uid: number;
  log(event: string, facts: Record<string, unknown>): void;
  /** Answers `/nilcc/*` for a domain, in whatever state its machine is. */
  attester(route: IngressRoute, ask: AttesterAsk): AttesterAnswer | Promise<AttesterAnswer>;
  /** Absent: every name is served with our own authority's certificate. */
  acme?: AcmeOptions;
  limits?: Partial<Limits>;
  /** A directory signed for a key that this machine keeps: `certify` has another chain for it. */
  onIssuedInside?(machineId: string): void;
}

export interface IngressProcess {
  readonly httpPort: number;
  readonly httpsPort: number;
  /** PEM of our own authority, for download. */
  readonly caPem: string;
  /** Of the process that serves now; bubblewrap's, where it confines it. */
  readonly pid: number | undefined;
  /** SHA-256 of the SPKI of the certificate served for a domain, hex; null for a domain without a route. */
  spkiSha256(domain: string): Promise<string | null>;
  /** A chain (PEM) for the key of a machine's request (DER), for exactly these names; rejects with RequestRefused. */
  certify(domains: readonly string[], request: Uint8Array): Promise<string>;
  /** Throws, and changes nothing, when a domain is malformed or comes twice. C. */
  setRoutes(routes: readonly IngressRoute[]): Promise<void>;
  close(): Promise<void>;
}

const BACKOFF_MS = [100, 500, 1_000, 2_000, 5_000];
/** A process that lived this long is started again at once. */
const SETTLED_MS = 30_000;
const CLOSE_GRACE_MS = 2_000;
const LOG_LINES_A_MINUTE_MAX = 120;

export async function startIngressProcess(options: IngressProcessOptions): Promise<IngressProcess> {
  const { folder, log, acme } = options;
  const table = new RouteTable();
  const names: Names = await openNames({
    ...{ folder, log, ...(acme && { acme }) },
    isServed: (domain) => servedHere(table.find(domain)) !== undefined,
    now: () => new Date(),
    onRenewed: (domain) => keeper.renewed(domain),
    onIssuedInside: (machineId) => options.onIssuedInside?.(machineId),
  });
  const keeper: Keeper = new Keeper(options, table, names);
  const ports = await keeper.start().catch(async (error: unknown) => {
    await names.close();
    throw error;
  });
  return {
    ...ports,
    caPem: names.caPem,
    get pid() {
      return keeper.pid;
    },
    spkiSha256: (domain) => names.spkiSha256(domain),
    certify: (domains, request) => names.certify(domains, request),
    setRoutes(routes) {
      table.replace(routes);
      names.follow(routes);
      return keeper.route();
    },
    close: async () => {
      await names.close();
      await keeper.close();
    },
  };
}

/** Keeps one process running. */
class Keeper {
  readonly #options: IngressProcessOptions;
  readonly #limits: Limits;
  readonly #table: RouteTable;
  readonly #names: Names;
  readonly #log: IngressProcessOptions["log"];
  #ports: Ports;
  #current: Life | null = null;
  #failures = 0;
  readonly #closing = new AbortController();
  #life: Promise<void> = Promise.resolve();

  constructor(options: IngressProcessOptions, table: RouteTable, names: Names) {
    this.#options = options;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#table = table;
    this.#names = names;
    this.#ports = { httpPort: options.httpPort, httpsPort: options.httpsPort };
    this.#log = atMost(LOG_LINES_A_MINUTE_MAX, 60_000, options.log);
  }

  get pid(): number | undefined {
    return this.#current?.pid;
  }

  /** Throws when the first process cannot serve: the operator is looking. */
  async start(): Promise<Ports> {
    const first = this.#spawn();
    this.#ports = await first.listening;
    this.#life = this.#keep(first);
    return this.#ports;
  }

  async route(): Promise<void> {
    await this.#current?.route([...this.#table.all()]);
  }

  /** One that begins meanwhile asks for all it serves. */
  renewed(domain: string): void {
    this.#current?.send({ op: "renewed", domain });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#current?.close(this.#limits.closeMs + CLOSE_GRACE_MS);
    await this.#life;
  }

  async #keep(first: Life): Promise<void> {
    const { signal } = this.#closing;
    for (let now = first; ; now = this.#spawn()) {
      const began = performance.now();
      const why = await now.ended;
      if (signal.aborted) return;
      this.#options.log("ingress.process-ended", { why });
      this.#failures = performance.now() - began > SETTLED_MS ? 0 : this.#failures + 1;
      const pauseMs = this.#failures === 0 ? 0 : BACKOFF_MS[Math.min(this.#failures, BACKOFF_MS.length) - 1];
      await sleep(pauseMs, null, { signal }).catch(() => {});
      if (signal.aborted) return;
    }
  }

  #spawn(): Life {
    const routes = [...this.#table.all()];
    const { host, uid } = this.#options;
    const now = new Life(uid, this.#ports, {
      onEvent: (event, facts) => this.#log(event, facts),
      leafOf: (domain) => this.#names.leafOf(domain).catch(() => null),
      proofOf: (domain, token) => this.#names.proofOf(domain, token),
      attest: async (ask) => {
        const route = servedHere(this.#table.find(ask.domain));
        return route === undefined ? null : this.#options.attester(route, ask);
      },
    });
    // A failure to listen is told by its end as well.
    now.listening.catch(() => {});
    now.send({ op: "open", host, ...this.#ports, limits: this.#limits, routes });
    this.#current = now;
    return now;
  }
}

/** Undefined where the machine holds the key: it answers for itself, and is asked by nobody through us. */
function servedHere(route: IngressRoute | undefined): IngressRoute | undefined {
  return route?.tlsInside ? undefined : route;
}

/** B. A log that somebody fills is one that nobody reads. */
function atMost(
  linesMax: number,
  everyMs: number,
  log: IngressProcessOptions["log"],
): IngressProcessOptions["log"] {
  let since = Number.NEGATIVE_INFINITY;
  let lines = 0;
  return (event, facts) => {
    const now = performance.now();
    if (now - since > everyMs) [since, lines] = [now, 0];
    if (++lines <= linesMax) log(event, facts);
  };
}
