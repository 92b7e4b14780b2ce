// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: compose's variables, not ours
/**
 * What the policy promises of every document: a refused construct is refused wherever it stands and
 * however it is spelled, and what is accepted has nothing in it that was not allowed. A failure prints
 * its seed.
 */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { checkCompose, FILES_ROOT } from "./check.ts";
import { spell } from "./spelling.ts";
import { ask, DIGEST } from "./testing.ts";
import { composeText } from "./text.ts";

type Value = string | number | boolean | null | Value[] | { [key: string]: Value };

/** Chooses by a list of numbers, over and over. */
const chooser = (numbers: number[]) => {
  let at = 0;
  return (n: number) => (numbers[at++ % numbers.length] ?? 0) % n;
};
const choices = fc.array(fc.nat({ max: 100_000 }), { minLength: 20, maxLength: 60 });
/** Text that a file can hold, with dollars and the characters that YAML readers differ on. */
const anyText = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "$",
        "$",
        "{",
        "}",
        ":",
        "#",
        "'",
        '"',
        "\\",
        "\n",
        "\t",
        " ",
        "-",
        "\u0085",
        "\u2028",
        "\ufeff",
        "\u007f",
        "é",
        "😀",
      ),
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 3 }),
    ),
    { maxLength: 20 },
  )
  .map((parts) => parts.join(""))
  .filter((text) => text.isWellFormed() && !text.includes("\0"));
const dollarsDoubled = (text: string) => text.replaceAll("$", "$$$$");

const member = fc.oneof(
  anyText.map((text) => ["command", dollarsDoubled(text)]),
  fc.array(anyText, { maxLength: 3 }).map((texts) => ["entrypoint", texts.map(dollarsDoubled)]),
  anyText.map((text) => ["environment", { A: dollarsDoubled(text), B: "1" }]),
  fc.constantFrom<[string, Value]>(
    ["restart", "always"],
    ["ports", ["8081:80", 9000]],
    ["volumes", ["data:/data", "$FILES/app.env:/x", { type: "tmpfs", target: "/t" }]],
    ["deploy", { resources: { limits: { cpus: "0.5", memory: "64m" } } }],
    ["init", true],
    ["privileged", false],
    ["healthcheck", { test: ["CMD", "true"], retries: 3 }],
    ["tmpfs", ["/run"]],
    ["networks", ["back"]],
  ),
) as fc.Arbitrary<[string, Value]>;

const serviceOf = fc.array(member, { maxLength: 5 }).map((members) => ({
  image: `caddy@${DIGEST}`,
  ...Object.fromEntries(members),
}));

const documentOf = fc.record({ api: serviceOf, web: serviceOf, db: serviceOf }).map((services) => ({
  services: services as { [name: string]: { [key: string]: Value } },
  volumes: { data: {} } as { [key: string]: Value },
  networks: { back: {} } as { [key: string]: Value },
}));

/** A member of a service that must not be, and the end of the path that must be named. */
const IN_SERVICE: [string, Value, string?][] = [
  ["privileged", true],
  ["privileged", "true"],
  ["privileged", "${YES}"],
  ["privileged", [true]],
  ["privileged", { a: 1 }],
  ["cap_add", ["ALL"]],
  ["cap_add", "ALL"],
  ["cap_add", null],
  ["security_opt", ["apparmor=unconfined"]],
  ["devices", ["/dev/mem"]],
  ["pid", "host"],
  ["pid", "${HOST}"],
  ["ipc", "host"],
  ["network_mode", "host"],
  ["network_mode", "container:x"],
  ["userns_mode", "host"],
  ["cgroup_parent", "/"],
  ["use_api_socket", true],
  ["extends", { service: "db", file: "x.yaml" }, ".file"],
  ["build", { context: "/" }],
  ["ports", ["80:80"], "[0]"],
  ["ports", [{ target: 1, published: 443 }], "[0]"],
  ["ports", [9000, "0.0.0.0:81:80"], "[1]"],
  ["ports", [{ target: 1, published: 81, host_ip: "::" }], "[0].host_ip"],
  ["ports", { 8080: 80 } as Value],
  ["volumes", ["/:/host"], "[0]"],
  ["volumes", ["data:/ok", "${ROOT}:/host"], "[1]"],
  ["volumes", ["$FILES/../..:/host"], "[0]"],
  ["volumes", [{ type: "bind", source: "/", target: "/x" }], "[0]"],
  ["volumes", [{ type: "volume", source: "/", target: "/x" }], "[0]"],
  ["volumes", { data: "/x" }],
  ["env_file", "/proc/1/environ"],
  ["env_file", ["$FILES/app.env", "../x"], "[1]"],
  ["networks", ["host"], "[0]"],
  ["logging", { driver: "gelf" }, ".driver"],
  ["sysctls", { "kernel.shm_rmid_forced": 1 }],
  ["healthcheck", { test: "x", privileged: true }, ".privileged"],
  ["unknown", 1],
];

const AT_TOP: [string, Value, string?][] = [
  ["include", ["x.yaml"]],
  ["unknown", {}],
  ["volumes", { data: { driver_opts: { device: "/" } } }, ".data.driver_opts"],
  ["volumes", { data: { external: true } }, ".data.external"],
  ["networks", { back: { external: true } }, ".back.external"],
  ["networks", { back: { driver: "macvlan" } }, ".back.driver"],
  ["secrets", { s: { file: "/etc/shadow" } }, ".s.file"],
  ["configs", { c: { file: "${ROOT}etc/shadow" } }, ".c.file"],
];

const variables = { FOO: "42", YES: "true", HOST: "host", ROOT: "/" };
const paths = (verdict: ReturnType<typeof checkCompose>) =>
  verdict.ok ? [] : verdict.violations.map(({ path }) => path);

const RUNS = 300;

describe("a refused construct is refused, and its path named, however it is spelled", () => {
  test("in a service", () => {
    fc.assert(
      fc.property(
        documentOf,
        fc.constantFrom(...IN_SERVICE),
        fc.constantFrom("api", "web", "db"),
        choices,
        (document, [key, value, rest = ""], name, numbers) => {
          document.services[name]![key] = value;
          const text = spell(document, chooser(numbers));
          expect(paths(checkCompose(ask(text, { env: variables }))), text).toContain(
            `services.${name}.${key}${rest}`,
          );
        },
      ),
      { numRuns: 2 * RUNS },
    );
  });

  test("beside the services", () => {
    fc.assert(
      fc.property(
        documentOf,
        fc.constantFrom(...AT_TOP),
        choices,
        (document, [key, value, rest = ""], numbers) => {
          const text = spell({ ...document, [key]: value }, chooser(numbers));
          expect(paths(checkCompose(ask(text, { env: variables }))), text).toContain(`${key}${rest}`);
        },
      ),
      { numRuns: RUNS },
    );
  });

  test("as one of two keys of the same name", () => {
    fc.assert(
      fc.property(fc.boolean(), choices, (first, numbers) => {
        const pick = chooser(numbers);
        const one = (value: boolean) =>
          spell({ privileged: value }, (n) => pick(n))
            .trimEnd()
            .replaceAll("\n", "\n    ");
        const text = `services:\n  api:\n    image: a\n    ${one(first)}\n    ${one(!first)}\n`;
        // Hoisted aliases land in the service here, as extensions of it.
        expect(paths(checkCompose(ask(text))), text).toContain("services.api.privileged");
      }),
      { numRuns: RUNS },
    );
  });
});

/** What Docker would make of a text, had it our document; throws where it would replace something. */
function dockerReads(text: string): string {
  return text.replaceAll(/\$(.?)/gs, (_all, next: string) => {
    if (next !== "$") throw new Error("Docker would replace something here");
    return "$";
  });
}

const NEVER = new Set(
  "privileged cap_add security_opt devices device_cgroup_rules userns_mode uts cgroup cgroup_parent use_api_socket build include file_opts driver driver_opts ipam external host_ip runtime sysctls provider post_start pre_stop volumes_from annotations <<".split(
    " ",
  ),
);

/** Every promise about an accepted document that can be read off the document alone. */
function expectHarmless(value: unknown, path: string[] = []): void {
  if (typeof value === "string") {
    dockerReads(value);
    return;
  }
  if (typeof value !== "object" || value === null) return;
  if (Array.isArray(value)) {
    for (const [index, one] of value.entries()) expectHarmless(one, [...path, String(index)]);
    return;
  }
  const free = path.at(-1) === "environment" || path.at(-1) === "labels" || path.length === 1;
  for (const [key, inner] of Object.entries(value)) {
    expect(key).not.toContain("$");
    if (!free && !(key === "driver" && path.includes("devices")))
      expect(NEVER.has(key) && !path.includes("resources"), [...path, key].join(".")).toBe(false);
    expectHarmless(inner, [...path, key]);
  }
  const { type, source } = value as { type?: unknown; source?: unknown };
  if (type === "bind") expect(source).toMatch(new RegExp(`^${FILES_ROOT}/`));
}

describe("an accepted document", () => {
  test("gives Docker the client's words, byte for byte, whatever they are and however they were spelled", () => {
    fc.assert(
      fc.property(documentOf, choices, (document, numbers) => {
        const text = spell(document, chooser(numbers));
        const verdict = checkCompose(ask(text, { env: variables }));
        expect(paths(verdict), text).toEqual([]);
        if (!verdict.ok) return;
        expectHarmless(verdict.plan.document);
        for (const [name, wanted] of Object.entries(document.services)) {
          const given = (verdict.plan.document.services as Record<string, Record<string, unknown>>)[name]!;
          for (const key of ["command", "entrypoint", "environment"]) expect(given[key]).toEqual(wanted[key]);
        }
      }),
      { numRuns: RUNS },
    );
  });

  test("is the same to every reader once it is text again", () => {
    fc.assert(
      fc.property(documentOf, (document) => {
        const verdict = checkCompose(
          ask(
            JSON.stringify(document)
              .replaceAll(/[^\x20-\x7e]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`)
              .replaceAll(/\\u(d[89ab]..)\\u(d[c-f]..)/g, (_all, high: string, low: string) =>
                String.fromCharCode(Number.parseInt(high, 16), Number.parseInt(low, 16)),
              ),
          ),
        );
        expect(paths(verdict)).toEqual([]);
        if (!verdict.ok) return;
        const written = composeText(verdict.plan.document);
        expect(JSON.parse(written)).toEqual(verdict.plan.document);
        for (const version of ["1.1", "1.2"] as const)
          expect(parse(written, { version })).toEqual(verdict.plan.document);
        expect(written).toMatch(/^[^\n\u0000-\u001f\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]*\n$/u);
      }),
      { numRuns: RUNS },
    );
  });

  const words = fc.constantFrom(
    ..."services api image command ports volumes networks secrets configs environment privileged cap_add devices pid network_mode build extends file service deploy resources limits type source target bind driver external name x-y tmpfs labels env_file published host_ip".split(
      " ",
    ),
  );
  const scalars = fc.oneof(
    fc.constantFrom<Value>(
      "a",
      "host",
      "true",
      "false",
      true,
      false,
      null,
      0,
      80,
      8080,
      "80:80",
      "8081:80",
      "/",
      "/x",
      "data",
      "data:/x",
      "/:/x",
      "$FILES/app.env:/x",
      "${ROOT}",
      "$$",
      "service:api",
      "64m",
    ),
    fc.string({ maxLength: 5 }),
  );
  const { tree } = fc.letrec<{ tree: Value }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5, depthSize: "small" },
      scalars,
      fc.array(tie("tree"), { maxLength: 3 }),
      fc.dictionary(words, tie("tree"), { maxKeys: 5, noNullPrototype: true }),
    ),
  }));

  test("is harmless, from whatever mixture of compose's words it was made", () => {
    let ok = 0;
    fc.assert(
      fc.property(
        fc.dictionary(words, tree, { maxKeys: 4, noNullPrototype: true }),
        tree,
        choices,
        (service, more, numbers) => {
          const { extends: _, build: __, ...rest } = service as { [key: string]: Value };
          const document = {
            services: { api: { ...rest, image: "a" } as Value },
            volumes: { data: more ?? {} },
          };
          const text = spell(document, chooser(numbers));
          const verdict = checkCompose(ask(text, { env: variables }));
          const dangerous = ["privileged", "cap_add", "devices"].some(
            (key) =>
              Object.hasOwn(rest, key) &&
              !(key === "privileged" && [false, "false", null].includes(rest[key] as null)),
          );
          if (dangerous) expect(verdict.ok, text).toBe(false);
          if (!verdict.ok) return;
          ok++;
          expectHarmless(verdict.plan.document);
        },
      ),
      { numRuns: 4 * RUNS },
    );
    expect(ok).toBeGreaterThan(0);
  });

  test("or any text at all, is answered and never thrown at", () => {
    const pieces = fc.constantFrom(
      ..."services: |api: |image: a|\n|  |    |- |? |{|}|[|]|,|&a |*a|<<: |!!str |!x |'|\"|#|%YAML 1.2|---|...|\\x41|$|${|:|\t|\r\n|>-|@|`".split(
        "|",
      ),
      "|",
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
        const verdict = checkCompose(ask(parts.join("")));
        if (verdict.ok) expectHarmless(verdict.plan.document);
        else
          for (const { line, message } of verdict.violations)
            expect(line >= 1 && message.length < 400).toBe(true);
      }),
      { numRuns: 4 * RUNS },
    );
  });
});
