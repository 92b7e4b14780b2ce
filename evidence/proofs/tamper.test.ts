// SPDX-License-Identifier: Apache-2.0
/** Everything that can be changed about a genuine proof, changed: none of it may hold at level 2. */
import { array, assert, json, jsonValue, nat, property, tuple, uint8Array } from "fast-check";
import { describe, expect, test } from "vitest";
import { cpuMs } from "#testing/cpu-time.ts";
import { PinnedIssuer } from "./certificate.ts";
import { makeSpecimen } from "./specimen.ts";
import { FAILURES, type ProofVerdict, WARNINGS } from "./verdict.ts";
import { verifyProof } from "./verify.ts";

type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
type Path = (string | number)[];

const specimen = makeSpecimen();
const text = new TextDecoder().decode(specimen.bytes);
const genuine = JSON.parse(text) as Json;
const options = { issuers: [new PinnedIssuer(specimen.issuer)], level: 2 } as const;

/** Every place of a value, the value itself included. */
function* places(value: Json, path: Path = []): Generator<{ path: Path; value: Json }> {
  yield { path, value };
  if (typeof value !== "object" || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    yield* places(inner, [...path, Array.isArray(value) ? Number(name) : name]);
  }
}

/** A copy in which the container at `path` has been changed. */
function changed(path: Path, change: (container: Json) => void): Json {
  const copy = structuredClone(genuine);
  let at = copy;
  for (const name of path) at = (at as Record<string | number, Json>)[name]!;
  change(at);
  return copy;
}

const set = (path: Path, value: Json) =>
  changed(path.slice(0, -1), (container) => {
    (container as Record<string | number, Json>)[path.at(-1)!] = value;
  });

/** Other values that are as like the given one as can be. */
function likes(value: Json): Json[] {
  if (typeof value === "string") {
    const last = value.at(-1) ?? "";
    const middle = value.length >> 1;
    const turned = String.fromCharCode((value.charCodeAt(middle) || 97) ^ 1);
    return [
      value.slice(0, -1) + (last === "0" ? "1" : "0"),
      value.slice(0, middle) + turned + value.slice(middle + 1),
      `${value} `,
      ` ${value}`,
      `${value}\n`,
      "",
      null,
    ];
  }
  if (typeof value === "number")
    return [value + 1, value - 1, -value, value + 0.5, String(value), 2 ** 53, null];
  if (typeof value === "boolean") return [!value, null, String(value)];
  if (value === null) return [0, "", false, {}];
  return [];
}

const equal = (a: Json, b: Json) => JSON.stringify(a) === JSON.stringify(b);

describe("a genuine proof no longer holds at level 2", () => {
  const all = [...places(genuine)];
  const leaves = all.filter(({ value }) => typeof value !== "object" || value === null);
  const containers = all.filter(({ value }) => typeof value === "object" && value !== null);

  test("when any member has another value", () => {
    let tried = 0;
    for (const { path, value } of leaves) {
      for (const other of likes(value)) {
        // −0 is written as 0, and a path may hold the same value by chance.
        const copy = set(path, other);
        if (equal(copy, genuine)) continue;
        tried++;
        expect(verifyProof(copy, options).valid, `${path.join(".")} = ${JSON.stringify(other)}`).toBe(false);
      }
    }
    expect(tried).toBeGreaterThan(1000);
  });

  test("when any object has a member more", () => {
    for (const { path, value } of containers) {
      if (Array.isArray(value)) continue;
      for (const name of ["x", "__proto__", "toJSON", "constructor", ""]) {
        const copy = changed(path, (object) => {
          Object.defineProperty(object, name, { value: null, enumerable: true });
        });
        const { valid, level, failures } = verifyProof(JSON.stringify(copy), options);
        expect({ valid, level }, `${path.join(".")} with ${name}`).toEqual({ valid: false, level: 0 });
        expect(failures).toContain("unknown_member");
      }
    }
  });

  test("when any member or item is gone", () => {
    for (const { path, value } of containers) {
      for (const name of Object.keys(value as object)) {
        const copy = changed(path, (container) => {
          if (Array.isArray(container)) container.splice(Number(name), 1);
          else delete (container as Record<string, Json>)[name];
        });
        expect(verifyProof(copy, options).valid, `${path.join(".")} without ${name}`).toBe(false);
      }
    }
  });

  test("when any two items of a list are exchanged, or one is repeated", () => {
    for (const { path, value } of containers) {
      if (!Array.isArray(value)) continue;
      for (let index = 0; index < value.length; index++) {
        const repeated = changed(
          path,
          (list) => void (list as Json[]).splice(index, 0, structuredClone(value[index]!)),
        );
        expect(verifyProof(repeated, options).valid, `${path.join(".")}[${index}] twice`).toBe(false);
        for (let other = index + 1; other < value.length; other++) {
          const swapped = changed(path, (list) => {
            const items = list as Json[];
            [items[index], items[other]] = [items[other]!, items[index]!];
          });
          if (equal(swapped, genuine)) continue;
          expect(verifyProof(swapped, options).valid, `${path.join(".")}[${index}, ${other}]`).toBe(false);
        }
      }
    }
  });

  test("when a member is named twice, with the same value, anywhere", () => {
    for (const { index } of text.matchAll(/"[a-z_0-9]+":/g)) {
      const name = /"[^"]+":/.exec(text.slice(index))![0];
      const doubled = `${text.slice(0, index)}${name}null,${text.slice(index)}`;
      expect(verifyProof(doubled, options).failures).toEqual(["duplicate_key"]);
    }
  });

  test("when a bit of it is turned", () => {
    // Every 13th byte here; the deep test turns every bit of all of them.
    for (let index = 0; index < specimen.bytes.length; index += 13) {
      const copy = Uint8Array.from(specimen.bytes);
      copy[index]! ^= 1 << (index % 8);
      expect(verifyProof(copy, options).valid, `byte ${index}`).toBe(false);
    }
  });

  test("when it is cut short or continued", () => {
    for (let length = 0; length < text.length; length += 31) {
      expect(verifyProof(specimen.bytes.subarray(0, length), options).failures).toEqual(["not_json"]);
    }
    expect(verifyProof(`${text}{}`, options).failures).toEqual(["not_json"]);
  });
});

describe("every input gets a verdict and none an exception", () => {
  const wellFormed = ({ failures, warnings, valid, level, checks }: ProofVerdict) => {
    for (const failure of failures) expect(FAILURES).toHaveProperty(failure);
    for (const warning of warnings) expect(WARNINGS).toHaveProperty(warning);
    expect(valid).toBe(failures.length === 0);
    expect(Object.values(checks).map((check) => typeof check)).toEqual([
      "boolean",
      "boolean",
      "boolean",
      "number",
    ]);
    if (level === 0) expect(valid).toBe(false);
  };

  test("random JSON", () => {
    assert(
      property(json({ maxDepth: 6 }), (input) => wellFormed(verifyProof(input, options))),
      { numRuns: 500 },
    );
  });

  test("random bytes", () => {
    assert(
      property(uint8Array({ maxLength: 400 }), (input) => wellFormed(verifyProof(input))),
      { numRuns: 500 },
    );
  });

  test("genuine proofs with random values in random places", () => {
    const all = [...places(genuine)].filter(({ path }) => path.length > 0);
    const change = tuple(nat(all.length - 1), jsonValue({ maxDepth: 3 }));
    assert(
      property(array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const copy = structuredClone(genuine);
        for (const [index, value] of changes) {
          const { path } = all[index]!;
          let at: Json | undefined = copy;
          for (const name of path.slice(0, -1))
            at = (at as Record<string | number, Json> | undefined)?.[name];
          if (typeof at === "object" && at !== null) {
            (at as Record<string | number, Json>)[path.at(-1)!] = value as Json;
          }
        }
        const verdict = verifyProof(copy, options);
        wellFormed(verdict);
        if (!equal(copy, genuine)) expect(verdict.valid).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });

  test("values that no JSON is", () => {
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    const hostile = [
      undefined,
      null,
      0n,
      Symbol("proof"),
      () => {},
      circular,
      new Map(),
      Number.NaN,
      {
        get cdp_version() {
          throw new Error("read");
        },
      },
      {
        toJSON() {
          throw new Error("written");
        },
      },
      new Proxy(
        {},
        {
          ownKeys() {
            throw new Error("listed");
          },
        },
      ),
    ];
    for (const input of hostile) wellFormed(verifyProof(input, options));
  });

  test("a large document of junk is refused quickly", () => {
    const junk = JSON.stringify({ ...specimen.cdp, chain: Array.from({ length: 20_000 }, () => ({ a: 1 })) });
    const cost = cpuMs(() => expect(verifyProof(junk, options).valid).toBe(false));
    expect(cost).toBeLessThan(2000);
  });
});
