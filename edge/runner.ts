// SPDX-License-Identifier: Apache-2.0
/**
 * The process that runs models, started by the agent (runner-process.ts): a model that hangs, or takes all
 * memory, ends this one, and the agent goes on. It has no key and speaks to nobody else: a line of JSON
 * comes in, a picture's bytes behind it, a line goes out.
 *
 *     load     every model of a wish, then one grey picture through every pipeline: what fails, fails here
 *     run      one picture through the pipelines of one device
 */
import sharp from "sharp";
import { readAsks } from "./asks.ts";
import { type Found, type Loaded, load, modelKey, runPipeline, Turns } from "./pipelines.ts";
import { type ManifestArtifact, runs, type WishedDevice, type WishedPipeline } from "./wish.ts";

export type RunnerAsk =
  | {
      kind: "load";
      artifacts: { artifact: ManifestArtifact; path: string }[];
      devices: Pick<WishedDevice, "UUID" | "Pipelines">[];
      threads: number;
    }
  | { kind: "run"; pipelines: WishedPipeline[]; pictureBytes: number };

export type RunnerAnswer =
  | { kind: "loaded" }
  | { kind: "ran"; found: Found[]; eachMs: number[]; tookMs: number }
  /** `devices`: whose pipelines it were, of a wish on trial. */
  | { kind: "failed"; message: string; devices: string[] };

const models = new Map<string, Loaded>();
const turns = new Turns();
const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).slice(0, 500);

async function answer(ask: RunnerAsk, picture: Buffer): Promise<RunnerAnswer> {
  if (ask.kind === "load") {
    const faults = new Map<string, string>();
    const blame = (who: typeof ask.devices, error: unknown) => {
      for (const { UUID } of who) if (!faults.has(UUID)) faults.set(UUID, messageOf(error));
    };
    for (const { artifact, path } of ask.artifacts)
      try {
        models.set(
          modelKey(artifact.Function, artifact.Version),
          await load(artifact, path, { threads: ask.threads, turns }),
        );
      } catch (error) {
        const who = ask.devices.filter(({ Pipelines }) => runs(Pipelines, artifact));
        blame(who, error);
      }
    const grey = await sharp({ create: { width: 320, height: 240, channels: 3, background: "#808080" } })
      .png()
      .toBuffer();
    for (const device of ask.devices)
      for (const pipeline of device.Pipelines)
        await tryAll(pipeline, grey).catch((error: unknown) => blame([device], error));
    const [message] = faults.values();
    return message === undefined
      ? { kind: "loaded" }
      : { kind: "failed", message, devices: [...faults.keys()] };
  }
  const from = performance.now();
  const found: Found[] = [];
  const eachMs: number[] = [];
  for (const pipeline of ask.pipelines) {
    const began = performance.now();
    found.push(await runPipeline(models, pipeline, picture));
    eachMs.push(performance.now() - began);
  }
  return { kind: "ran", found, eachMs, tookMs: performance.now() - from };
}

/** Also what a grey picture would not lead to. */
async function tryAll(pipeline: WishedPipeline, picture: Buffer): Promise<void> {
  const direct = pipeline.chains.filter(({ Mode }) => Mode === "Direct");
  await runPipeline(models, { ...pipeline, chains: direct }, picture);
  for (const chain of pipeline.chains) if (chain.Mode !== "Direct") await tryAll(chain, picture);
}

/** Answers go out in the order of the questions; the agent has no more than two under way. */
let told: Promise<unknown> = Promise.resolve();
for await (const { ask, picture } of readAsks(process.stdin)) {
  const said = answer(ask, picture).catch(
    (error: unknown): RunnerAnswer => ({
      ...{ kind: "failed", message: messageOf(error), devices: [] },
    }),
  );
  told = told.then(async () => {
    const line = `${JSON.stringify(await said)}\n`;
    await new Promise((resolve) => process.stdout.write(line, resolve));
  });
  if (ask.kind === "load") await told;
}
await told;
// Nobody asks any more; sessions that were not released hold threads.
process.exit(0);
