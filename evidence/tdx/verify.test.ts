// SPDX-License-Identifier: Apache-2.0
/** Everything that an attacker can change, under a root made here, one change at a time: which step says no. */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tdxDemandsOf } from "#evidence/policy/tdx.ts";
import { concatBytes, hexOf } from "../bytes.ts";
import { bytesOf, extension, issuing, pss, spkiOf, usage } from "../x509/specimen.ts";
import {
  type IntelChange,
  level,
  makeIntel,
  platformOf,
  type QuoteChange,
  SPECIMEN_MS,
  SVNS,
  svnLevel,
} from "./specimen.ts";
import { converge, TCB_STATUSES, type TcbStatus } from "./tcb-status.ts";
import { type TdxEvidence, type TdxVerdict, verifyTdx } from "./verify.ts";

const intel = makeIntel();
const others = makeIntel();
const good = intel();

interface Ask {
  change?: IntelChange;
  evidence?: Partial<TdxEvidence>;
  atMs?: number;
  statuses?: readonly TcbStatus[];
}

function judge({ change, evidence, atMs = SPECIMEN_MS, statuses = ["UpToDate"] }: Ask): Promise<TdxVerdict> {
  const { quote, collateral, rootKeys } = change === undefined ? good : intel(change);
  return verifyTdx(
    { quote, collateral, ...evidence },
    { atMs, demands: { ...tdxDemandsOf(null), tcbStatuses: statuses }, rootKeys },
  );
}

const failing = ({ steps }: TdxVerdict) => steps.filter(({ ok }) => !ok).map(({ name }) => name);
const quoteOf = (quote: QuoteChange): Ask => ({ change: { quote } });

describe("a genuine quote is accepted", () => {
  test.each<[string, QuoteChange]>([
    ["of version 4", {}],
    ["of version 5, of TDX 1.0", { version: 5 }],
    ["of version 5, of TDX 1.5", { version: 5, report: "1.5" }],
    ["whose certificates end with a zero", { pemTail: "\0" }],
    ["in a buffer that has zeros behind it", { after: { quote: new Uint8Array(70) } }],
    ["of a module of TDX 1.0, which has no levels of its own", { body: { 0: [5, 0, 3] } }],
  ])("%s", async (_name, quote) => {
    const verdict = await judge(quoteOf(quote));
    expect(failing(verdict)).toEqual([]);
    expect(verdict).toMatchObject({ accepted: true, tcbStatus: "UpToDate" });
    expect(verdict.quote!.version).toBe(quote.version ?? 4);
    expect(verdict.quote!.report).toBe(quote.report ?? "1.0");
  });

  test("with collateral in any order and form, and other things among it", async () => {
    const { tcbInfo, qeIdentity, rootCrl, pckCrl, certificates } = good.parts;
    const other = others().parts;
    const one = JSON.parse(new TextDecoder().decode(tcbInfo));
    const whole = {
      pck_crl_issuer_chain: "",
      root_ca_crl: hexOf(rootCrl),
      pck_crl: [...pckCrl],
      tcb_info_issuer_chain: new TextDecoder().decode(certificates),
      tcb_info: JSON.stringify(one.tcbInfo),
      tcb_info_signature: one.signature,
      qe_identity_issuer_chain: new TextDecoder().decode(certificates),
      qe_identity: JSON.stringify(JSON.parse(new TextDecoder().decode(qeIdentity)).enclaveIdentity),
      qe_identity_signature: JSON.parse(new TextDecoder().decode(qeIdentity)).signature,
    };
    for (const collateral of [
      [pckCrl, certificates, qeIdentity, rootCrl, tcbInfo],
      [bytesOf(JSON.stringify(whole))],
      [bytesOf(hexOf(pckCrl)), randomBytes(40), other.certificates, ...good.collateral, good.quote],
      [bytesOf("{"), bytesOf("[]"), bytesOf("null"), ...good.collateral],
    ])
      expect(failing(await judge({ evidence: { collateral } }))).toEqual([]);
  });

  test("with what the service says of SGX, and with what it said before, beside what it says now", async () => {
    const sgx = intel({ tcbInfo: { id: "SGX" }, qeIdentity: { id: "QE" } }).parts;
    const before = { issueDate: "2026-01-01T00:00:00Z", nextUpdate: "2026-02-01T00:00:00Z" };
    const old = intel({ tcbInfo: before, qeIdentity: before }).parts;
    const more = [sgx.tcbInfo, sgx.qeIdentity, old.tcbInfo, old.qeIdentity];
    for (const collateral of [
      [...more, ...good.collateral],
      [...good.collateral, ...more],
    ])
      expect(failing(await judge({ evidence: { collateral } }))).toEqual([]);
    const { certificates, rootCrl, pckCrl } = good.parts;
    const outOfDate = [certificates, rootCrl, pckCrl, old.tcbInfo, old.qeIdentity];
    expect(failing(await judge({ evidence: { collateral: outOfDate } }))).toContain("collateral-dates");
  });

  test("and it says that nobody asked which guest it is", async () => {
    expect((await judge({})).unasked.map(({ name }) => name)).toEqual(["mrtd", "report-data"]);
  });
});

describe("a quote is refused by exactly the step that its change speaks against", () => {
  const zero = new Uint8Array(4);
  test.each<[string, QuoteChange, string[]]>([
    ["another's quoting enclave in the header", { header: { 12: [0] } }, ["quote"]],
    ["bytes that follow the quote", { after: { quote: Uint8Array.of(0, 0, 1) } }, ["quote"]],
    ["bytes between certificates and the end of its data", { after: { inner: zero } }, ["quote"]],
    ["bytes behind the certification data", { after: { outer: zero } }, ["quote"]],
    ["text between the certificates and the end", { pemTail: "# more\n" }, ["quote"]],
    ["two zeros behind the certificates", { pemTail: "\0\0" }, ["quote"]],
    ["an outer type that is not the enclave's", { types: [5, 5] }, ["quote"]],
    ["an inner type that has no certificates", { types: [6, 3] }, ["quote", "library"]],
    ["a body of another size than it says", { version: 5, bodyHead: [2, 585] }, ["quote"]],
    [
      "an attestation key that did not sign",
      { signWith: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey },
      ["signature", "library"],
    ],
    ["an enclave that names another key", { enclave: { 320: [0, 1, 2, 3] } }, ["key-binding", "library"]],
    ["an enclave whose report has more data", { enclave: { 352: [1] } }, ["key-binding"]],
    ["an enclave of somebody else's", { enclave: { 128: [0, 0] } }, ["quoting-enclave", "tcb", "library"]],
    [
      "an enclave of Intel's for something else",
      { enclave: { 256: [1, 0] } },
      ["quoting-enclave", "tcb", "library"],
    ],
    ["an enclave that may be debugged", { enclave: { 48: [0x13] } }, ["quoting-enclave", "tcb", "library"]],
    ["an enclave with other attributes", { enclave: { 49: [1] } }, ["quoting-enclave", "tcb", "library"]],
    ["an enclave with other features", { enclave: { 16: [1] } }, ["quoting-enclave", "tcb", "library"]],
    ["an enclave older than every level", { enclave: { 258: [1] } }, ["quoting-enclave", "tcb", "library"]],
    ["an enclave that is out of date", { enclave: { 258: [3] } }, ["tcb", "library"]],
    ["a TDX module of somebody else's", { body: { 64: [1] } }, ["tdx-module", "tcb"]],
    ["a TDX module with other attributes", { body: { 112: [1] } }, ["tdx-module", "tcb"]],
    ["a TDX module that Intel does not know", { body: { 1: [2] } }, ["tdx-module", "tcb"]],
    ["a TDX module older than every level", { body: { 0: [1] } }, ["tdx-module", "tcb", "library"]],
    ["a platform below every level", { body: { 2: [2] } }, ["tcb", "library"]],
    ["a guest that may be debugged", { body: { 120: [1] } }, ["debug", "library"]],
    ["a guest under test", { body: { 120: [0x80] } }, ["debug", "library"]],
    ["exceptions that the host raises", { body: { 123: [0] } }, ["attributes", "library"]],
    ["a guest that can be migrated", { body: { 123: [0x30] } }, ["attributes", "library"]],
    ["a reserved attribute", { body: { 121: [1] } }, ["attributes", "library"]],
    ["a reserved attribute in the upper half", { body: { 125: [1] } }, ["attributes", "library"]],
    ["a service TD", { version: 5, report: "1.5", body: { 600: [1] } }, ["attributes", "library"]],
  ])("%s", async (_name, quote, expected) => {
    const verdict = await judge(quoteOf(quote));
    expect(failing(verdict)).toEqual(expected);
    expect(verdict.accepted).toBe(false);
  });

  test.each<[string, QuoteChange]>([
    ["version 3", { header: { 0: [3] } }],
    ["version 6", { header: { 0: [6] } }],
    ["a key on P-384", { header: { 2: [3] } }],
    ["another kind of machine", { header: { 4: [0] } }],
    ["a body of an enclave", { version: 5, bodyHead: [1, 384] }],
    ["a body of an unknown kind", { version: 5, bodyHead: [4, 584] }],
  ])("%s is not read at all", async (_name, quote) => {
    const verdict = await judge(quoteOf(quote));
    expect(verdict.quote).toBeNull();
    expect(failing(verdict)).toContain("quote");
    expect(verdict.steps.every(({ detail }) => detail.length > 10)).toBe(true);
  });

  test("auth data of another length than the enclave hashed", async () => {
    for (const length of [0, 31, 33]) {
      const verdict = await judge(quoteOf({ authData: Uint8Array.from(randomBytes(length)) }));
      // The library hashes 32 bytes, whatever there is; so no other length passes both.
      expect(failing(verdict)).toEqual(["library"]);
    }
  });
});

describe("a chain is refused by its own steps", () => {
  const spki = spkiOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
  test.each<[string, NonNullable<IntelChange["certificates"]>, string[]]>([
    ["a root with another key", { root: { spki } }, ["root"]],
    ["an issuer with another key", { issuer: { spki } }, ["chain"]],
    ["an issuer that may not issue", { issuer: { extensions: [issuing(false), usage(6)] } }, ["chain"]],
    [
      "an issuer that may not sign certificates",
      { issuer: { extensions: [issuing(true), usage(2)] } },
      ["chain"],
    ],
    [
      "an issuer that may not sign lists",
      { issuer: { extensions: [issuing(true), usage(4)] } },
      ["revocation"],
    ],
    ["an issuer of another name", { issuer: { subject: "Intel SGX TCB Signing" } }, ["chain"]],
    ["an issuer that the root did not sign", { issuer: { outerAlgorithm: pss() } }, ["chain"]],
    [
      "an issuer that issues other things",
      { issuer: { subject: "Intel SGX TCB CA" }, pck: { issuer: "Intel SGX TCB CA" } },
      ["chain"],
    ],
    ["a PCK certificate of another name", { pck: { subject: "Intel SGX TCB Signing" } }, ["pck"]],
    ["a PCK certificate with another key", { pck: { spki } }, ["qe-signature"]],
    ["a PCK certificate without Intel's word", { pck: { extensions: [issuing(false)] } }, ["pck"]],
    [
      "a PCK certificate with a critical extension",
      {
        pck: {
          extensions: [
            issuing(false),
            extension("1.2.840.113741.1.13.1", platformOf({})),
            extension("1.2.3", bytesOf("x"), true),
          ],
        },
      },
      ["pck"],
    ],
    ["a PCK certificate that claims another algorithm", { pck: { outerAlgorithm: pss() } }, ["chain"]],
    ["a PCK certificate whose time is over", { pck: { notAfter: "20260501000000Z" } }, ["dates"]],
    ["an issuer whose time is over", { issuer: { notAfter: "20260501000000Z" } }, ["dates"]],
    ["a root whose time is to come", { root: { notBefore: "20270101000000Z" } }, ["dates"]],
    ["a signer whose time is over", { signer: { notAfter: "20260501000000Z" } }, ["dates"]],
    ["a signer of another name", { signer: { subject: "Intel SGX PCK Certificate" } }, ["collateral-signer"]],
    ["a signer with another key", { signer: { spki } }, ["tcb-info", "qe-identity"]],
    [
      "a signer with a critical extension",
      { signer: { extensions: [issuing(false), extension("1.2.3", bytesOf("x"), true)] } },
      ["collateral-signer"],
    ],
  ])("%s", async (_name, certificates, expected) => {
    const verdict = await judge({ change: { certificates } });
    expect(failing(verdict)).toEqual(expect.arrayContaining(expected));
    expect(verdict.accepted).toBe(false);
    if (!expected.includes("pck") && !expected.includes("root"))
      expect(failing(verdict)).not.toContain("quote");
  });

  test("a whole chain of somebody else's", async () => {
    const { quote, collateral } = others();
    const verdict = await judge({ evidence: { quote, collateral } });
    expect(failing(verdict)).toEqual([
      "root",
      "chain",
      "collateral-signer",
      "dates",
      "revocation",
      ...BY_SIGNER,
    ]);
  });
  const BY_SIGNER = ["tcb-info", "qe-identity", "library"];
});

describe("what Intel has taken back is refused, and lists are held to their rules", () => {
  test.each<[string, IntelChange, string]>([
    [
      "a revoked PCK certificate",
      { crls: { pck: { serials: [7, 3] } } },
      "revoked Intel SGX PCK Certificate",
    ],
    ["a revoked issuer", { crls: { root: { serials: [2] } } }, "revoked Intel SGX PCK Platform CA"],
    ["a revoked signer of collateral", { crls: { root: { serials: [4] } } }, "revoked Intel SGX TCB Signing"],
    ["a list that is old", { crls: { pck: { nextUpdate: "20260531000000Z" } } }, "out of date"],
    ["a root's list that is old", { crls: { root: { nextUpdate: "20260531000000Z" } } }, "out of date"],
    ["a list from a time to come", { crls: { pck: { thisUpdate: "20260602000000Z" } } }, "a time to come"],
    ["a list that somebody else signed", { crlSigner: "signer" }, "does not verify"],
    [
      "a list of another issuer",
      { crls: { pck: { issuer: "Intel SGX PCK Processor CA" } } },
      "no revocation list is of",
    ],
    [
      "a list with an unknown rule",
      { crls: { pck: { extensions: [extension("2.5.29.27", bytesOf("x"), true)] } } },
      "no revocation list is of",
    ],
  ])("%s", async (_name, change, words) => {
    const verdict = await judge({ change });
    expect(failing(verdict)[0]).toBe("revocation");
    expect(verdict.steps.find(({ ok }) => !ok)!.detail).toContain(words);
  });

  test("a list beside the good one that somebody else wrote", async () => {
    const forged = intel({ crlSigner: "signer" }).parts.pckCrl;
    const verdict = await judge({ evidence: { collateral: [...good.collateral, forged] } });
    expect(failing(verdict)).toEqual(["revocation"]);
  });
});

describe("collateral", () => {
  test.each(["tcbInfo", "qeIdentity", "rootCrl", "pckCrl", "certificates"] as const)(
    "without its %s refuses everything",
    async (name) => {
      const { [name]: _, ...rest } = good.parts;
      expect((await judge({ evidence: { collateral: Object.values(rest) } })).accepted).toBe(false);
    },
  );

  test.each<[string, IntelChange, string]>([
    ["for another platform", { tcbInfo: { fmspc: "00A06F050001" } }, "fmspc"],
    ["for another provisioning enclave", { tcbInfo: { pceId: "0001" } }, "fmspc"],
    ["of SGX", { tcbInfo: { id: "SGX" } }, "tcb-info"],
    ["of an older form", { tcbInfo: { version: 2 } }, "tcb-info"],
    ["of another reckoning of levels", { tcbInfo: { tcbType: 1 } }, "tcb-info"],
    ["with a date that is none", { tcbInfo: { nextUpdate: "never" } }, "tcb-info"],
    ["without a date", { qeIdentity: { nextUpdate: undefined } }, "qe-identity"],
    ["of an application's enclave", { qeIdentity: { id: "QE" } }, "qe-identity"],
    ["out of date", { tcbInfo: { nextUpdate: "2026-05-31T23:59:59Z" } }, "collateral-dates"],
    ["of a time to come", { qeIdentity: { issueDate: "2026-06-01T00:00:01Z" } }, "collateral-dates"],
    [
      "with a level that has no number",
      { tcbInfo: { tcbLevels: [level("UpToDate", { pce: Number.NaN })] } },
      "tcb-info",
    ],
    [
      "with a level of 15 parts",
      { tcbInfo: { tcbLevels: [level("UpToDate", { tdx: Array(15).fill(0) })] } },
      "tcb-info",
    ],
    ["with a state that nobody knows", { tcbInfo: { tcbLevels: [level("Fine")] } }, "tcb-info"],
    ["without levels", { tcbInfo: { tcbLevels: [] } }, "tcb"],
    ["of an enclave without levels", { qeIdentity: { tcbLevels: [] } }, "quoting-enclave"],
  ])("%s is refused by its step", async (_name, change, step) => {
    const verdict = await judge({ change });
    expect(failing(verdict)).toContain(step);
    expect(verdict.accepted).toBe(false);
  });

  test("that leaves out whether the enclave may be debugged does not allow it", async () => {
    const qeIdentity = { attributesMask: "F9FFFFFFFFFFFFFF0000000000000000" };
    expect(failing(await judge({ change: { qeIdentity } }))).toEqual([]);
    const quote = { enclave: { 48: [0x13] } };
    expect(failing(await judge({ change: { qeIdentity, quote } }))).toContain("quoting-enclave");
  });

  test("that was changed after it was signed is refused", async () => {
    for (const name of ["tcbInfo", "qeIdentity"] as const) {
      const text = new TextDecoder()
        .decode(good.parts[name])
        .replace('"tcbEvaluationDataNumber":18', '"tcbEvaluationDataNumber":19');
      const parts = { ...good.parts, [name]: bytesOf(text) };
      const verdict = await judge({ evidence: { collateral: Object.values(parts) } });
      expect(failing(verdict)).toEqual([name === "tcbInfo" ? "tcb-info" : "qe-identity", "library"]);
    }
  });

  test("for several platforms is searched for the one at hand", async () => {
    const elsewhere = intel({ tcbInfo: { fmspc: "00A06F050001" } }).parts.tcbInfo;
    for (const collateral of [
      [elsewhere, ...good.collateral],
      [...good.collateral, elsewhere],
    ])
      expect(failing(await judge({ evidence: { collateral } }))).toEqual([]);
  });
});

describe("the state of a platform's TCB", () => {
  test.each<[string, IntelChange, TcbStatus | null]>([
    ["is that of the first level that it reaches", { pceSvn: 7 }, "OutOfDate"],
    ["is none below every level", { pceSvn: 4 }, null],
    ["looks at every part", { svns: SVNS.map((svn, index) => (index === 7 ? svn - 1 : svn)) }, null],
    ["is no better than the quoting enclave's", { quote: { enclave: { 258: [3] } } }, "OutOfDate"],
    [
      "is no better than the TDX module's",
      {
        quote: { body: { 0: [3, 1, 3] } },
        tcbInfo: { tcbLevels: [level("UpToDate", { tdx: Array(16).fill(0) })] },
      },
      "OutOfDate",
    ],
    ["is Revoked when any part is", { qeIdentity: { tcbLevels: [svnLevel(4, "Revoked")] } }, "Revoked"],
  ])("%s", async (_name, change, expected) => {
    const verdict = await judge({ change });
    expect(verdict.tcbStatus).toBe(expected);
    expect(failing(verdict)).toContain("tcb");
  });

  test("is accepted where a policy says so, and never when it is Revoked", async () => {
    const pceSvn = 7;
    const verdict = await judge({ change: { pceSvn }, statuses: ["OutOfDate"] });
    expect(failing(verdict)).toEqual([]);
    expect(verdict.advisories).toEqual(["INTEL-SA-00837"]);
    const change = { tcbInfo: { tcbLevels: [level("Revoked")] } };
    expect(failing(await judge({ change, statuses: TCB_STATUSES }))).toEqual(["tcb", "library"]);
  });

  test("of two parts is never better than either", () => {
    const order = (status: TcbStatus) => TCB_STATUSES.indexOf(status);
    for (const a of TCB_STATUSES)
      for (const b of TCB_STATUSES) {
        expect(order(converge(a, b))).toBeGreaterThanOrEqual(Math.max(order(a), order(b)));
        expect(converge(a, b)).toBe(converge(b, a));
      }
    expect(converge("ConfigurationNeeded", "OutOfDate")).toBe("OutOfDateConfigurationNeeded");
    expect(converge("SWHardeningNeeded", "ConfigurationNeeded")).toBe("ConfigurationAndSWHardeningNeeded");
  });
});

describe("every input gets a document and none an exception", () => {
  test("random bytes, and cut and changed quotes", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.uint8Array({ maxLength: 1500 }),
          fc.nat(good.quote.length - 1).map((length) => good.quote.subarray(0, length)),
          fc.tuple(fc.nat(4900), fc.uint8Array({ minLength: 1, maxLength: 8 })).map(([at, bytes]) => {
            const copy = Uint8Array.from(good.quote);
            copy.set(
              bytes.map((byte, index) => copy[at + index]! ^ (byte || 1)),
              Math.min(at, copy.length - 8),
            );
            return copy;
          }),
        ),
        async (quote) => {
          fc.pre(hexOf(quote) !== hexOf(good.quote));
          const verdict = await judge({ evidence: { quote } });
          expect(verdict.accepted).toBe(false);
          expect(verdict.steps.length).toBeGreaterThan(15);
        },
      ),
      { numRuns: 60 },
    );
  }, 60_000);

  test("changed collateral", async () => {
    const names = ["tcbInfo", "qeIdentity", "rootCrl", "pckCrl"] as const;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...names),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (name, at, bits) => {
          const copy = Uint8Array.from(good.parts[name]);
          copy[at % copy.length]! ^= bits;
          const parts = { ...good.parts, [name]: copy };
          const verdict = await judge({ evidence: { collateral: Object.values(parts) } });
          // Digits of a signature in hex may be written large or small.
          const same =
            new TextDecoder().decode(copy).toLowerCase() ===
            new TextDecoder().decode(good.parts[name]).toLowerCase();
          expect(verdict.accepted && !same).toBe(false);
        },
      ),
      { numRuns: 40 },
    );
  }, 60_000);

  test("a time that is none", async () => {
    const verdict = await judge({ atMs: Number.NaN });
    expect(failing(verdict)).toEqual(expect.arrayContaining(["dates", "collateral-dates"]));
  });

  test("files without number and beyond every size", async () => {
    const collateral = [
      ...Array.from({ length: 300 }, () => concatBytes(bytesOf("{}"))),
      new Uint8Array(2 ** 20 + 1),
    ];
    expect((await judge({ evidence: { quote: new Uint8Array(70_000), collateral } })).accepted).toBe(false);
  });
});
