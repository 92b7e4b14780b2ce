// SPDX-License-Identifier: Apache-2.0
import sharp from "sharp";
import { expect, it } from "vitest";
import { prepareImage } from "./image.ts";

/** Two pixels beside each other. */
const picture = () =>
  sharp(Buffer.from([10, 20, 30, 110, 120, 130]), { raw: { width: 2, height: 1, channels: 3 } })
    .png()
    .toBuffer();
const numbers = { mean: [10, 20, 30], scale: [1, 2, 4], resize: "Stretch" } as const;

it.each([
  ["plane by plane", 0, [0, 100, 0, 50, 0, 25]],
  ["pixel by pixel", 1, [0, 0, 0, 100, 50, 25]],
])(
  "gives a picture's numbers %s, each less its mean and in parts of its scale",
  async (_how, order, values) => {
    const { mean, scale, resize } = numbers;
    const options = { mean: [...mean], scale: [...scale], order, resize };
    const prepared = await prepareImage(await picture(), { height: 1, width: 2, channels: 3 }, options);
    expect([...prepared.values]).toEqual(values);
    expect(prepared.geometry).toMatchObject({ width: 2, height: 1, scaleX: 1, scaleY: 1 });
  },
);

it("has one number of a pixel for a model that sees no colours, and says what is no picture", async () => {
  const grey = { mean: [0], scale: [1], order: 0, resize: "Stretch" as const };
  const size = { height: 1, width: 2, channels: 1 };
  const { values } = await prepareImage(await picture(), size, grey);
  expect(values.length).toBe(2);
  expect(values[0]!).toBeLessThan(values[1]!);
  await expect(prepareImage(Buffer.from("nothing"), size, grey)).rejects.toThrow();
});
