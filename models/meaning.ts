// SPDX-License-Identifier: Apache-2.0
/** From the tensors that a model gives to what it found, by the names of its outputs (io-name.ts). */
import { boxInImage, type Geometry } from "./image.ts";
import { classesOf, outputRoleOf, parseIoName } from "./io-name.ts";
import type { Detection } from "./job.ts";

/** As the runtime gives it. */
export interface Output {
  dims: readonly number[];
  data: unknown;
  type: string;
}

/** What an output says by its name, in the picture's own pixels; scores below the threshold are left out. */
export function meaningOf(
  name: string,
  { dims, data, type }: Output,
  threshold: number,
  geometry: Geometry | null,
): Detection[] {
  const parsed = parseIoName(name);
  const role = parsed.ok ? outputRoleOf(parsed.name) : null;
  if (!parsed.ok || role === null || (type !== "float32" && type !== "bool")) return [];
  const listed = classesOf(parsed.name);
  const called = (index: number) => (listed.ok ? (listed.classes[index] ?? String(index)) : String(index));
  const values = data as Float32Array | Uint8Array;
  if (role === "bboxes") return boxes(values, dims, threshold, geometry, called);
  return Array.from(values, (value, index) => ({ Class: called(index), Score: Number(value), Box: [] }))
    .filter(({ Score }) => Number.isFinite(Score) && (role === "scores" ? Score >= threshold : Score > 0))
    .sort((one, other) => other.Score - one.Score);
}

function boxes(
  values: ArrayLike<number>,
  dims: readonly number[],
  threshold: number,
  geometry: Geometry | null,
  called: (index: number) => string,
): Detection[] {
  if (dims.at(-1) !== 6) return [];
  const found: Detection[] = [];
  for (let at = 0; at + 6 <= values.length; at += 6) {
    const row = Array.from({ length: 6 }, (_each, index) => values[at + index]!);
    if (!row.every(Number.isFinite) || row[4]! < threshold) continue;
    const box = row.slice(0, 4);
    found.push({
      Class: called(row[5]!),
      Score: row[4]!,
      Box: geometry === null ? box : boxInImage(box, geometry),
    });
  }
  return found;
}
