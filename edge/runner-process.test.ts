// SPDX-License-Identifier: Apache-2.0
/** A runner as the agent has it, with a model that gives other scores for other pictures. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { counting, detector } from "../models/testing.ts";
import { Runner } from "./runner-process.ts";
import type { ManifestArtifact, WishedPipeline } from "./wish.ts";

const WAIT_MS = 30_000;
const pipelineOf = (modelUUID: string): WishedPipeline => ({
  ...{ UUID: "p", Name: "p", modelUUID, modelVersion: 1, resizingMethod: "Stretch", chains: [] },
});

describe("a runner", () => {
  let folder: string;
  let pictures: Buffer[];
  let runner: Runner;
  const artifactOf = (name: string, bytes: Buffer) => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    const artifact = { Function: name, Version: 1, InputDriverDetails: {}, MediaType: "application/x-onnx" };
    return { artifact: artifact as ManifestArtifact, path };
  };
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "casemate-runner-"));
    pictures = await Promise.all(
      ["#000000", "#404040", "#808080", "#c0c0c0", "#ffffff"].map((background) =>
        sharp({ create: { width: 640, height: 480, channels: 3, background } })
          .png()
          .toBuffer(),
      ),
    );
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  beforeEach(async () => {
    const artifacts = [artifactOf("things", detector())];
    runner = new Runner({ walls: null, artifacts: artifacts.map(({ path }) => path) });
    await runner.load(
      { artifacts, devices: [{ UUID: "gate", Pipelines: [pipelineOf("things")] }], threads: 1 },
      WAIT_MS,
    );
  });
  afterEach(() => runner.end());

  const look = async (picture: Buffer, timeoutMs = WAIT_MS) =>
    (await runner.run([pipelineOf("things")], picture, timeoutMs)).found[0]!.Detections.map(
      ({ Score }) => Score,
    );

  it("answers each of many that were asked at once as it does each alone", async () => {
    const alone: number[][] = [];
    for (const picture of pictures) alone.push(await look(picture));
    expect(new Set(alone.map(String)).size).toBe(pictures.length);
    expect(await Promise.all(pictures.map((picture) => look(picture)))).toEqual(alone);
  });

  it("fails at what is no picture, and goes on with the next", async () => {
    const [first, none, next] = await Promise.allSettled([
      look(pictures[0]!),
      look(Buffer.from("not a picture\n")),
      look(pictures[1]!),
    ]);
    expect([first!.status, none!.status, next!.status, runner.isOver]).toEqual([
      ...["fulfilled", "rejected", "fulfilled"],
      false,
    ]);
  });

  it("names the devices whose pipelines do not run on trial, and not the others", async () => {
    const broken = artifactOf("broken", Buffer.from("no model"));
    const fits = artifactOf("fits", detector());
    const devices = [
      { UUID: "gate", Pipelines: [pipelineOf("fits"), pipelineOf("broken")] },
      { UUID: "quay", Pipelines: [pipelineOf("fits")] },
      { UUID: "roof", Pipelines: [{ ...pipelineOf("fits"), chains: [pipelineOf("broken")] }] as never },
    ];
    const other = new Runner({ walls: null, artifacts: [broken.path, fits.path] });
    try {
      const loading = other.load({ artifacts: [broken, fits], devices, threads: 1 }, WAIT_MS);
      await expect(loading).rejects.toMatchObject({ devices: ["gate", "roof"] });
    } finally {
      other.end();
    }
  });

  it("that takes too long is ended, and what waited behind it is told so", async () => {
    const slow = artifactOf("slow", counting(200_000_000n));
    const other = new Runner({ walls: null, artifacts: [slow.path] });
    try {
      await other.load({ artifacts: [slow], devices: [], threads: 1 }, WAIT_MS);
      const asked = [1_000, WAIT_MS].map((timeoutMs) =>
        other.run([pipelineOf("slow")], pictures[0]!, timeoutMs),
      );
      const told = await Promise.allSettled(asked);
      for (const each of told)
        expect(each).toMatchObject({
          status: "rejected",
          reason: { message: "the models took more than 1000 ms" },
        });
      expect(other.isOver).toBe(true);
      await expect(other.run([], pictures[0]!, WAIT_MS)).rejects.toThrow("more than 1000 ms");
    } finally {
      other.end();
    }
  });
});
