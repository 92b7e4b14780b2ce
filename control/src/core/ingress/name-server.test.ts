// SPDX-License-Identifier: Apache-2.0
/** What resolvers are told, as `dig` and node's resolver read it. */
import { Packet } from "dns2";
import { describe, expect, it, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import {
  asked,
  dig,
  dnsutils,
  flagsOf,
  framed,
  linesOf,
  NAMES,
  overTcp,
  overUdp,
  queryBytes,
  resolverOf,
  serve,
  statusOf,
  table,
  ZONE,
} from "./testing.ts";
import { FLAG, RCODE, TYPE } from "./wire/codes.ts";
import { opcodeOf, parseMessage, rcodeOf } from "./wire/reader.ts";

const SOA =
  "apps.example.test. 15 IN SOA ns1.dns.apps.example.test. host\\.master.example.test. 77 3600 600 1209600 15";
const withSerial = { serial: async () => 77 };

describeWith([dnsutils], "asked by dig, the name server", () => {
  it("answers with authority and without offering recursion", async () => {
    const { port } = await serve();
    const printed = await dig(port, "a.apps.example.test", "A", "+recurse");
    expect(statusOf(printed)).toBe("NOERROR");
    expect(flagsOf(printed)).toEqual(["qr", "aa", "rd"]);
    expect(linesOf(printed, "ANSWER")).toEqual(["a.apps.example.test. 60 IN A 192.0.2.1"]);
    expect(linesOf(await dig(port, "a.apps.example.test", "AAAA"), "ANSWER")).toEqual([
      "a.apps.example.test. 60 IN AAAA 2001:db8::1",
    ]);
    expect(linesOf(await dig(port, "_acme-challenge.a.apps.example.test", "TXT", "+tcp"), "ANSWER")).toEqual([
      `_acme-challenge.a.apps.example.test. 60 IN TXT "${"x".repeat(43)}"`,
    ]);
  });

  it("has SOA and NS at the apex, with the name of the zone's keeper and the addresses it knows", async () => {
    const { port } = await serve(withSerial);
    expect(linesOf(await dig(port, "apps.example.test", "SOA"), "ANSWER")).toEqual([
      SOA.replace(" 15 IN", " 60 IN"),
    ]);
    const printed = await dig(port, "apps.example.test", "NS");
    expect(linesOf(printed, "ANSWER")).toEqual([
      "apps.example.test. 60 IN NS ns1.dns.apps.example.test.",
      "apps.example.test. 60 IN NS ns2.elsewhere.test.",
    ]);
    expect(linesOf(printed, "ADDITIONAL")).toEqual([
      "ns1.dns.apps.example.test. 60 IN A 192.0.2.53",
      "ns1.dns.apps.example.test. 60 IN AAAA 2001:db8::53",
    ]);
    expect(linesOf(await dig(port, "ns1.dns.apps.example.test", "A"), "ANSWER")).toEqual([
      "ns1.dns.apps.example.test. 60 IN A 192.0.2.53",
    ]);
  });

  it.each([
    ["a name that is not there", ["nobody.apps.example.test", "A"], "NXDOMAIN"],
    ["a name below one that is there", ["below.a.apps.example.test", "A"], "NXDOMAIN"],
    ["a name with a dot inside a label", ["a\\.apps.example.test", "A"], "REFUSED"],
    ["a name with a dot inside its first label", ["o\\.a.apps.example.test", "A"], "NXDOMAIN"],
    ["a name of octets that no name of ours has", ["\\000\\255.apps.example.test", "A"], "NXDOMAIN"],
    ["a type that the name does not have", ["a.apps.example.test", "MX"], "NOERROR"],
    ["a type that nobody heard of", ["a.apps.example.test", "TYPE65280"], "NOERROR"],
    ["the apex", ["apps.example.test", "A"], "NOERROR"],
    ["a name that only has names below it", ["metal.apps.example.test", "A"], "NOERROR"],
    ["a name above a name server", ["dns.apps.example.test", "A"], "NOERROR"],
    ["SOA below the apex", ["a.apps.example.test", "SOA"], "NOERROR"],
    ["NS below the apex", ["a.apps.example.test", "NS"], "NOERROR"],
  ])("says of %s what may be remembered, and for how long", async (_what, [name, type], status) => {
    const { port } = await serve(withSerial);
    const printed = await dig(port, name!, type!);
    expect(statusOf(printed)).toBe(status);
    expect(linesOf(printed, "ANSWER")).toEqual([]);
    expect(linesOf(printed, "AUTHORITY")).toEqual(status === "REFUSED" ? [] : [SOA]);
    expect(flagsOf(printed)?.includes("aa")).toBe(status !== "REFUSED");
  });

  it("follows an alias inside its zones, and leaves the rest to the asker", async () => {
    const { port } = await serve(withSerial);
    expect(linesOf(await dig(port, "alias.apps.example.test", "A"), "ANSWER")).toEqual([
      "alias.apps.example.test. 60 IN CNAME A.apps.example.test.",
      "A.apps.example.test. 60 IN A 192.0.2.1",
    ]);
    expect(linesOf(await dig(port, "alias.apps.example.test", "CNAME"), "ANSWER")).toHaveLength(1);
    const outward = await dig(port, "outward.apps.example.test", "A");
    expect(statusOf(outward)).toBe("NOERROR");
    expect(linesOf(outward, "ANSWER")).toEqual([
      "outward.apps.example.test. 60 IN CNAME www.elsewhere.test.",
    ]);
    const dangling = await dig(port, "dangling.apps.example.test", "A");
    expect(statusOf(dangling)).toBe("NXDOMAIN");
    expect(linesOf(dangling, "ANSWER")).toHaveLength(1);
    expect(linesOf(dangling, "AUTHORITY")).toEqual([SOA]);
    // The alias has the name and another type was asked for: what it leads to has none either.
    expect(linesOf(await dig(port, "alias.apps.example.test", "MX"), "AUTHORITY")).toEqual([SOA]);
  });

  it("does not follow aliases that lead round in a circle", async () => {
    const { port } = await serve();
    const printed = await dig(port, "round.apps.example.test", "A");
    expect(statusOf(printed)).toBe("NOERROR");
    expect(linesOf(printed, "ANSWER")).toHaveLength(9);
  });

  it("keeps the letters of the question, so that a resolver which mixes them believes it", async () => {
    const { port } = await serve();
    const printed = await dig(port, "+qr", "aLiAs.ApPs.eXample.TEST", "A");
    expect(linesOf(printed, "ANSWER")[0]).toBe("aLiAs.ApPs.eXample.TEST. 60 IN CNAME A.apps.example.test.");
    expect(linesOf(await dig(port, "NoBody.aPPs.example.test", "A"), "AUTHORITY")[0]).toMatch(
      /^aPPs\.example\.test\. /,
    );
  });

  it("refuses what is not of its zones, other classes, and transfers", async () => {
    const { port } = await serve();
    for (const args of [
      ["example.test", "A"],
      ["example.com", "A"],
      [".", "NS"],
      ["xapps.example.test", "A"],
      ["version.bind", "TXT", "CH"],
    ])
      expect([args, statusOf(await dig(port, ...args))]).toEqual([args, "REFUSED"]);
    expect(await dig(port, "apps.example.test", "AXFR")).toContain("; Transfer failed.");
    expect(await dig(port, "apps.example.test", "IXFR=1")).toContain("; Transfer failed.");
  });

  it("answers ANY with one small record, and still says which names are not there", async () => {
    const { port } = await serve();
    expect(linesOf(await dig(port, "large.apps.example.test", "ANY", "+notcp"), "ANSWER")).toEqual([
      'large.apps.example.test. 60 IN HINFO "RFC8482" ""',
    ]);
    expect(statusOf(await dig(port, "nobody.apps.example.test", "ANY", "+notcp"))).toBe("NXDOMAIN");
  });

  it("sends who asks for more than a datagram should hold to TCP, and gives all of it there", async () => {
    const { port } = await serve();
    const cut = await dig(port, "large.apps.example.test", "TXT", "+ignore", "+bufsize=4096");
    expect(flagsOf(cut)).toContain("tc");
    expect(linesOf(cut, "ANSWER")).toEqual([]);
    const whole = await dig(port, "large.apps.example.test", "TXT", "+bufsize=4096");
    expect(flagsOf(whole)).not.toContain("tc");
    expect(linesOf(whole, "ANSWER")).toHaveLength(40);
  });

  it("speaks EDNS of version 0, and to others without it", async () => {
    const { port } = await serve();
    expect(await dig(port, "a.apps.example.test", "A", "+dnssec", "+nsid")).toContain(
      "EDNS: version: 0, flags: do; udp: 1232",
    );
    expect(await dig(port, "a.apps.example.test", "A", "+noedns", "+nocookie")).not.toContain("EDNS");
    const badVersion = await dig(port, "a.apps.example.test", "A", "+edns=1", "+noednsneg");
    expect(statusOf(badVersion)).toBe("BADVERS");
    expect(linesOf(badVersion, "ANSWER")).toEqual([]);
  });
});

describe("the name server", () => {
  it("is understood by node's resolver", async () => {
    const resolver = resolverOf((await serve()).port);
    expect(await resolver.resolve4("a.apps.example.test")).toEqual(["192.0.2.1"]);
    expect(await resolver.resolve6("alias.apps.example.test")).toEqual(["2001:db8::1"]);
    expect(await resolver.resolveSoa("apps.example.test")).toMatchObject({
      hostmaster: "host\\.master.example.test",
    });
    expect(await resolver.resolveTxt("large.apps.example.test")).toHaveLength(40);
    await expect(resolver.resolve4("nobody.apps.example.test")).rejects.toMatchObject({ code: "ENOTFOUND" });
    await expect(resolver.resolveTxt("a.apps.example.test")).rejects.toMatchObject({ code: "ENODATA" });
  });

  it("is understood by dns2, over UDP and TCP, whatever it was asked", async () => {
    const { port } = await serve();
    for (const name of [...Object.keys(NAMES), "nobody.apps.example.test"])
      for (const type of Object.values(TYPE)) {
        const query = queryBytes(name, type, { edns: { udpBytesMax: 1232 } });
        const short = (await overUdp(port, query, 3_000))!;
        const whole = (await overTcp(port, framed(query))).subarray(2);
        for (const bytes of [short, whole]) {
          const [ours, theirs] = [parseMessage(bytes, 100), Packet.parse(bytes)];
          expect([name, type, theirs.errors]).toEqual([name, type, []]);
          const shape = (each: { name: unknown; type: number; ttl: number }) => [
            each.name,
            each.type,
            each.ttl,
          ];
          const dotted = (each: (typeof ours.answers)[number]) =>
            shape({ ...each, name: each.name.join(".") });
          const plain = (each: (typeof theirs.answers)[number]) => shape({ ...each, ttl: each.ttl! });
          expect(theirs.answers.map(plain)).toEqual(ours.answers.map(dotted));
          expect(theirs.authorities.map(plain)).toEqual(ours.authorities.map(dotted));
          expect(theirs.questions[0]!.name).toBe(name);
        }
      }
  });

  it("answers for the inner of two zones, and knows the outer one's names above it", async () => {
    const inner = { ...ZONE, origin: "deep.down.apps.example.test" };
    const { port } = await serve({ zones: [ZONE, inner] });
    const soa = await asked(port, queryBytes("x.deep.down.apps.example.test", TYPE.A));
    expect(soa.authorities[0]!.name.join(".")).toBe("deep.down.apps.example.test");
    expect(rcodeOf((await asked(port, queryBytes("down.apps.example.test", TYPE.A))).flags)).toBe(
      RCODE.NOERROR,
    );
    expect(rcodeOf((await asked(port, queryBytes("up.apps.example.test", TYPE.A))).flags)).toBe(
      RCODE.NXDOMAIN,
    );
  });

  it("says that it could not look, never that nothing is there, when the lookup fails or hangs", async () => {
    const logged: string[] = [];
    const fails = await serve({
      lookup: () => Promise.reject(new Error("no database")),
      log: (event) => logged.push(event),
    });
    const hangs = await serve({ lookup: () => new Promise(() => {}), limits: { lookupMs: 100 } });
    for (const { port } of [fails, hangs, fails]) {
      const { flags, answers, authorities } = await asked(port, queryBytes("a.apps.example.test", TYPE.A));
      expect([rcodeOf(flags), answers, authorities]).toEqual([RCODE.SERVFAIL, [], []]);
    }
    expect(logged).toEqual(["name-server.lookup-failed"]);
  });

  it("gives back RD and CD, and never sets RA or AD", async () => {
    const { port } = await serve();
    for (const flags of [0, FLAG.RD, FLAG.CD, FLAG.RD | FLAG.CD, 0x00a0]) {
      const answer = await asked(port, queryBytes("a.apps.example.test", TYPE.A, { flags }));
      expect(answer.flags & 0x01f0).toBe(flags & (FLAG.RD | FLAG.CD));
      expect(answer.id).toBe(0x1234);
    }
  });

  it.each([TYPE.AXFR, TYPE.IXFR, TYPE.MAILA, TYPE.MAILB])("hands its zones to nobody (%i)", async (type) => {
    const { port } = await serve();
    const { flags, answers } = await asked(port, queryBytes("apps.example.test", type));
    expect([rcodeOf(flags), answers, flags & FLAG.AA]).toEqual([RCODE.REFUSED, [], 0]);
  });

  it.each([1, 2, 3, 4, 5, 6, 15])("does not implement opcode %i", async (opcode) => {
    const { port } = await serve();
    const { flags } = await asked(port, queryBytes("apps.example.test", TYPE.SOA, { flags: opcode << 11 }));
    expect([rcodeOf(flags), opcodeOf(flags)]).toEqual([RCODE.NOTIMP, opcode]);
  });

  it("has one port for UDP and TCP, and gives it back", async () => {
    const first = await serve();
    await first.close();
    const second = await serve({ port: first.port });
    expect(second.port).toBe(first.port);
    await expect(serve({ port: first.port })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });

  it("asks the lookup for lower case names of its zones and for nothing else", async () => {
    const seen: string[] = [];
    const { port } = await serve({
      lookup: (name, type) => {
        seen.push(`${name} ${type}`);
        return table(NAMES)(name);
      },
    });
    await asked(port, queryBytes("A.APPS.example.test", TYPE.A));
    await asked(port, queryBytes("a.apps.example.test", 15));
    await asked(port, queryBytes("a.example.test", TYPE.A));
    await asked(port, queryBytes(["a b", "apps", "example", "test"], TYPE.A));
    await asked(port, queryBytes("apps.example.test", TYPE.SOA));
    expect(seen).toEqual(["a.apps.example.test A", "a.apps.example.test CNAME"]);
  });
});

test.each([
  ["no name server", { nameServers: [] }],
  [
    "a name server of its own without an address",
    { nameServers: [{ name: "ns.apps.example.test", addresses: [] }] },
  ],
  ["an address that is none", { nameServers: [{ name: "ns.apps.example.test", addresses: ["1.2.3"] }] }],
  ["an origin that is no name", { origin: "apps..test" }],
  ["a contact that is none", { contact: "a@b@c" }],
])("a zone with %s is not served", async (_what, changes) => {
  await expect(serve({ zones: [{ ...ZONE, ...changes }] })).rejects.toThrow();
});
