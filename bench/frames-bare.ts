// SPDX-License-Identifier: Apache-2.0
/** The baseline of the edge agent: a loop that decodes, resizes and runs, and nothing else. `<model> <pictures> <warm>`; says how many pictures a second. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";

const [model, folder, warm] = process.argv.slice(2) as [string, string, string];
const session = await InferenceSession.create(model, {
  ...{ intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: "sequential", logSeverityLevel: 3 },
});
const [input] = session.inputMetadata;
if (input === undefined || !input.isTensor) throw new Error("the model has no input");
const [, channels, height, width] = input.shape as [number, number, number, number];
let begun = performance.now();
let seen = 0;
let most = 0;
for (const name of readdirSync(folder).sort()) {
  if (seen++ === Number(warm)) begun = performance.now();
  const picture = readFileSync(join(folder, name));
  const pixels = await sharp(picture)
    .resize(width, height, { fit: "fill", kernel: "linear" })
    .raw()
    .toBuffer();
  const area = width * height;
  const values = new Float32Array(channels * area);
  for (let channel = 0; channel < channels; channel++)
    for (let at = 0; at < area; at++) values[channel * area + at] = pixels[at * channels + channel]! / 255;
  const outputs = await session.run({
    [input.name]: new Tensor("float32", values, [1, channels, height, width]),
  });
  for (const { data } of Object.values(outputs)) most = Math.max(most, ...(data as Float32Array));
}
if (!(most > 0)) throw new Error("the model found nothing");
process.stdout.write(`${(seen - Number(warm)) / ((performance.now() - begun) / 1000)}\n`);
process.exit(0);
