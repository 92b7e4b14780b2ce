// SPDX-License-Identifier: Apache-2.0
/** Domains that customers bring, from the create to the day they are somebody else's. */
import { request } from "node:https";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import type { ZoneRecord } from "../../core/ingress/answer.ts";
import { openDomainLooks, startNameServer } from "../../core/ingress/index.ts";
import { DEFAULT_CONFIG } from "../../defaults.ts";
import { proofOf } from "./domain.ts";
import { checkDomains } from "./domain-checks.ts";

const GRACE_MS = 5_000;
const records = new Map<string, ZoneRecord[]>();
let failing = false;
let server: Awaited<ReturnType<typeof startNameServer>>;
let casemate: Installation;
let admin: Caller;
const driver = new FakeKeptDriver();

beforeAll(async () => {
  server = await startNameServer({
    ...{ host: "127.0.0.1", port: 0, log: () => {} },
    zones: [
      {
        ...{ origin: "example.com", nameServers: [{ name: "ns.elsewhere.test", addresses: [] }] },
        ...{ contact: "h@example.com", ttlSeconds: 1, negativeTtlSeconds: 1 },
      },
    ],
    lookup: async (name) => {
      if (failing) throw new Error("down");
      return records.get(name) ?? null;
    },
    limits: { perSecond: 1e6, burst: 1e6 },
  });
  const names = { resolvers: [`127.0.0.1:${server.port}`], domainCheckMs: 200, domainGraceMs: GRACE_MS };
  casemate = await startInstallation({ kept: driver, config: { names } });
  admin = callerOf(casemate.url, casemate.adminKey);
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  await server.close();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});
beforeEach(() => {
  records.clear();
  failing = false;
});

const ASK = {
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
  dockerCompose: "services:\n  api:\n    image: caddy:2",
  ...{ memory: 512, cpus: 1, disk: 5 },
};
type Me = Caller & { id: string };

async function account(): Promise<Me> {
  const { body } = await admin("POST", "/api/v1/accounts/create", { name: "acme", credits: 1000 });
  return Object.assign(callerOf(casemate.url, body.apiToken), { id: body.accountId });
}

let last = 0;
const newDomain = () => `shop${++last}.example.com`;
/** The account's proof, and the proofs of others that stay. */
function prove(domain: string, ...owners: Me[]): void {
  const texts = owners.map(({ id }): ZoneRecord => ({ type: "TXT", texts: [proofOf(domain, id).text] }));
  records.set(`_casemate-challenge.${domain}`, texts);
}
const create = (me: Caller, domain: string, query = "") =>
  me("POST", `/api/v1/workloads/create${query}`, { ...ASK, domain });
const remove = (me: Caller, workloadId: string) => me("POST", "/api/v1/workloads/delete", { workloadId });
interface Warning {
  timestamp: string;
  details: { kind: string; message: string };
}
const warned = async (me: Caller, workloadId: string): Promise<Warning[]> =>
  (await me("POST", "/api/v1/workload-events/list", { workloadId })).body.events.filter(
    ({ details }: Warning) => details.kind === "warning",
  );
const warnings = async (me: Caller, workloadId: string): Promise<string[]> =>
  (await warned(me, workloadId)).map(({ details }) => details.message);

/** What a client that trusts our authority is answered; or why not. */
function visit(domain: string): Promise<string> {
  const { httpsPort, caPem } = casemate.host.facts().ingress!;
  return new Promise((resolve) => {
    const options = {
      host: "127.0.0.1",
      port: httpsPort,
      servername: domain,
      ca: caPem,
      agent: false as const,
    };
    request({ ...options, headers: { host: domain } }, (answer) => {
      answer.resume().on("end", () => resolve(String(answer.statusCode)));
    })
      .on("error", () => resolve("nothing"))
      .end();
  });
}
const answers = (domain: string, what: string) =>
  expect.poll(() => visit(domain), { timeout: 15_000 }).toBe(what);

it("a domain is brought with its proof, serves beside the workload's own name, and is shown", async () => {
  const [me, domain] = [await account(), newDomain()];
  prove(domain, me);
  const { status, body } = await create(me, domain);
  expect([status, body.domain]).toEqual([201, domain]);
  const own = `${body.workloadId}.workloads.localhost`;
  await answers(domain, "200");
  await answers(own, "200");
  const shown = (await me("GET", `/api/v1/workloads/${body.workloadId}`)).body;
  expect(shown.domain).toBe(domain);
  expect(new URL(shown.url).hostname).toBe(domain);
  await remove(me, body.workloadId);
  await answers(domain, "nothing");
});

it.each([
  ["nothing there", () => [] as ZoneRecord[]],
  ["another account's text", (): ZoneRecord[] => [{ type: "TXT", texts: [proofOf("x", "acct_other").text] }]],
])(
  "without the proof (%s) nothing is created, and the refusal says which record to make",
  async (_what, found) => {
    const [me, domain] = [await account(), newDomain()];
    records.set(`_casemate-challenge.${domain}`, found());
    const { status, body } = await create(me, domain);
    const { name, text } = proofOf(domain, me.id);
    expect([status, body.kind]).toEqual([400, "INVALID_PAYLOAD"]);
    expect(body.issues).toEqual([
      { path: "domain", message: expect.stringContaining(`${name}. TXT "${text}"`) },
    ]);
    expect((await me("GET", "/api/v1/workloads/list")).body).toEqual([]);
    const dry = await create(me, domain, "?dryRun=1");
    expect([dry.status, dry.body.valid]).toEqual([200, false]);
    expect(dry.body.issues).toEqual([{ path: "domain", message: expect.stringContaining(text) }]);
    prove(domain, me);
    expect((await create(me, domain, "?dryRun=1")).body).toMatchObject({ valid: true, issues: [] });
    const made = await create(me, domain);
    expect(made.status).toBe(201);
    await remove(me, made.body.workloadId);
  },
);

it.each([
  "Shop.example.com",
  "shop.example.com.",
  "bücher.example.com",
  "a_b.example.com",
  "x.workloads.localhost",
])("%s is refused in this surface's own format", async (domain) => {
  const me = await account();
  const { status, body } = await create(me, domain);
  expect([status, body.kind]).toEqual([400, "INVALID_PAYLOAD"]);
  expect(body.issues[0].path).toBe("domain");
});

it("a name server that fails is told of, and nothing is created", async () => {
  const [me, domain] = [await account(), newDomain()];
  prove(domain, me);
  failing = true;
  const { status, body } = await create(me, domain);
  expect([status, body.kind]).toEqual([400, "INVALID_PAYLOAD"]);
  expect(body.error).toContain("no answer");
});

it("of many who bring one domain at once, one gets it; a delete frees it", async () => {
  const [one, two, domain] = [await account(), await account(), newDomain()];
  prove(domain, one, two);
  const replies = await Promise.all([one, two, one, two, one, two].map((each) => create(each, domain)));
  expect(replies.map(({ status }) => status).sort()).toEqual([201, 400, 400, 400, 400, 400]);
  for (const { status, body } of replies) if (status === 400) expect(body.kind).toBe("DOMAIN_EXISTS");
  const winner = replies.findIndex(({ status }) => status === 201);
  const [holder, other] = winner % 2 === 0 ? [one, two] : [two, one];
  // Room and money of those who did not get it are free again.
  const { rows } = await sql<{ used: number }>`select sum(memory_used)::int as used from hosts`.execute(
    casemate.control.db.run,
  );
  expect(rows[0]!.used).toBe(512);
  await answers(domain, "200");
  await remove(holder!, replies[winner]!.body.workloadId);
  const next = await create(other!, domain);
  expect(next.status).toBe(201);
  await answers(domain, "200");
  await remove(other!, next.body.workloadId);
});

it("a stranger without the proof is not told that somebody has the domain", async () => {
  const [me, stranger, domain] = [await account(), await account(), newDomain()];
  prove(domain, me);
  const { body } = await create(me, domain);
  expect((await create(stranger, domain)).body.kind).toBe("INVALID_PAYLOAD");
  await remove(me, body.workloadId);
});

it("a domain that was sold is warned about, leads nowhere after the grace period, and is the next owner's", async () => {
  const [me, buyer, domain] = [await account(), await account(), newDomain()];
  prove(domain, me);
  const { workloadId } = (await create(me, domain)).body;
  await answers(domain, "200");
  prove(domain, buyer);
  await expect
    .poll(() => warnings(me, workloadId), { timeout: 10_000 })
    .toContainEqual(expect.stringMatching(/is missing.*leads nowhere after/));
  expect(await visit(domain)).toBe("200");
  await expect
    .poll(() => warnings(me, workloadId), { timeout: 15_000 })
    .toContainEqual(expect.stringContaining("leads nowhere now"));
  const all = await warned(me, workloadId);
  const at = (what: string) =>
    Date.parse(all.find(({ details }) => details.message.includes(what))!.timestamp);
  expect(at("leads nowhere now") - at("is missing")).toBeGreaterThanOrEqual(GRACE_MS);
  await answers(domain, "nothing");
  await answers(`${workloadId}.workloads.localhost`, "200");
  const shown = (await me("GET", `/api/v1/workloads/${workloadId}`)).body;
  expect([shown.domain, new URL(shown.url).hostname]).toEqual([domain, `${workloadId}.workloads.localhost`]);

  const bought = await create(buyer, domain);
  expect(bought.status).toBe(201);
  await answers(domain, "200");
  // The first one's proof comes back: the name is another's now, and stays so.
  prove(domain, me, buyer);
  await me("POST", "/api/v1/workloads/restart", { workloadId });
  const before = (await warnings(me, workloadId)).length;
  // A name that is taken is no fault of ours, for the log to be filled with.
  const { db } = casemate.control;
  const deps = {
    ...{ db, converger: { send() {}, stop: async () => {} }, workloads: DEFAULT_CONFIG.workloads },
    looks: openDomainLooks({ resolvers: [`127.0.0.1:${server.port}`] }),
  };
  for (let times = 0; times < 3; times++) await checkDomains(deps, { checkMs: 0, graceMs: 1_000_000 });
  await new Promise((resolve) => setTimeout(resolve, 4_500));
  expect((await warnings(me, workloadId)).filter((each) => each.includes("yours again"))).toEqual([]);
  expect((await warnings(me, workloadId)).length).toBeLessThanOrEqual(before + 1);
  expect(await visit(domain)).toBe("200");
  await remove(buyer, bought.body.workloadId);
  // And is taken back when the other one goes.
  await expect
    .poll(() => warnings(me, workloadId), { timeout: 15_000 })
    .toContainEqual(expect.stringContaining("yours again"));
  await answers(domain, "200");
  await remove(me, workloadId);
}, 90_000);

it("a proof that comes back in time changes nothing but the warning", async () => {
  const [me, domain] = [await account(), newDomain()];
  prove(domain, me);
  const { workloadId } = (await create(me, domain)).body;
  await answers(domain, "200");
  records.delete(`_casemate-challenge.${domain}`);
  await expect
    .poll(() => warnings(me, workloadId), { timeout: 10_000 })
    .toContainEqual(expect.stringContaining("is missing"));
  prove(domain, me);
  await expect
    .poll(() => warnings(me, workloadId), { timeout: 10_000 })
    .toContainEqual(expect.stringContaining("yours again"));
  expect(await visit(domain)).toBe("200");
  await remove(me, workloadId);
});

it("name servers that fail take no name away, however long", async () => {
  const [me, domain] = [await account(), newDomain()];
  prove(domain, me);
  const { workloadId } = (await create(me, domain)).body;
  await answers(domain, "200");
  const before = await warnings(me, workloadId);
  failing = true;
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  expect((await warnings(me, workloadId)).filter((each) => /missing|nowhere/.test(each))).toEqual(
    before.filter((each) => /missing|nowhere/.test(each)),
  );
  expect(await visit(domain)).toBe("200");
  await remove(me, workloadId);
});

it("a server that shows the proof once and never again is found out", async () => {
  const [me, domain] = [await account(), newDomain()];
  prove(domain, me);
  const { workloadId } = (await create(me, domain)).body;
  records.delete(`_casemate-challenge.${domain}`);
  await expect
    .poll(() => warnings(me, workloadId), { timeout: 10_000 })
    .toContainEqual(expect.stringContaining("is missing"));
  await remove(me, workloadId);
});

it("a domain that does not lead here is told of once, with what it should be an alias of", async () => {
  const [me, domain, right] = [await account(), newDomain(), newDomain()];
  prove(domain, me);
  prove(right, me);
  const astray = (await create(me, domain)).body;
  records.set(right, [{ type: "CNAME", target: astray.metalInstanceDomain }]);
  const led = (await create(me, right)).body;
  await expect
    .poll(() => warnings(me, astray.workloadId), { timeout: 10_000 })
    .toEqual([`${domain} does not lead here: make it an alias (CNAME) of ${astray.metalInstanceDomain}`]);
  await new Promise((resolve) => setTimeout(resolve, 4_500));
  expect(await warnings(me, astray.workloadId)).toHaveLength(1);
  expect(await warnings(me, led.workloadId)).toEqual([]);
  for (const { workloadId } of [astray, led]) await remove(me, workloadId);
});
