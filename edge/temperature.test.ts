// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { hottestCelsius } from "./temperature.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-thermal-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const zone = (name: string, text: string) => {
  mkdirSync(join(folder, name));
  writeFileSync(join(folder, name, "temp"), text);
};

it("is that of the hottest sensor, and of nothing that is none", () => {
  zone("thermal_zone0", "41500\n");
  zone("thermal_zone1", "63250\n");
  zone("cooling_device0", "99000\n");
  expect(hottestCelsius(folder)).toBe(63.25);
});

it("below zero is a temperature too", () => {
  zone("thermal_zone0", "-12000\n");
  expect(hottestCelsius(folder)).toBe(-12);
});

it("is none where nothing is measured, or no sensor says what can be", () => {
  expect(hottestCelsius(folder)).toBeNull();
  expect(hottestCelsius(join(folder, "absent"))).toBeNull();
  for (const [at, text] of ["-274000", "2147483647", "", "warm", "1e3", "0x10"].entries())
    zone(`thermal_zone${at}`, text);
  mkdirSync(join(folder, "thermal_zone9", "temp"), { recursive: true });
  expect(hottestCelsius(folder)).toBeNull();
});
