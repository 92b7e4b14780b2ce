// SPDX-License-Identifier: Apache-2.0
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { printedBy } from "#testing/printed.ts";
import { billOfMaterials, npmComponents, sbomCommand } from "./sbom.ts";

const lockOf = (path: string) => JSON.parse(readFileSync(new URL(`../${path}`, import.meta.url), "utf8"));

test("every package that the lock names is told of, with the hash by which it is installed", () => {
  const { components } = billOfMaterials();
  const told = new Map(components.map((one) => [one["bom-ref"], one]));
  let hashed = 0;
  for (const [path, entry] of Object.entries<{ version: string; integrity?: string }>(
    lockOf("package-lock.json").packages,
  )) {
    if (path === "") continue;
    const name = path.split("node_modules/").at(-1)!;
    const one = told.get(`pkg:npm/${name.replace("@", "%40")}@${encodeURIComponent(entry.version)}`);
    expect([path, one?.name]).toEqual([path, name]);
    if (entry.integrity === undefined) continue;
    hashed++;
    const hex = Buffer.from(entry.integrity.slice("sha512-".length), "base64").toString("hex");
    expect(one!.hashes).toEqual([{ alg: "SHA-512", content: hex }]);
  }
  expect(hashed).toBeGreaterThan(100);
});

test("every package of every guest image is told of, its agent's too, and what is in none as excluded", () => {
  const images = billOfMaterials().components.filter(({ type }) => type === "operating-system");
  expect(images.map(({ name }) => name)).toEqual(
    ["base", "openclaw", "containers"].map((name) => `guest image ${name}`),
  );
  for (const image of images) {
    const { packages } = lockOf(`images/${image.name.split(" ").at(-1)}.lock.json`);
    const debian = image.components!.filter(({ purl }) => purl!.startsWith("pkg:deb/"));
    expect(debian.map(({ name, version, hashes }) => [name, version, hashes![0]!.content])).toEqual(
      packages.map((one: { name: string; version: string; sha256: string }) => [
        one.name,
        one.version,
        one.sha256,
      ]),
    );
    const compilers = packages.filter(({ use }: { use: string }) => use === "compiler").length;
    expect(debian.filter(({ scope }) => scope === "excluded")).toHaveLength(compilers);
  }
  const agent = images[1]!.components!.find(({ name }) => name === "openclaw")!;
  expect(agent.hashes![0]!.alg).toBe("SHA-512");
});

test("no reference stands for two, and the same locks give the same bytes", async () => {
  const { components } = billOfMaterials();
  const refs = components.flatMap((one) => [one, ...(one.components ?? [])]).map((one) => one["bom-ref"]);
  expect(new Set(refs).size).toBe(refs.length);
  const digestOf = (text: string) => createHash("sha256").update(text).digest("hex");
  const [one, other] = [
    await printedBy((io) => sbomCommand([], io)),
    await printedBy((io) => sbomCommand([], io)),
  ];
  expect([one.code, digestOf(one.out)]).toEqual([0, digestOf(other.out)]);
  expect(JSON.parse(one.out)).toMatchObject({ bomFormat: "CycloneDX", specVersion: "1.6" });
  expect((await printedBy((io) => sbomCommand(["x"], io))).code).toBe(2);
});

test("a package that something needs to run is required, whoever else has it only to test", () => {
  const found = npmComponents({
    "": { version: "1" },
    "node_modules/a": { version: "1.0.0", dev: true, license: "MIT" },
    "node_modules/b/node_modules/a": { version: "1.0.0", license: "(MIT OR Apache-2.0)" },
    "node_modules/@x/c": { version: "2.0.0+z", dev: true, license: "SEE LICENSE IN LICENSE" },
    "node_modules/d": { version: "1.0.0", license: "(MIT OR CC0-1.0)", optional: true },
    "node_modules/other": { name: "real", version: "3.0.0" },
  });
  expect(found.map(({ purl, scope, licenses }) => [purl, scope, licenses])).toEqual([
    ["pkg:npm/%40x/c@2.0.0%2Bz", "excluded", [{ license: { name: "SEE LICENSE IN LICENSE" } }]],
    ["pkg:npm/a@1.0.0", "required", [{ license: { id: "MIT" } }]],
    ["pkg:npm/d@1.0.0", "optional", [{ expression: "(MIT OR CC0-1.0)" }]],
    ["pkg:npm/real@3.0.0", "required", undefined],
  ]);
  expect(() => npmComponents({ "node_modules/a": { version: "1", integrity: "sha1-xx" } })).toThrow(
    /no SHA-512/,
  );
});
