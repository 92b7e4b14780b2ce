// SPDX-License-Identifier: Apache-2.0
/** Which names may be brought, and what the DNS has to say for them. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { expect, test } from "vitest";
import type { ZoneRecord } from "../../core/ingress/answer.ts";
import { openDomainLooks } from "../../core/ingress/index.ts";
import { later, serve, ZONE } from "../../core/ingress/testing.ts";
import { domainFault, domainIssue, proofOf } from "./domain.ts";

const zone = "apps.example.test";

test.each([
  ["upper case", "Shop.example.com", /lower case/],
  ["a dot at its end", "shop.example.com.", /dot at its end/],
  ["letters that are not ASCII", "bücher.example.com", /ASCII form/],
  ["upper case beyond ASCII", "BÜCHER.example.com", /lower case/],
  ["a fullwidth dot", "shop．example.com", /ASCII form/],
  ["a line break", "shop.example.com\nevil.com", /ASCII form/],
  ["a NUL", "shop.example\u0000.com", /ASCII form/],
  ["an underscore", "_shop.example.com", /not a domain name/],
  ["a wildcard", "*.example.com", /not a domain name/],
  ["an empty label", "shop..example.com", /not a domain name/],
  ["a dot at its beginning", ".example.com", /not a domain name/],
  ["a hyphen at a label's beginning", "-shop.example.com", /not a domain name/],
  ["a hyphen at a label's end", "shop-.example.com", /not a domain name/],
  ["a label of 64", `${"a".repeat(64)}.example.com`, /not a domain name/],
  ["more than a proof's name has room for", `${"a.".repeat(117)}example.com`, /longer/],
  ["300 characters", `${"a".repeat(60)}.`.repeat(5).slice(0, -1), /longer/],
  ["nothing", "", /not a domain name/],
  ["one label", "example", /two labels/],
  ["an address", "192.0.2.1", /address/],
  ["a port", "example.com:443", /not a domain name/],
  ["localhost", "shop.localhost", /nobody's/],
  ["an inner name", "db.internal", /nobody's/],
  ["a reverse name", "1.2.0.192.in-addr.arpa", /nobody's/],
  ["our own zone", zone, /zone/],
  ["a name in our zone", `x.${zone}`, /zone/],
  ["a name above our zone", "example.test", /zone/],
])("%s is refused", (_what, name, why) => {
  expect(domainFault(name, zone)).toMatch(why);
});

test.each([
  "example.com",
  "shop.example.com",
  "xn--bcher-kva.example",
  "a-b.c-d.co",
  `${"a".repeat(63)}.com`,
])("%s is taken", (name) => {
  expect(domainFault(name, zone)).toBeNull();
});

test("a proof is the account's, the same every time, and says nothing about it", () => {
  const [mine, other] = ["acct_1", "acct_2"].map((each) => proofOf("a.example.com", each));
  expect(proofOf("b.example.com", "acct_1").text).toBe(mine!.text);
  expect(other!.text).not.toBe(mine!.text);
  expect(mine).toEqual({
    name: "_casemate-challenge.a.example.com",
    text: expect.stringMatching(/^casemate=[\w-]{43}$/),
  });
  expect(mine!.text).not.toContain("acct_1");
});

/** The world's DNS, with these records. */
async function world(records: Record<string, ZoneRecord[]>) {
  const lookup = async (name: string) => records[name] ?? null;
  const { port } = await serve({ zones: [{ ...ZONE, origin: "example.com", nameServers: [NS] }], lookup });
  return openDomainLooks({ resolvers: [`127.0.0.1:${port}`], timeoutMs: 2_000 });
}
const NS = { name: "ns.elsewhere.test", addresses: [] };
const text = (...texts: string[]): ZoneRecord => ({ type: "TXT", texts });
const about = { domain: "shop.example.com", account: "acct_1", zone };
const { name, text: mine } = proofOf(about.domain, about.account);

test.each([
  ["there, alone", [text(mine)], null],
  ["there, among others", [text("v=spf1 -all"), text(mine), text(proofOf("x", "acct_2").text)], null],
  ["there, in two parts of one record", [text(mine.slice(0, 20), mine.slice(20))], null],
  ["somebody else's account's", [text(proofOf(about.domain, "acct_2").text)], /create the record/],
  ["in upper case", [text(mine.toUpperCase())], /create the record/],
  ["part of a longer text", [text(`${mine}x`)], /create the record/],
  ["not there", [], /create the record/],
] as [string, ZoneRecord[], RegExp | null][])("a proof that is %s", async (_what, records, issue) => {
  const looks = await world({ [name]: records });
  const found = await domainIssue(looks, about);
  if (issue === null) expect(found).toBeNull();
  else {
    expect(found).toMatch(issue);
    expect(found).toContain(`${name}. TXT "${mine}"`);
  }
});

test("a proof of another name is none", async () => {
  const looks = await world({
    "_casemate-challenge.example.com": [text(mine)],
    "shop.example.com": [text(mine)],
    "_casemate-challenge.x.shop.example.com": [text(mine)],
  });
  expect(await looks.hasText(name, mine)).toBe(false);
});

test("what is written wrongly is not even asked for", async () => {
  let asked = 0;
  const looks = {
    hasText: async () => {
      asked += 1;
      return true;
    },
    leadsTo: async () => true,
  };
  expect(await domainIssue(looks, { ...about, domain: "SHOP.example.com" })).toMatch(/lower case/);
  expect(asked).toBe(0);
});

test("servers that fail, refuse or say nothing leave it open, and in time", async () => {
  const failing = await serve({
    zones: [{ ...ZONE, origin: "example.com", nameServers: [NS] }],
    lookup: async () => {
      throw new Error("the database is gone");
    },
  });
  const silent = createSocket("udp4").bind(0, "127.0.0.1");
  await once(silent, "listening");
  later(() => new Promise<void>((resolve) => silent.close(() => resolve())));
  for (const port of [failing.port, silent.address().port, 1]) {
    const began = performance.now();
    const looks = openDomainLooks({ resolvers: [`127.0.0.1:${port}`], timeoutMs: 600 });
    expect(await looks.hasText(name, mine)).toBeNull();
    expect(await looks.leadsTo("shop.example.com", { name: "x.example", addresses: [] })).toBeNull();
    expect(await domainIssue(looks, about)).toMatch(/no answer/);
    expect(performance.now() - began).toBeLessThan(9_000);
  }
  const refused = openDomainLooks({ resolvers: [`127.0.0.1:${failing.port}`], timeoutMs: 600 });
  expect(await refused.hasText("_casemate-challenge.not-in-that-zone.test", mine)).toBeNull();
});

test("a domain leads here by its alias or by an address, and an inner address is only compared", async () => {
  const target = { name: "0a1b2c3d.metal.apps.example.test", addresses: ["192.0.2.7"] };
  const looks = await world({
    "alias.example.com": [{ type: "CNAME", target: "0A1B2C3D.metal.apps.example.test" }],
    "apex.example.com": [{ type: "A", address: "192.0.2.7" }],
    "inner.example.com": [{ type: "A", address: "127.0.0.1" }],
    "astray.example.com": [{ type: "CNAME", target: "www.elsewhere.test" }],
  });
  const leads = (label: string) => looks.leadsTo(`${label}.example.com`, target);
  expect(await Promise.all(["alias", "apex", "inner", "nothing"].map(leads))).toEqual([
    true,
    true,
    false,
    false,
  ]);
  expect(await leads("astray")).not.toBe(true);
});
