// SPDX-License-Identifier: Apache-2.0
/** How hot the machine is where it is hottest, by the kernel's own sensors. Null where it has none: no figure is made up. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ZONES = "/sys/class/thermal";
/** Sensors that are switched off say zero kelvin, or a hundred times what is there. */
const [CELSIUS_MIN, CELSIUS_MAX] = [-60, 200];

export function hottestCelsius(folder = ZONES): number | null {
  const found = zonesOf(folder)
    .map((zone) => read(join(folder, zone, "temp")))
    .filter((celsius) => celsius !== null);
  return found.length === 0 ? null : Math.max(...found);
}

function zonesOf(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name.startsWith("thermal_zone"));
  } catch {
    return [];
  }
}

/** Kept in thousandths. A sensor may be there and not answer. */
function read(path: string): number | null {
  try {
    const text = readFileSync(path, "utf8").trim();
    const celsius = /^-?\d{1,9}$/.test(text) ? Number(text) / 1000 : Number.NaN;
    return celsius >= CELSIUS_MIN && celsius <= CELSIUS_MAX ? celsius : null;
  } catch {
    return null;
  }
}
