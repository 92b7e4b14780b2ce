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
import { type Found, type Loaded, load, modelKey, runPipeline } from "./pipelines.ts";
import type { ManifestArtifact, WishedPipeline } from "./wish.ts";

export type RunnerAsk =
  | {
      kind: "load";
      artifacts: { artifact: ManifestArtifact; path: string }[];
      pipelines: WishedPipeline[];
      threads: number;
    }
  | { kind: "run"; pipelines: WishedPipeline[]; pictureBytes: number };

export type RunnerAnswer =
  | { kind: "loaded" }
  | { kind: "ran"; found: Found[]; tookMs: number }
  | { kind: "failed"; message: string };

const models = new Map<string, Loaded>();

async function answer(ask: RunnerAsk, picture: Buffer): Promise<RunnerAnswer> {
  if (ask.kind === "load") {
    for (const { artifact, path } of ask.artifacts)
      models.set(modelKey(artifact.Function, artifact.Version), await load(artifact, path, ask.threads));
    const grey = await sharp({ create: { width: 320, height: 240, channels: 3, background: "#808080" } })
      .png()
      .toBuffer();
    for (const pipeline of ask.pipelines) await tryAll(pipeline, grey);
    return { kind: "loaded" };
  }
  const from = performance.now();
  const found: Found[] = [];
  for (const pipeline of ask.pipelines) found.push(await runPipeline(models, pipeline, picture));
  return { kind: "ran", found, tookMs: performance.now() - from };
}

/** Also what a grey picture would not lead to. */
async function tryAll(pipeline: WishedPipeline, picture: Buffer): Promise<void> {
  const direct = pipeline.chains.filter(({ Mode }) => Mode === "Direct");
  await runPipeline(models, { ...pipeline, chains: direct }, picture);
  for (const chain of pipeline.chains) if (chain.Mode !== "Direct") await tryAll(chain, picture);
}

/** One after another; the next is read meanwhile. */
const asks = readAsks(process.stdin);
for (let next = asks.next(); ; ) {
  const { done, value } = await next;
  if (done) break;
  next = asks.next();
  const said = await answer(value.ask, value.picture).catch(
    (error: unknown): RunnerAnswer => ({
      kind: "failed",
      message: (error instanceof Error ? error.message : String(error)).slice(0, 500),
    }),
  );
  await new Promise((resolve) => process.stdout.write(`${JSON.stringify(said)}\n`, resolve));
}
// Nobody asks any more; sessions that were not released hold threads.
process.exit(0);
