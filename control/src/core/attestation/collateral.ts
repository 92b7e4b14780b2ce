// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates, revocation lists and platform information of the makers of processors, from files of this machine, and from their
 * services when there is a network. What is asked for is a closed list of paths; the addresses are the operator's. The bytes are
 * believed by nobody: whoever judges evidence checks their signatures and dates.
 *
 *  A. A file that was put there by hand counts like one that was fetched: a machine without a network works from a copied folder.
 *  B. What changes (lists, platform information) is asked for again after REFRESH_MS. When that fails the old one is given: whether
 *     it is still current is the verifier's to say.
 *  C. A path is a file's name here, so nothing of it is a client's own words: letters, digits and the marks of these paths.
 *  D. The services count our requests, and paths can be made up without end: few are fetched at once, and of one account fewer.
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type CollateralPath, collateralPathsOf } from "#evidence/collateral-paths.ts";
import { FairTurns, NoTurn } from "./fair-turns.ts";

export interface CollateralOptions {
  folder: string;
  /** Addresses of the services; null: nothing is fetched. */
  upstreams: { kds: string | null; pcs: string | null; pcsRoot: string | null };
  /** Wall clock, in milliseconds. */
  now(): number;
  log(what: string, facts: Record<string, string>): void;
}

export interface CollateralFile {
  bytes: Uint8Array;
  /** Headers of Intel's service with the certificates that signed the body. */
  chain: { name: string; value: string } | null;
}

export interface Collateral {
  /** Null when there is none here and none to be had, `busy` when too much that `who` asked for waits (D); throws nothing. */
  get(ask: CollateralPath, who: string): Promise<CollateralFile | "busy" | null>;
  /** All that evidence needs and that can be had, as whoever judges it takes it. */
  forEvidence(evidence: Uint8Array, who: string): Promise<Uint8Array[]>;
}

const LINE = "(Milan|Genoa|Turin|Bergamo|Siena)";
const ROOT_LIST = "/sgx/certification/v4/rootcacrl";
/** C. Of each: whether its answer changes. */
const PATHS: readonly { service: "kds" | "pcs"; form: RegExp; changes: boolean }[] = [
  { service: "kds", form: new RegExp(`^/v[cl]ek/v1/${LINE}/cert_chain$`), changes: false },
  { service: "kds", form: new RegExp(`^/v[cl]ek/v1/${LINE}/crl$`), changes: true },
  {
    service: "kds",
    form: new RegExp(
      `^/vcek/v1/${LINE}/([0-9a-f]{16}|[0-9a-f]{128})\\?[a-z]{2,5}SPL=(0|[1-9]\\d{0,2})(&[a-z]{2,5}SPL=(0|[1-9]\\d{0,2})){3,4}$`,
    ),
    changes: false,
  },
  { service: "pcs", form: /^\/tdx\/certification\/v4\/tcb\?fmspc=[0-9a-f]{12}$/, changes: true },
  { service: "pcs", form: /^\/tdx\/certification\/v4\/qe\/identity$/, changes: true },
  {
    service: "pcs",
    form: /^\/sgx\/certification\/v4\/pckcrl\?ca=(platform|processor)&encoding=der$/,
    changes: true,
  },
  { service: "pcs", form: new RegExp(`^${ROOT_LIST}$`), changes: true },
];
const CHAIN_HEADERS = [
  "tcb-info-issuer-chain",
  "sgx-tcb-info-issuer-chain",
  "sgx-enclave-identity-issuer-chain",
  "sgx-pck-crl-issuer-chain",
];
const REFRESH_MS = 24 * 3_600_000;
const FETCH_MS = 15_000;
const BYTES_MAX = 1024 * 1024;
/** After a failed fetch the service is left alone for a while: AMD's counts requests. */
const QUIET_MS = 60_000;
/** D */
const FETCHES = { underWayMax: 8, underWayPerCallerMax: 4, waitingPerCallerMax: 32 };
const FAILED_MAX = 10_000;

class NotThere extends Error {}

const knownPath = ({ service, path }: CollateralPath) =>
  PATHS.find((one) => one.service === service && one.form.test(path));

export function openCollateral(options: CollateralOptions): Collateral {
  const underWay = new Map<string, Promise<CollateralFile | null>>();
  const failedAtMs = new Map<string, number>();
  const turns = new FairTurns(FETCHES);

  const fileOf = ({ service, path }: CollateralPath) => join(options.folder, service, path.replace("?", "@"));
  const read = async (ask: CollateralPath): Promise<(CollateralFile & { atMs: number }) | null> => {
    const file = fileOf(ask);
    try {
      const [bytes, { mtimeMs }] = await Promise.all([readFile(file), stat(file)]);
      const chain = await readFile(`${file}.chain`, "utf8").catch(() => null);
      return { bytes, chain: chain === null ? null : headerOf(chain), atMs: mtimeMs };
    } catch {
      return null;
    }
  };
  const fetchFile = async (ask: CollateralPath): Promise<CollateralFile | null> => {
    const url = addressOf(options.upstreams, ask);
    const nowMs = options.now();
    const isQuiet = (name: string) => nowMs - (failedAtMs.get(name) ?? -QUIET_MS) < QUIET_MS;
    if (url === null || isQuiet(url) || isQuiet(ask.service)) return null;
    try {
      const found = await fetchBounded(url);
      keep(fileOf(ask), found);
      failedAtMs.delete(url);
      return found;
    } catch (error) {
      // What a service does not have is one answer; one that refuses, or is away, is not asked for anything.
      if (failedAtMs.size > FAILED_MAX) failedAtMs.clear();
      failedAtMs.set(error instanceof NotThere ? url : ask.service, nowMs);
      options.log("attestation.collateral-failed", { url, error: String(error) });
      return null;
    }
  };
  const get: Collateral["get"] = async (ask, who) => {
    const known = knownPath(ask);
    if (known === undefined) return null;
    const here = await read(ask);
    if (here !== null && !(known.changes && options.now() - here.atMs > REFRESH_MS)) return here;
    const name = `${ask.service} ${ask.path}`;
    const fetching =
      underWay.get(name) ?? turns.run(who, () => fetchFile(ask)).finally(() => underWay.delete(name));
    underWay.set(name, fetching);
    try {
      return (await fetching) ?? here;
    } catch (error) {
      if (error instanceof NoTurn) return here ?? "busy";
      throw error;
    }
  };
  return {
    get,
    forEvidence: async (evidence, who) => {
      const files = await Promise.all(collateralPathsOf(evidence).map((path) => get(path, who)));
      return files.flatMap((file) => {
        if (file === null || file === "busy") return [];
        return [file.bytes, ...(file.chain === null ? [] : chainIn(file.chain.value))];
      });
    },
  };
}

/** One that is no such text is not there: what needs it is refused at the step that it was for. */
function chainIn(value: string): Uint8Array[] {
  try {
    return [Buffer.from(decodeURIComponent(value))];
  } catch {
    return [];
  }
}

function addressOf(
  upstreams: CollateralOptions["upstreams"],
  { service, path }: CollateralPath,
): string | null {
  const isRootList = path === ROOT_LIST;
  const base = isRootList ? upstreams.pcsRoot : upstreams[service];
  if (base === null) return null;
  return `${base.replace(/\/$/, "")}${isRootList ? "/IntelSGXRootCA.der" : path}`;
}

async function fetchBounded(url: string): Promise<CollateralFile> {
  const response = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(FETCH_MS) });
  // A made-up path is no reason to leave everybody else's alone.
  if (response.status === 404 || response.status === 400) throw new NotThere("it has no such file");
  if (!response.ok || response.body === null) throw new Error(`it answered ${response.status}`);
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body) {
    length += part.length;
    if (length > BYTES_MAX) throw new Error("it answered more than 1 MiB");
    parts.push(part);
  }
  const name = CHAIN_HEADERS.find((one) => response.headers.has(one));
  const value = name === undefined ? null : response.headers.get(name);
  return {
    bytes: Buffer.concat(parts),
    chain: name === undefined || value === null ? null : { name, value },
  };
}

/** Whole or not at all; the chain first, so that no body is there without it. */
function keep(file: string, { bytes, chain }: CollateralFile): void {
  mkdirSync(dirname(file), { recursive: true });
  const put = (path: string, content: Uint8Array | string) => {
    const beside = `${path}.${process.pid}.new`;
    writeFileSync(beside, content);
    renameSync(beside, path);
  };
  if (chain === null) rmSync(`${file}.chain`, { force: true });
  else put(`${file}.chain`, `${chain.name}: ${chain.value}\n`);
  put(file, bytes);
}

function headerOf(text: string): CollateralFile["chain"] {
  const [, name, value] = /^([a-z0-9-]+): (.*)\n$/i.exec(text) ?? [];
  return name === undefined || value === undefined ? null : { name, value };
}
