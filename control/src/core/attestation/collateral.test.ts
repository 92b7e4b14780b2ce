// SPDX-License-Identifier: Apache-2.0
/** Makers' files: from a folder, from a service, and from the folder again when the service is away. */
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { collateralPathsOf } from "#evidence/collateral-paths.ts";
import { verifyEvidence } from "#evidence/verify.ts";
import { describeWith } from "#testing/requirements.ts";
import { snpFolder, snpVectors, tdxFolder, tdxVectors } from "#testing/vectors.ts";
import { openCollateral } from "./collateral.ts";

const HOUR_MS = 3_600_000;
let folder = "";
let server: Server;
let asked: string[] = [];
let answers: Record<string, { status?: number; body?: string; headers?: Record<string, string> }> = {};
let nowMs = Date.now();
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "casemate-collateral-"));
  [asked, answers, nowMs] = [[], {}, Date.now()];
  server = createServer((request, response) => {
    asked.push(request.url!);
    const { status = 404, body = "", headers = {} } = answers[request.url!] ?? {};
    response.writeHead(status, headers).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});
const open = (online = true) => {
  const collateral = opened(online);
  const get = async (...ask: Parameters<typeof collateral.get>) => {
    const file = await collateral.get(...ask);
    if (file === "busy") throw new Error("it was busy");
    return file;
  };
  return { ...collateral, get };
};
const opened = (online = true) => {
  const url = online ? `http://127.0.0.1:${(server.address() as AddressInfo).port}` : null;
  return openCollateral({
    ...{ folder, upstreams: { kds: url, pcs: url, pcsRoot: url }, now: () => nowMs, log: () => {} },
  });
};
const CHAIN = { service: "kds", path: "/vcek/v1/Milan/cert_chain" } as const;
const LIST = { service: "kds", path: "/vcek/v1/Milan/crl" } as const;

it("what was fetched once is kept, and many who ask at once are one request", async () => {
  answers[CHAIN.path] = { status: 200, body: "chain" };
  const collateral = open();
  const all = await Promise.all(Array.from({ length: 10 }, () => collateral.get(CHAIN, "acc")));
  expect(all.map((file) => Buffer.from(file!.bytes).toString())).toEqual(all.map(() => "chain"));
  nowMs += 1_000 * HOUR_MS;
  expect(Buffer.from((await open().get(CHAIN, "acc"))!.bytes).toString()).toBe("chain");
  expect(asked).toEqual([CHAIN.path]);
});

it("a list is asked for again after a day, and the old one is given while the service is away", async () => {
  answers[LIST.path] = { status: 200, body: "first" };
  const collateral = open();
  const text = async () => Buffer.from((await collateral.get(LIST, "acc"))!.bytes).toString();
  expect(await text()).toBe("first");
  answers[LIST.path] = { status: 503 };
  nowMs += 25 * HOUR_MS;
  expect([await text(), await text()]).toEqual(["first", "first"]);
  // It is not pressed.
  expect(asked).toHaveLength(2);
  answers[LIST.path] = { status: 200, body: "second" };
  nowMs += HOUR_MS;
  expect(await text()).toBe("second");
});

it("Intel's answers keep the certificates that signed them", async () => {
  const ask = { service: "pcs", path: "/tdx/certification/v4/tcb?fmspc=00806f050000" } as const;
  answers[ask.path] = { status: 200, body: "{}", headers: { "TCB-Info-Issuer-Chain": "%2D%2Da" } };
  const once = await open().get(ask, "acc");
  expect(once!.chain).toEqual({ name: "tcb-info-issuer-chain", value: "%2D%2Da" });
  expect(await open(false).get(ask, "acc")).toMatchObject({ chain: once!.chain });
});

it.each([
  ["kds", "/vcek/v1/Milan/../../../etc/passwd"],
  ["kds", "/vcek/v1/Rome/cert_chain"],
  ["kds", `/vcek/v1/Milan/${"0".repeat(127)}?blSPL=1&teeSPL=1&snpSPL=1&ucodeSPL=1`],
  ["kds", `/vcek/v1/Milan/${"0".repeat(128)}`],
  ["pcs", "/vcek/v1/Milan/cert_chain"],
  ["pcs", "/tdx/certification/v4/tcb?fmspc=00806f050000&update=early"],
  ["pcs", "//evil.example/tdx/certification/v4/qe/identity"],
] as const)("%s is asked for no %s", async (service, path) => {
  expect(await open().get({ service, path }, "acc")).toBeNull();
  expect(asked).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
});

it("too much, a redirect and an error are no file", async () => {
  const collateral = open();
  answers[CHAIN.path] = { status: 200, body: "x".repeat(1024 * 1024 + 1) };
  expect(await collateral.get(CHAIN, "acc")).toBeNull();
  answers[CHAIN.path] = { status: 302, headers: { location: LIST.path } };
  nowMs += HOUR_MS;
  expect(await collateral.get(CHAIN, "acc")).toBeNull();
  expect(readdirSync(folder)).toEqual([]);
});

describeWith([snpVectors], "of SEV-SNP", () => {
  it("a report alone is judged with files that were copied here, and without a network", async () => {
    const report = readFileSync(join(snpFolder, "trustee/test-report.bin"));
    const paths = collateralPathsOf(report).filter(({ path }) => path.includes("Milan"));
    const [leaf] = paths.filter(({ path }) => path.includes("?"));
    const put = (path: string, from: string) => {
      const to = join(folder, "kds", path.replace("?", "@"));
      mkdirSync(dirname(to), { recursive: true });
      copyFileSync(join(snpFolder, from), to);
    };
    put(leaf!.path, "trustee/test-vcek.der");
    put(CHAIN.path, "go-sev-guest/trust/ask_ark_milan.pem");
    utimesSync(join(folder, "kds", CHAIN.path), 0, 0);
    const beside = await open(false).forEvidence(report, "acc");
    const verdict = await verifyEvidence(report, beside, { atMs: Date.UTC(2026, 10, 22), policy: null });
    expect(verdict.steps.filter(({ ok }) => !ok)).toEqual([]);
    expect(verdict).toMatchObject({ platform: "sev-snp", uncheckable: true });
  });
});

describeWith([tdxVectors], "of TDX", () => {
  it("a quote says what Intel has to be asked", () => {
    const quote = readFileSync(join(tdxFolder, "dcap-qvl/tdx_quote"));
    const paths = collateralPathsOf(quote).map(({ path }) => path);
    expect(paths).toEqual([
      expect.stringMatching(/^\/tdx\/certification\/v4\/tcb\?fmspc=[0-9a-f]{12}$/),
      "/tdx/certification/v4/qe/identity",
      expect.stringMatching(/^\/sgx\/certification\/v4\/pckcrl\?ca=(platform|processor)&encoding=der$/),
      "/sgx/certification/v4/rootcacrl",
    ]);
    // As a machine answers about itself, the quote is in a bundle.
    const bundle = { v: 1, platform: "tdx", quote: quote.toString("base64") };
    const answer = Buffer.from(JSON.stringify({ raw_report: null, evidence: bundle }));
    expect(collateralPathsOf(answer).map(({ path }) => path)).toEqual(paths);
  });

  it("a chain beside a file that is no such text is left out, and the file is given", async () => {
    const quote = readFileSync(join(tdxFolder, "dcap-qvl/tdx_quote"));
    const [info] = collateralPathsOf(quote);
    const file = join(folder, "pcs", info!.path.replace("?", "@"));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, "{}");
    writeFileSync(`${file}.chain`, "tcb-info-issuer-chain: %zz\n");
    expect((await open(false).forEvidence(quote, "acc")).map(String)).toEqual(["{}"]);
  });
});

it("nothing is asked for bytes that are no evidence", () => {
  writeFileSync(join(folder, "x"), "");
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from("{}"),
    Buffer.from('{"platform":"tdx","quote":7}'),
    Buffer.alloc(1184),
  ])
    expect(collateralPathsOf(bytes)).toEqual([]);
});

it("few files are fetched at once, fewer of one account, and who comes later waits for no crowd of another's", async () => {
  const waiting: (() => void)[] = [];
  server.removeAllListeners("request");
  server.on("request", (request, response) => {
    asked.push(request.url!);
    waiting.push(() => response.writeHead(404).end());
  });
  const collateral = opened();
  const of = (at: number) => ({
    service: "pcs" as const,
    path: `/tdx/certification/v4/tcb?fmspc=${at.toString(16).padStart(12, "0")}`,
  });
  const answers: unknown[] = [];
  const ask = (who: string, from: number, count: number) =>
    Array.from({ length: count }, (_, at) =>
      collateral.get(of(from + at), who).then((answer) => {
        answers.push(answer);
      }),
    );
  const crowd = ask("crowd", 0, 40);
  await expect.poll(() => asked.length).toBe(4);
  // Four are under way, thirty-two wait, and the rest is told so.
  await expect.poll(() => answers).toEqual(Array(4).fill("busy"));
  const others = [...ask("one", 1000, 3), ...ask("two", 2000, 3)];
  await expect.poll(() => asked.length).toBe(8);
  expect(asked.filter((url) => url.includes("0003e")).length).toBeGreaterThan(0);
  let most = 0;
  const done = Promise.all([...crowd, ...others]);
  let over = false;
  void done.then(() => {
    over = true;
  });
  while (!over) {
    most = Math.max(most, waiting.length);
    waiting.shift()?.();
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  expect(most).toBe(8);
  // Who came last was served among the first of the crowd.
  const last = asked.findLastIndex((url) => !url.includes("0000000000"));
  expect(last).toBeLessThan(20);
  expect(asked).toHaveLength(42);
});

it("a path that the service has nothing for keeps nobody from asking for others", async () => {
  answers[LIST.path] = { status: 400 };
  answers[CHAIN.path] = { status: 200, body: "chain" };
  const collateral = open();
  expect(await collateral.get(LIST, "one")).toBeNull();
  expect(await collateral.get(CHAIN, "two")).not.toBeNull();
});
