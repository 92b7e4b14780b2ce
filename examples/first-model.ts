// SPDX-License-Identifier: Apache-2.0
/**
 * A first model and pictures for it, made here since neither can be downloaded from this repository:
 *
 *     node examples/first-model.ts FOLDER     FOLDER/model.onnx and FOLDER/pictures
 *
 * The model has three boxes in fixed places, each scored by what a small convolution makes of the picture.
 * It finds nothing that means anything; it goes the way of one that does.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { detector } from "../models/testing.ts";

const folder = process.argv[2];
if (folder === undefined) throw new Error("usage: first-model.ts FOLDER");
mkdirSync(join(folder, "pictures"), { recursive: true });
writeFileSync(join(folder, "model.onnx"), detector());
for (const [name, background] of Object.entries({ red: "#c02010", green: "#10c030", blue: "#2040f0" }))
  await sharp({ create: { width: 320, height: 240, channels: 3, background } })
    .png()
    .toFile(join(folder, "pictures", `${name}.png`));
