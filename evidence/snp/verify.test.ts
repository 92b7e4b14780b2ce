// SPDX-License-Identifier: Apache-2.0
/** Everything that an attacker can change, under a root made here, one change at a time: which step says no. */
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { demandsOf } from "#evidence/policy/snp.ts";
import { parseCertificate } from "../x509/certificate.ts";
import { extension, issuing, pss, usage } from "../x509/specimen.ts";
import { type LeafChange, makeAuthority, type ReportChange, SPECIMEN_MS, SPECIMEN_TCB } from "./specimen.ts";
import { type SnpEvidence, type SnpVerdict, verifySnp } from "./verify.ts";

const milan = makeAuthority("Milan");
const vlek = makeAuthority("Milan", "VLEK");
const genoa = makeAuthority("Genoa");
const turin = makeAuthority("Turin");
const other = makeAuthority("Milan");

interface Ask {
  authority?: typeof milan;
  leaf?: LeafChange;
  report?: ReportChange;
  evidence?: Partial<SnpEvidence>;
  atMs?: number;
}

function judge({ authority = milan, leaf, report, evidence, atMs = SPECIMEN_MS }: Ask): Promise<SnpVerdict> {
  const leafs = authority.issueLeaf(leaf);
  return verifySnp(
    {
      report: leafs.report(report),
      leaf: leafs.der,
      chain: [authority.intermediate, authority.root],
      ...evidence,
    },
    { atMs, demands: demandsOf(null), roots: authority.roots },
  );
}

const failing = ({ steps }: SnpVerdict) => steps.filter(({ ok }) => !ok).map(({ name }) => name);

const pem = (der: Uint8Array) =>
  new TextEncoder().encode(
    `text before\r\n-----BEGIN CERTIFICATE-----\r\n${Buffer.from(der).toString("base64").replace(/.{64}/g, "$&\r\n")}\r\n-----END CERTIFICATE-----\r\n`,
  );
const joined = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
/** Its layout is the report's: offset → little-endian bytes. */
const set = (at: number, ...bytes: number[]): ReportChange => ({ set: { [at]: bytes } });

describe("a genuine report is accepted", () => {
  test.each([
    ["Milan", milan],
    ["Genoa", genoa],
    ["Turin", turin],
    ["Milan, by a VLEK", vlek],
  ])("of %s, in every version that there is", async (_name, authority) => {
    for (const version of [2, 3, 4, 5]) {
      const verdict = await judge({ authority, report: { version } });
      expect(failing(verdict)).toEqual([]);
      expect(verdict).toMatchObject({ accepted: true, product: authority.product, report: { version } });
    }
  });

  test("with certificates in any order, as DER, as PEM, in one file or many, and others among them", async () => {
    const { intermediate, root } = milan;
    for (const chain of [
      [root, intermediate],
      [pem(intermediate), root],
      [joined(pem(root), pem(intermediate))],
      [
        other.root,
        other.intermediate,
        randomBytes(50),
        genoa.root,
        root,
        new Uint8Array(),
        intermediate,
        intermediate,
      ],
      [vlek.intermediate, root, vlek.root, pem(intermediate).subarray(0, 300), intermediate],
    ])
      expect(failing(await judge({ evidence: { chain } }))).toEqual([]);
    const leafs = milan.issueLeaf();
    expect(failing(await judge({ evidence: { leaf: pem(leafs.der), report: leafs.report() } }))).toEqual([]);
  });

  test("at each VMPL, and says that nobody asked which guest it is", async () => {
    for (const vmpl of [0, 1, 2, 3]) expect((await judge({ report: set(0x30, vmpl) })).accepted).toBe(true);
    const { unasked } = await judge({});
    expect(unasked.map(({ name }) => name)).toEqual([
      "measurement",
      "tcb-floor",
      "report-data",
      "revocation",
    ]);
  });

  test("from its first second to its last", async () => {
    const leaf = { notBefore: "20260301120000Z", notAfter: "20260302120000Z" };
    const from = Date.UTC(2026, 2, 1, 12);
    const to = Date.UTC(2026, 2, 2, 12);
    for (const atMs of [from, to]) expect((await judge({ leaf, atMs })).accepted).toBe(true);
    for (const atMs of [from - 1000, to + 1000, Number.NaN])
      expect(failing(await judge({ leaf, atMs }))).toEqual(["dates"]);
    const { steps } = await judge({ atMs: Number.NaN });
    expect(steps.find(({ ok }) => !ok)?.detail).toBe("The time to judge at is no time.");
  });
});

describe("a report that was signed is refused by exactly the step it speaks against", () => {
  const tcb = SPECIMEN_TCB.Milan;
  test.each<[string, Ask, string[]]>([
    ["a reserved byte beside the flags", { report: set(0x4c, 1) }, ["report"]],
    ["a reserved bit of the flags", { report: set(0x48, 0x20) }, ["report"]],
    ["a reserved bit of the policy", { report: set(0x0b, 0x04) }, ["report"]],
    ["a policy without its constant bit", { report: set(0x0a, 0x01) }, ["report"]],
    ["a reserved byte before the chip id", { report: set(0x18b, 1) }, ["report"]],
    [
      "a processor in a version that has none",
      { report: { version: 2, set: { 392: [0x19, 1] } } },
      ["report"],
    ],
    ["mitigations in a version that has none", { report: { version: 4, set: { 504: [1] } } }, ["report"]],
    ["a reserved byte after the mitigations", { report: { version: 5, set: { 520: [1] } } }, ["report"]],
    ["a reserved byte beside the current build", { report: set(0x1eb, 1) }, ["report"]],
    ["a reserved byte beside the committed build", { report: set(0x1ef, 1) }, ["report"]],
    ["another signature algorithm", { report: set(0x34, 2) }, ["report"]],
    ["debugging", { report: set(0x0a, 0x0b) }, ["debug"]],
    ["a migration agent", { report: set(0x0a, 0x07) }, ["migration-agent"]],
    ["a report that the host asked for", { report: set(0x30, 255, 255, 255, 255) }, ["vmpl"]],
    ["a VMPL that there is not", { report: set(0x30, 4) }, ["vmpl"]],
    ["a VLEK named as its signer", { report: set(0x48, 1 << 2) }, ["signing-key"]],
    ["nobody named as its signer", { report: set(0x48, 7 << 2) }, ["signing-key"]],
    ["a signer that there is not", { report: set(0x48, 3 << 2) }, ["signing-key"]],
    ["a masked chip key that signed", { report: set(0x48, 2) }, ["signing-key"]],
    ["a VCEK named as a VLEK's signer", { authority: vlek, report: set(0x48, 0) }, ["signing-key"]],
    ["a TCB below the leaf's", { report: set(0x180, tcb[0]! - 1) }, ["tcb"]],
    ["a TCB above the leaf's", { report: set(0x187, tcb[7]! + 1) }, ["tcb"]],
    ["a reserved part of the TCB", { report: set(0x182, 1) }, ["tcb"]],
    ["Turin's TCB with a reserved part", { authority: turin, report: set(0x184, 1) }, ["tcb"]],
    ["a hidden chip", { report: set(0x1a0, ...Array(64).fill(0)) }, ["hardware-id"]],
    ["more chip than Turin has", { authority: turin, report: set(0x1a8, 1) }, ["hardware-id"]],
    ["Genoa's processor with Milan's leaf", { report: set(0x189, 0x11) }, ["product"]],
    ["Milan's processor with Turin's leaf", { authority: turin, report: set(0x188, 0x19, 1) }, ["product"]],
    ["a processor of no line", { report: set(0x188, 0x17) }, ["product"]],
  ])("%s", async (_name, ask, steps) => {
    const verdict = await judge(ask);
    expect(failing(verdict)).toEqual(steps);
    expect(verdict.accepted).toBe(false);
  });

  test("another chip of the same line and TCB", async () => {
    const leafs = milan.issueLeaf();
    for (const length of [1, 64]) {
      const report = leafs.report();
      const id = report.slice(0x1a0, 0x1e0);
      id[length - 1]! ^= 1;
      const evidence = { leaf: leafs.der, report: leafs.report(set(0x1a0, ...id)) };
      expect(failing(await judge({ evidence }))).toEqual(["hardware-id"]);
    }
  });
});

describe("a report is refused whole", () => {
  const nothing = [
    "report",
    "product",
    "signing-key",
    "signature",
    "tcb",
    "hardware-id",
    "debug",
    "vmpl",
    "migration-agent",
  ];
  test("when it is cut, longer, or of a version that is not known, and the document is as long as ever", async () => {
    const leafs = milan.issueLeaf();
    const good = leafs.report();
    const all = (await judge({})).steps.length;
    const bad = [
      new Uint8Array(),
      good.subarray(0, 1183),
      joined(good, new Uint8Array(1)),
      joined(good, good),
      ...[0, 1, 6, 258].map((version) => leafs.report(set(0, version & 0xff, version >> 8))),
    ];
    for (const report of bad) {
      const verdict = await judge({ evidence: { report, leaf: leafs.der } });
      expect(failing(verdict)).toEqual(nothing);
      expect(verdict.steps).toHaveLength(all);
      expect(verdict.accepted).toBe(false);
    }
  });

  test("when an unsigned byte behind r or s is not zero, though the signature holds", async () => {
    const leafs = milan.issueLeaf();
    for (const at of [0x2a0 + 48, 0x2e8 - 1, 0x2e8 + 48, 0x330, 0x49f]) {
      const report = leafs.report();
      report[at] = 1;
      expect(failing(await judge({ evidence: { report, leaf: leafs.der } }))).toEqual(["report"]);
    }
  });

  test("when it is signed by another key, or by none", async () => {
    const leafs = milan.issueLeaf();
    const stranger = milan.issueLeaf();
    expect(failing(await judge({ evidence: { report: stranger.report(), leaf: leafs.der } }))).toEqual([
      "signature",
    ]);
    const unsigned = leafs.report().fill(0, 0x2a0);
    expect(failing(await judge({ evidence: { report: unsigned, leaf: leafs.der } }))).toEqual(["signature"]);
  });
});

describe("a leaf is refused", () => {
  const hash256 = "2.16.840.1.101.3.4.2.1";
  const chain = ["chain", "dates"];
  const unread = [
    "leaf",
    "product",
    "root",
    "chain",
    "dates",
    "signing-key",
    "tcb",
    "hardware-id",
    "migration-agent",
  ];
  test.each<[string, LeafChange, string[]]>([
    ["from an issuer of no line", { issuer: "SEV-Rome" }, unread],
    ["from the root itself", { issuer: "ARK-Milan" }, unread],
    ["with a subject of the other kind", { subject: "SEV-VLEK" }, unread],
    ["with a product name of another line", { productName: "Genoa-B1" }, unread],
    ["without a part of the TCB", { spl: { 1: 3, 2: 0, 3: 8 } }, unread],
    ["with a part that its line reserves", { spl: { 1: 3, 2: 0, 3: 8, 8: 115, 4: 1 } }, unread],
    ["with a part larger than a byte", { spl: { 1: 3, 2: 0, 3: 8, 8: 256 } }, unread],
    ["with a chip id of another length", { hardwareId: new Uint8Array(8) }, unread],
    ["without a chip id", { hardwareId: null }, unread],
    ["with a provider and a chip", { providerId: "CN=x" }, unread],
    ["with a provider's name that would not print", { hardwareId: null, providerId: "\u001b[2J" }, unread],
    ["with an unknown critical extension", { more: [extension("1.2.3.4", new Uint8Array(), true)] }, unread],
    [
      "with an extension twice",
      { extensions: [usage(0x80), usage(0x80)] },
      [...unread.slice(0, 6), "signature", ...unread.slice(6)],
    ],
    ["signed with SHA-256, as it says", { algorithm: pss(hash256), outerAlgorithm: pss(hash256) }, chain],
    [
      "signed with less salt, as it says",
      { algorithm: pss(undefined, 32), outerAlgorithm: pss(undefined, 32) },
      chain,
    ],
    ["that names two algorithms", { outerAlgorithm: pss(hash256) }, chain],
    ["expired", { notAfter: "20260101000001Z" }, ["dates"]],
    ["not yet valid", { notBefore: "20300101000000Z" }, ["dates"]],
  ])("%s", async (_name, leaf, steps) => {
    expect(failing(await judge({ leaf }))).toEqual(steps);
  });

  test("with bytes after it, cut, empty, or with a second certificate beside it", async () => {
    const leafs = milan.issueLeaf();
    const report = leafs.report();
    const second = joined(pem(leafs.der), pem(milan.intermediate));
    for (const leaf of [
      joined(leafs.der, Uint8Array.of(0)),
      leafs.der.subarray(0, -1),
      new Uint8Array(),
      second,
    ])
      expect(failing(await judge({ evidence: { leaf, report } }))).toContain("leaf");
    for (const leaf of [milan.intermediate, milan.root])
      expect((await judge({ evidence: { leaf, report } })).accepted).toBe(false);
  });

  test("of a chip for a provider's report, and the other way round", async () => {
    const [byChip, byProvider] = [milan.issueLeaf(), vlek.issueLeaf()];
    const all = [milan.intermediate, milan.root, vlek.intermediate, vlek.root];
    const steps = ["signing-key", "signature"];
    for (const [authority, leaf, report] of [
      [milan, byChip.der, byProvider.report()],
      [vlek, byProvider.der, byChip.report()],
    ] as const)
      expect(failing(await judge({ authority, evidence: { leaf, report, chain: all } }))).toEqual(
        authority === milan ? [...steps, "hardware-id"] : steps,
      );
  });
});

describe("a chain is refused", () => {
  const { root, intermediate } = milan;
  test.each<[string, Uint8Array[], string[]]>([
    ["that is empty", [], ["root", "chain", "dates"]],
    ["without its root", [intermediate], ["root", "chain", "dates"]],
    ["with a root of the same name and another key", [intermediate, other.root], ["root", "chain", "dates"]],
    ["without its intermediate", [root], ["chain", "dates"]],
    ["with an intermediate of the same name and another key", [other.intermediate, root], ["chain", "dates"]],
    ["with the intermediate for VLEKs", [vlek.intermediate, root], ["chain", "dates"]],
    ["with bytes after the intermediate", [joined(intermediate, Uint8Array.of(0)), root], ["chain", "dates"]],
    [
      "with a spoilt byte in the root",
      [intermediate, root.map((byte, at) => (at === 600 ? byte ^ 1 : byte))],
      ["root", "chain", "dates"],
    ],
    [
      "with an intermediate that says it is no authority",
      [milan.issueIntermediate({ extensions: [issuing(false), usage(0x04)] }), root],
      ["chain", "dates"],
    ],
    [
      "with an intermediate that has an unknown critical extension",
      [
        milan.issueIntermediate({
          extensions: [issuing(true), usage(0x04), extension("1.2.3.4", new Uint8Array(), true)],
        }),
        root,
      ],
      ["chain", "dates"],
    ],
    [
      "with an intermediate whose key is for something else",
      [milan.issueIntermediate({ extensions: [issuing(true), usage(0x80)] }), root],
      ["chain", "dates"],
    ],
    [
      "with an intermediate that may issue, has the right key, and was signed by another root",
      [other.issueIntermediate({ spki: parseCertificate(intermediate).spki }), root],
      ["chain", "dates"],
    ],
    [
      "with an intermediate that may not issue",
      [milan.issueIntermediate({ extensions: [usage(0x04)] }), root],
      ["chain", "dates"],
    ],
    [
      "with an intermediate that has expired",
      [milan.issueIntermediate({ notAfter: "20260201000000Z" }), root],
      ["dates"],
    ],
    [
      "with an intermediate by SHA-256, as it says",
      [milan.issueIntermediate({ algorithm: pss("2.16.840.1.101.3.4.2.1") }), root],
      ["chain", "dates"],
    ],
    [
      "with an intermediate of another issuer",
      [milan.issueIntermediate({ issuer: "ARK-Genoa" }), root],
      ["chain", "dates"],
    ],
  ])("%s", async (_name, chain, steps) => {
    expect(failing(await judge({ evidence: { chain } }))).toEqual(steps);
  });

  test("made here, by a verifier that was given no root of ours", async () => {
    const leafs = milan.issueLeaf();
    const evidence = { report: leafs.report(), leaf: leafs.der, chain: [root, intermediate] };
    const verdict = await verifySnp(evidence, { atMs: SPECIMEN_MS, demands: demandsOf(null) });
    expect(failing(verdict)).toEqual(["root", "chain", "dates"]);
  });
});

describe("revocation", () => {
  const judgeWith = async (...crls: Uint8Array[]) => failing(await judge({ evidence: { crls } }));
  test("a fresh list of the root that names neither certificate is no obstacle, also as PEM among those of others", async () => {
    expect(await judgeWith(milan.signCrl())).toEqual([]);
    const text = new TextDecoder()
      .decode(pem(milan.signCrl({ serials: [5] })))
      .replaceAll("CERTIFICATE", "X509 CRL");
    expect(await judgeWith(new TextEncoder().encode(text), genoa.signCrl({ serials: [0x10001] }))).toEqual(
      [],
    );
  });

  test.each<[string, () => Uint8Array[]]>([
    ["that revokes the intermediate", () => [milan.signCrl({ serials: [1, 0x10001, 7] })]],
    ["beside one that does not", () => [milan.signCrl(), milan.signCrl({ serials: [0x10001] })]],
    ["of another root", () => [genoa.signCrl()]],
    ["signed by another key of that name", () => [other.signCrl()]],
    ["that is out of date", () => [milan.signCrl({ nextUpdate: "20260515000000Z" })]],
    ["from a time to come", () => [milan.signCrl({ thisUpdate: "20260701000000Z" })]],
    [
      "with a critical extension",
      () => [milan.signCrl({ extensions: [extension("2.5.29.28", new Uint8Array(), true)] })],
    ],
    ["with a byte changed", () => [milan.signCrl().map((byte, at) => (at === 200 ? byte ^ 1 : byte))]],
    ["with bytes after it", () => [joined(milan.signCrl(), Uint8Array.of(0))]],
    ["that is a certificate", () => [milan.root]],
    ["that is nothing", () => [new Uint8Array()]],
    [
      "of an intermediate that may not sign lists",
      () => [milan.signCrl(), milan.signCrl({}, "intermediate")],
    ],
  ])("a list %s refuses", async (_name, crls) => {
    expect(await judgeWith(...crls())).toEqual(["revocation"]);
  });

  test("an intermediate that may sign lists revokes a leaf", async () => {
    const chain = [milan.issueIntermediate({ extensions: [issuing(true), usage(0x06)] }), milan.root];
    const crls = [milan.signCrl(), milan.signCrl({}, "intermediate")];
    expect(failing(await judge({ evidence: { chain, crls } }))).toEqual([]);
    crls[1] = milan.signCrl({ serials: [0] }, "intermediate");
    expect(failing(await judge({ evidence: { chain, crls } }))).toEqual(["revocation"]);
  });
});

describe("whatever comes in", () => {
  const leafs = milan.issueLeaf();
  const good = { report: leafs.report(), leaf: leafs.der, chain: [milan.root, milan.intermediate] };
  const options = { atMs: SPECIMEN_MS, demands: demandsOf(null), roots: milan.roots };

  test("random bytes get a document and no acceptance", async () => {
    const bytes = fc.uint8Array({ maxLength: 1300 });
    await fc.assert(
      fc.asyncProperty(bytes, bytes, bytes, bytes, async (report, leaf, chain, crl) => {
        const { accepted, steps } = await verifySnp({ report, leaf, chain: [chain], crls: [crl] }, options);
        expect(accepted).toBe(false);
        expect(steps).toHaveLength(14);
      }),
      { numRuns: 200 },
    );
  });

  test("no change of a byte in a good report or its leaf is accepted", async () => {
    expect((await verifySnp(good, options)).accepted).toBe(true);
    const target = fc.constantFrom("report" as const, "leaf" as const);
    await fc.assert(
      fc.asyncProperty(target, fc.nat(), fc.integer({ min: 1, max: 255 }), async (which, place, flip) => {
        const bytes = Uint8Array.from(good[which]);
        bytes[place % bytes.length]! ^= flip;
        expect((await verifySnp({ ...good, [which]: bytes }, options)).accepted).toBe(false);
      }),
      { numRuns: 600 },
    );
  });

  test("no cut, insertion or doubling of a part of a leaf or intermediate is accepted", async () => {
    const target = fc.constantFrom("leaf" as const, "intermediate" as const);
    await fc.assert(
      fc.asyncProperty(
        target,
        fc.nat(),
        fc.nat(40),
        fc.uint8Array({ maxLength: 8 }),
        async (which, place, cut, put) => {
          const whole = which === "leaf" ? good.leaf : milan.intermediate;
          const at = place % whole.length;
          const bytes = joined(whole.subarray(0, at), put, whole.subarray(at + cut));
          fc.pre(Buffer.compare(bytes, whole) !== 0);
          const evidence =
            which === "leaf" ? { ...good, leaf: bytes } : { ...good, chain: [milan.root, bytes] };
          expect((await verifySnp(evidence, options)).accepted).toBe(false);
        },
      ),
      { numRuns: 400 },
    );
  });

  test("text in a refusal is printable", async () => {
    const { steps } = await judge({ leaf: { hardwareId: null, providerId: "\u001b[2J" } });
    for (const { detail } of steps) expect(detail).toMatch(/^[\x20-\x7e…]+$/);
  });
});
