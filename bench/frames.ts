// SPDX-License-Identifier: Apache-2.0
/**
 * The edge agent as a process of its own, with the runner behind its walls, against a bare loop over the
 * same pictures and the same model: both read a file, decode, resize and run with one thread. The agent
 * works from its last good wish, with no control plane in reach, so that nothing else is measured.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { linkSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import sharp from "sharp";
import { Folder } from "#edge/folder.ts";
import type { WishedPipeline } from "#edge/wish.ts";
import type { Line } from "./sessions.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const QUIET = "--disable-warning=ExperimentalWarning";
const PICTURES = 20;
/** Of each run: processes start, code becomes warm. */
const WARM = 60;
/** What runs strangers' models has this niceness, so the baseline has it too. */
const NICENESS = "10";

export async function frames(
  folder: string,
  model: Buffer,
  { turns, pictures: count }: { turns: number; pictures: number },
): Promise<Line> {
  const pictures = join(folder, "pictures");
  await drawPictures(pictures, count + WARM);
  const path = join(folder, "frames.onnx");
  writeFileSync(path, model);
  const state = join(folder, "edge");
  keepWish(new Folder(state), model);
  const [ours, bare]: [number[], number[]] = [[], []];
  for (let turn = 0; turn < turns; turn++) {
    bare.push(bareRate(path, pictures));
    ours.push(await agentRate(state, pictures, count));
  }
  const ratio = median(ours) / median(bare);
  return {
    ...{ name: "edge agent / bare onnxruntime loop, pictures a second", ratio, goal: 0.9, sense: "least" },
    ok: ratio >= 0.9,
    detail: `${median(ours).toFixed(0)}/s over ${median(bare).toFixed(0)}/s, 1280×720`,
  };
}

/** As a camera's: no two alike, about a hundred kilobytes each. */
async function drawPictures(folder: string, count: number): Promise<void> {
  mkdirSync(folder);
  for (let n = 0; n < PICTURES; n++) {
    const noise = { type: "gaussian", mean: 90 + n * 3, sigma: 60 } as const;
    await sharp({ create: { width: 1280, height: 720, channels: 3, background: "#808080", noise } })
      .blur(6)
      .normalise()
      .jpeg({ quality: 85 })
      .toFile(join(folder, `${String(n).padStart(5, "0")}.jpg`));
  }
  const nameOf = (n: number) => join(folder, `${String(n).padStart(5, "0")}.jpg`);
  for (let n = PICTURES; n < count; n++) linkSync(nameOf(n % PICTURES), nameOf(n));
}

function keepWish(folder: Folder, model: Buffer): void {
  const sha256 = createHash("sha256").update(model).digest("hex");
  writeFileSync(folder.artifactPath(sha256), model);
  const [id, device] = [randomUUID(), randomUUID()];
  const pipeline: WishedPipeline = {
    ...{ UUID: randomUUID(), Name: "bench", modelUUID: id, modelVersion: 1 },
    ...{ resizingMethod: "Stretch", chains: [] },
  };
  folder.keepGood({
    Version: 1,
    Desired: {
      Runtime: null,
      Devices: [
        {
          UUID: device,
          Name: "bench",
          Enabled: true,
          Active: true,
          PipelinesVersion: 1,
          Pipelines: [pipeline],
        },
      ],
    },
    Manifest: {
      Artefacts: [
        {
          ...{ UUID: randomUUID(), Function: id, Version: 1, MediaType: "application/x-onnx", URL: "" },
          ...{ InputDriverDetails: { means: [0, 0, 0], vars: [255, 255, 255], order: 0 }, SHA256: sha256 },
          ...{ Size: model.length, Signature: "", KeyID: "" },
        },
      ],
    },
  });
  // Nobody listens there.
  folder.keepIdentity({ url: "http://127.0.0.1:9", serverId: randomUUID(), systemId: randomUUID(), key: "" });
}

function bareRate(model: string, pictures: string): number {
  const script = join(ROOT, "bench/frames-bare.ts");
  const args = ["-n", NICENESS, process.execPath, QUIET, script, model, pictures, String(WARM)];
  const { stdout, status, stderr } = spawnSync("nice", args, { encoding: "utf8", cwd: ROOT });
  if (status !== 0) throw new Error(`the bare loop failed: ${stderr}`);
  return Number(stdout);
}

/** From what it says it found, line by line, as whoever uses it sees it. */
async function agentRate(state: string, pictures: string, count: number): Promise<number> {
  const args = ["--state", state, "--frames", pictures, "--fps", "1000", "--once"];
  const child = spawn(process.execPath, [QUIET, join(ROOT, "edge/main.ts"), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let words = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (words += text));
  const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
  let seen = 0;
  let begun = 0;
  let last = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    if (JSON.parse(line).Found[0]?.Detections.length !== 2) throw new Error(`the agent found ${line}`);
    if (++seen === WARM) begun = performance.now();
    last = performance.now();
  }
  if ((await ended) !== 0 || seen !== WARM + count) throw new Error(`the agent saw ${seen}: ${words}`);
  if (words.includes("with all that this user may")) throw new Error(words);
  return count / ((last - begun) / 1000);
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
