// SPDX-License-Identifier: Apache-2.0
/** Everything that an attacker can change, one change at a time: which step says no. */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type TpmExpectation, tpmDemandsOf } from "#evidence/policy/tpm.ts";
import { concatBytes, hexOf } from "../bytes.ts";
import { bytesOf, spkiOf } from "../x509/specimen.ts";
import { extendedBy, makeTpm, type Scheme, type TpmQuoteChange, writeEventLog } from "./specimen.ts";
import { type TpmEvidence, type TpmVerdict, verifyTpm } from "./verify.ts";
import { sized, u16, u32 } from "./wire.ts";

const EVENTS = [
  { pcr: 4, data: bytesOf("image") },
  { pcr: 4, data: bytesOf("kernel") },
  { pcr: 9, data: bytesOf("line") },
  { pcr: 11, data: bytesOf(".linux") },
  { pcr: 12, data: bytesOf("line") },
  { pcr: 0, data: bytesOf("firmware") },
];
const digest = (text: string) => {
  const log = writeEventLog([{ pcr: 4, data: bytesOf(text) }]);
  return log.slice(log.length - text.length - 4 - 32, log.length - text.length - 4);
};
const VALUES = [
  extendedBy(digest("image"), digest("kernel")),
  extendedBy(digest("line")),
  extendedBy(digest(".linux")),
  extendedBy(digest("line")),
];
const tpm = makeTpm();
const nonce = bytesOf("fresh");

interface Ask {
  by?: ReturnType<typeof makeTpm>;
  change?: TpmQuoteChange;
  evidence?: Partial<TpmEvidence>;
  expected?: TpmExpectation;
}

function judge({ by = tpm, change, evidence, expected = { nonce } }: Ask): Promise<TpmVerdict> {
  const made = by.quote({ extraData: nonce, values: VALUES, ...change });
  return verifyTpm(
    { ...made, key: by.key, eventLog: writeEventLog(EVENTS), ...evidence },
    { atMs: 0, demands: tpmDemandsOf(null, expected) },
  );
}

const failing = ({ steps }: TpmVerdict) => steps.filter(({ ok }) => !ok).map(({ name }) => name);

describe("a genuine quote is accepted", () => {
  test.each<Scheme>(["ecdsa", "rsassa", "rsapss"])("by a key of %s", async (scheme) => {
    const verdict = await judge({ by: makeTpm(scheme) });
    expect(failing(verdict)).toEqual([]);
    expect(verdict).toMatchObject({ accepted: true, hardware: false, pcrs: { 12: hexOf(VALUES[3]!) } });
  });

  test("with the values of its registers instead of a log, and with both", async () => {
    const pcrs = new Map([4, 9, 11, 12].map((pcr, index) => [pcr, VALUES[index]!]));
    const { key } = tpm;
    const made = tpm.quote({ extraData: nonce, values: VALUES });
    const bare = await verifyTpm({ ...made, key, pcrs }, { atMs: 0, demands: tpmDemandsOf(null, { nonce }) });
    expect(failing(bare)).toEqual([]);
    expect(bare.steps.map(({ name }) => name)).not.toContain("event-log");
    expect(failing(await judge({ evidence: { pcrs } }))).toEqual([]);
  });

  test("with its key in an envelope of its length, as tools write it", async () => {
    expect(failing(await judge({ evidence: { key: sized(tpm.key) } }))).toEqual([]);
  });

  test("of a register that nobody touched, and of register 0 from another locality", async () => {
    const change = {
      selection: [0, 4, 16, 17],
      values: [extendedBy(digest("firmware")), VALUES[0]!, new Uint8Array(32), new Uint8Array(32).fill(0xff)],
    };
    expect(failing(await judge({ change }))).toEqual([]);
    const elsewhere = writeEventLog(EVENTS, 3);
    expect(failing(await judge({ change, evidence: { eventLog: elsewhere } }))).toEqual([
      "pcrs",
      "event-log",
    ]);
  });

  test("and it says what nobody asked", async () => {
    const { unasked } = await judge({ expected: {} });
    expect(unasked.map(({ name }) => name)).toEqual(["reference-pcrs", "key-known", "nonce", "endorsement"]);
  });
});

describe("a quote is refused by exactly the step that its change speaks against", () => {
  test.each<[string, TpmQuoteChange, string[]]>([
    [
      "something from outside that the key signed",
      { magic: 0x12345678 },
      ["quote", "pcrs", "event-log", "nonce"],
    ],
    ["something else that the TPM made", { type: 0x8017 }, ["quote", "pcrs", "event-log", "nonce"]],
    ["a bank of SHA-1", { algorithm: 4 }, ["quote", "pcrs", "event-log", "nonce"]],
    ["bytes that follow", { after: Uint8Array.of(0) }, ["quote", "pcrs", "event-log", "nonce"]],
    ["no register", { selection: [], values: [] }, ["quote", "pcrs", "event-log", "nonce"]],
    ["another nonce", { extraData: bytesOf("stale") }, ["nonce"]],
    ["a nonce that only begins as it should", { extraData: bytesOf("fresher") }, ["nonce"]],
    ["other registers", { values: [VALUES[1]!, VALUES[1]!, VALUES[2]!, VALUES[3]!] }, ["pcrs", "event-log"]],
    ["another selection", { selection: [4, 9, 11, 13] }, ["pcrs", "event-log"]],
  ])("%s", async (_name, change, expected) => {
    const verdict = await judge({ change });
    expect(failing(verdict)).toEqual(expected);
    expect(verdict.accepted).toBe(false);
  });

  test.each<[string, number]>([
    ["signs anything", 0x00040072],
    ["decrypts", 0x00070072],
    ["does not sign", 0x00010072],
    ["can be given to another TPM", 0x00050070],
    ["can be given to another parent", 0x00050062],
    ["was made outside", 0x00050052],
  ])("a key that %s", async (_name, attributes) => {
    expect(failing(await judge({ by: makeTpm("ecdsa", { attributes }) }))).toEqual(["key"]);
  });

  test("a key with another hash in its name, or bytes behind it", async () => {
    for (const by of [makeTpm("ecdsa", { nameAlg: 4 }), makeTpm("rsassa", { after: Uint8Array.of(0) })])
      expect(failing(await judge({ by }))).toEqual(["key", "signature"]);
  });

  test("another's signature, one by another scheme, one with bytes behind it", async () => {
    const other = makeTpm().quote({ extraData: nonce, values: VALUES }).signature;
    const own = tpm.quote({ extraData: nonce, values: VALUES }).signature;
    for (const signature of [
      other,
      makeTpm("rsassa").quote({ values: VALUES }).signature,
      concatBytes(own, Uint8Array.of(0)),
      concatBytes(u16(0x18), u16(4), own.subarray(4)),
      new Uint8Array(),
    ])
      expect(failing(await judge({ evidence: { signature } }))).toEqual(["signature"]);
  });

  test("a log that lacks an event, has one more, or tells them in another order", async () => {
    const values = new Map([4, 9, 11, 12].map((pcr, index) => [pcr, VALUES[index]!]));
    for (const events of [
      EVENTS.slice(1),
      [...EVENTS, { pcr: 12, data: bytesOf("more") }],
      [EVENTS[1]!, EVENTS[0]!, ...EVENTS.slice(2)],
    ]) {
      const evidence = { eventLog: writeEventLog(events), pcrs: values };
      expect(failing(await judge({ evidence }))).toEqual(["event-log"]);
    }
  });

  test("registers of which one is missing, or of another length", async () => {
    const all = [4, 9, 11, 12].map((pcr, index) => [pcr, VALUES[index]!] as const);
    for (const pcrs of [new Map(all.slice(1)), new Map([...all, [4, new Uint8Array(31)] as const])])
      expect(failing(await judge({ evidence: { pcrs } }))).toEqual(["pcrs", "event-log"]);
  });
});

describe("a log is refused", () => {
  const good = writeEventLog(EVENTS);
  const set = (at: number, ...bytes: number[]) => {
    const copy = Uint8Array.from(good);
    copy.set(bytes, at);
    return copy;
  };
  const le32 = (value: number) => u32(value).reverse();
  test.each<[string, Uint8Array]>([
    ["of an older TPM", set(32, ...bytesOf("Spec ID Event00"))],
    ["whose first event is of a register", set(0, 4)],
    ["that names a bank twice", set(32 + 16 + 8 + 4, 0x0b)],
    ["without the bank of SHA-256", set(32 + 16 + 8 + 8, 0x0c)],
    ["with an event of register 24", writeEventLog([{ pcr: 24, data: bytesOf("x") }])],
    ["that is cut off", good.subarray(0, good.length - 1)],
    ["that has a byte more", concatBytes(good, Uint8Array.of(0))],
    [
      "with an event that is longer than the log",
      concatBytes(good.subarray(0, good.length - 12), le32(0x7fffffff)),
    ],
    [
      "that says late from where the TPM was started",
      writeEventLog([
        EVENTS[0]!,
        { pcr: 0, type: 3, data: concatBytes(bytesOf("StartupLocality\0"), Uint8Array.of(3)) },
      ]),
    ],
  ])("%s", async (_name, eventLog) => {
    const { steps } = await judge({ evidence: { eventLog } });
    const step = steps.find(({ name }) => name === "event-log")!;
    expect(step.ok).toBe(false);
    expect(step.detail).toContain("The log is refused");
  });
});

describe("every input gets a document and none an exception", () => {
  test("random and changed bytes in each place", async () => {
    const made = tpm.quote({ extraData: nonce, values: VALUES });
    const whole = { ...made, key: tpm.key, eventLog: writeEventLog(EVENTS) };
    const places = ["quote", "signature", "key", "eventLog"] as const;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...places),
        fc.oneof(
          fc.uint8Array({ maxLength: 300 }).map((bytes) => () => bytes),
          fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })).map(([at, bits]) => (good: Uint8Array) => {
            const copy = Uint8Array.from(good);
            copy[at % copy.length]! ^= bits;
            return copy;
          }),
          fc.nat().map((length) => (good: Uint8Array) => good.subarray(0, length % good.length)),
        ),
        async (place, spoil) => {
          const verdict = await verifyTpm(
            { ...whole, [place]: spoil(whole[place]) },
            { atMs: 0, demands: tpmDemandsOf(null, { nonce, keyName: "00" }) },
          );
          expect(verdict.accepted).toBe(false);
          expect(verdict.steps.length).toBeGreaterThan(5);
        },
      ),
      { numRuns: 400 },
    );
  });

  test("a changed byte of what is signed, or of the key, is never accepted", async () => {
    const made = tpm.quote({ extraData: nonce, values: VALUES });
    const keyName = (await judge({})).keyName!;
    const judgement = { atMs: 0, demands: tpmDemandsOf(null, { nonce, keyName }) };
    const whole = { ...made, key: tpm.key, eventLog: writeEventLog(EVENTS) };
    expect((await verifyTpm(whole, judgement)).accepted).toBe(true);
    for (const place of ["quote", "signature", "key"] as const)
      for (let at = 0; at < whole[place].length; at++) {
        const copy = Uint8Array.from(whole[place]);
        copy[at]! ^= 1 << (at % 8);
        const { accepted } = await verifyTpm({ ...whole, [place]: copy }, judgement);
        expect({ place, at, accepted }).toEqual({ place, at, accepted: false });
      }
  });

  test("nothing at all", async () => {
    const none = new Uint8Array();
    const verdict = await judge({ evidence: { quote: none, signature: none, key: none, eventLog: none } });
    expect(failing(verdict)).toEqual(["key", "quote", "signature", "pcrs", "event-log", "nonce"]);
  });

  test("a key that is none of a TPM's", async () => {
    const key = spkiOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
    for (const one of [key, randomBytes(5000)])
      expect(failing(await judge({ evidence: { key: one } }))).toEqual(["key", "signature"]);
  });
});
