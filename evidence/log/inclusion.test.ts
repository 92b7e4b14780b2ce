// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { makeSpecimen } from "../proofs/specimen.ts";
import { verifyProof } from "../proofs/verify.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { proofEntry } from "./entry.ts";
import type { Inclusion } from "./inclusion.ts";
import { makeLog } from "./specimen.ts";

const specimen = makeSpecimen();
const log = makeLog();
const AT = 5;
const entries = Array.from({ length: 13 }, (_, index) =>
  index === AT ? proofEntry(specimen.cdp) : Buffer.from(`entry ${index}`),
);
const held = (size = entries.length, all = entries) => openCheckpoint(log.checkpoint(all.slice(0, size)))!;
const judge = (inclusion: unknown, checkpoint = held(), keys = [log.noteKey]) =>
  verifyProof(specimen.bytes, {
    ...{ level: 3, issuers: [specimen.issuer] },
    transparency: { inclusion, trust: { held: checkpoint, keys } },
  });
const good = log.inclusion(entries, AT);

test("a proof in the tree whose checkpoint is held has level 3, with the log's key pinned or not", () => {
  expect(judge(good)).toMatchObject({ valid: true, level: 3, failures: [], warnings: [] });
  expect(judge(good, held(), [])).toMatchObject({ valid: true, level: 3 });
});

test("a proof that came after the checkpoint was saved has level 3 when the log is shown to have grown from it", () => {
  for (let size = 0; size <= entries.length; size++)
    expect(judge(log.inclusion(entries, AT, size), held(size)).level, `held ${size}`).toBe(3);
});

describe("what does not hold is named", () => {
  const forked = [...entries.slice(0, 3), Buffer.from("other"), ...entries.slice(4)];
  const rehashed = (change: (inclusion: Inclusion) => void) => {
    const copy = structuredClone(good);
    change(copy);
    return copy;
  };
  test.each([
    ["nothing", undefined, held(), "inclusion_malformed"],
    ["a list", [], held(), "inclusion_malformed"],
    ["no checkpoint", { ...good, checkpoint: "" }, held(), "inclusion_malformed"],
    [
      "another origin than its checkpoint",
      { ...good, origin: "example.org/other" },
      held(),
      "inclusion_malformed",
    ],
    ["another size than its checkpoint", { ...good, size: 12 }, held(), "inclusion_malformed"],
    ["a hash of another length", { ...good, proof: ["AAAA"] }, held(), "inclusion_malformed"],
    ["a negative index", { ...good, index: -1 }, held(), "inclusion_malformed"],
    [
      "more hashes than any tree needs",
      { ...good, proof: Array(65).fill(good.proof[0]) },
      held(),
      "inclusion_malformed",
    ],
    ["another index", { ...good, index: AT + 1 }, held(), "inclusion_invalid"],
    ["one hash less", rehashed(({ proof }) => proof.pop()), held(), "inclusion_invalid"],
    ["hashes in another order", rehashed(({ proof }) => proof.reverse()), held(), "inclusion_invalid"],
    ["the place of another entry", log.inclusion(entries, AT + 1), held(), "inclusion_invalid"],
    [
      "another log's tree",
      makeLog("example.org/other").inclusion(entries, AT),
      held(),
      "log_origin_mismatch",
    ],
    ["a tree of the same size that is another", log.inclusion(forked, AT), held(), "log_forked"],
    ["a longer tree that grew from another", log.inclusion(forked, AT, 6), held(6), "consistency_invalid"],
    ["a longer tree with nothing that shows its growth", good, held(6), "consistency_missing"],
    ["growth from another size", log.inclusion(entries, AT, 7), held(6), "consistency_missing"],
    [
      "an older tree than the one held",
      log.inclusion(entries.slice(0, 9), AT),
      held(),
      "consistency_missing",
    ],
    ["a checkpoint that another key signed", makeLog().inclusion(entries, AT), held(), "log_key_unknown"],
  ])("%s", (_name, inclusion, checkpoint, failure) => {
    const verdict = judge(inclusion, checkpoint);
    expect(verdict).toMatchObject({ valid: false, level: 2 });
    expect(verdict.failures).toContain(failure);
  });
});

test("level 3 asked for with nothing to show it is not given", () => {
  const verdict = verifyProof(specimen.bytes, { level: 3, issuers: [specimen.issuer] });
  expect(verdict).toMatchObject({ valid: false, level: 2, failures: ["inclusion_missing"] });
});

test("a place in the log lifts no proof whose issuer is unknown, or which is not whole", () => {
  const transparency = { inclusion: good, trust: { held: held() } };
  expect(verifyProof(specimen.bytes, { transparency })).toMatchObject({ level: 1 });
  expect(verifyProof(specimen.bytes, { transparency, level: 3 })).toMatchObject({ valid: false, level: 1 });
  const spoilt = new TextDecoder().decode(specimen.bytes).replace('"PHI"', '"PII"');
  expect(verifyProof(spoilt, { transparency, issuers: [specimen.issuer] })).toMatchObject({
    valid: false,
    level: 0,
  });
});

test("no change of one value in what shows it leaves level 3", () => {
  const paths = ["origin", "index", "size", "checkpoint", ...good.proof.map((_, at) => `proof.${at}`)];
  fc.assert(
    fc.property(fc.constantFrom(...paths), fc.jsonValue(), (path, value) => {
      const changed: Record<string, unknown> = structuredClone(good) as never;
      const [name, at] = path.split(".") as [string, string?];
      const was = at === undefined ? changed[name] : (changed[name] as unknown[])[Number(at)];
      fc.pre(JSON.stringify(was) !== JSON.stringify(value));
      if (at === undefined) changed[name] = value;
      else (changed[name] as unknown[])[Number(at)] = value;
      expect(judge(changed).level).toBe(2);
    }),
  );
});
