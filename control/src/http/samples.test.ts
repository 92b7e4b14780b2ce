// SPDX-License-Identifier: Apache-2.0
/**
 * Every call that stands in the documents of models and devices, taken out of what is served and run in a
 * shell as it stands. What it needs is made for it: a call that removes something has its own.
 */
import { execFile, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { TARGETS } from "#models/job.ts";
import { detector } from "#models/testing.ts";
import {
  type Caller,
  callerOf,
  type Installation,
  startInstallation,
  type Tenant,
} from "#testing/installation.ts";
import { describeWith, type Requirement } from "#testing/requirements.ts";
import { userNamespaces } from "../core/models/testing.ts";
import { settledFunction, upload } from "../surfaces/models/testing.ts";

const curl: Requirement = { met: spawnSync("curl", ["--version"]).status === 0, reason: "needs curl" };
const FACTS = {
  AvailableRuntimes: [{ Name: "cpu", Version: "1.30.0", Targets: [TARGETS.onnx] }],
  Supports: { Pipelines: true },
};
/** Streams that nothing comes from yet are open for as long as somebody reads. */
const STREAM_MS = 3_000;
/** A model is run in a process that has to be started, on a machine that may have much to do. */
const CALL_MS = 120_000;

interface Sample {
  id: string;
  method: string;
  text: string;
  streams: boolean;
}
type Variables = Record<string, string>;

describeWith([curl, userNamespaces], "what stands in the documents of models and devices", () => {
  let casemate: Installation;
  let acme: Caller & Tenant;
  let folder: string;
  let there: Variables;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "casemate-samples-"));
    writeFileSync(join(folder, "model.onnx"), detector());
    writeFileSync(join(folder, "compiled.bin"), "compiled");
    await sharp({ create: { width: 64, height: 48, channels: 3, background: "#10c040" } })
      .png()
      .toFile(join(folder, "picture.png"));
    casemate = await startInstallation({
      ...{ withHost: false, config: { identity: { requestsPerMinute: null } } },
    });
    acme = await casemate.tenant("acme");
    there = await furnish();
  });
  afterAll(async () => {
    await casemate[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const made = async (path: string, body: object) => {
    const reply = await acme("POST", path, body);
    expect([path, reply.status, reply.body.Message]).toEqual([path, reply.status, undefined]);
    return reply.body;
  };
  const newModel = async (): Promise<string> =>
    (await upload(casemate.url, acme, detector(), { Name: "Things", EnableConversions: [] })).UUID;
  const newSite = async (): Promise<string> => (await made("/dev/systems", { Name: "Quay" })).ID;
  const newDevice = async (server: string): Promise<string> =>
    (await made("/dev/devices", { Name: "Gate", Server: server })).UUID;
  const newWord = (site: string) => made("/dev/registration-tokens", { SystemId: site, MaxUses: 100 });
  const newConversion = async (target: string): Promise<string> =>
    (await made(`/cpt/function/${there.MODEL}/conversions`, { Targets: [target] }))[0].UUID;
  async function newServer(site: string): Promise<Variables> {
    const asked = { ServerId: randomUUID(), RegistrationToken: (await newWord(site)).Token };
    const { Key } = (await casemate.anyone("POST", "/dev/plugin/register", asked)).body;
    await callerOf(casemate.url, Key)("PUT", `/dev/server/${asked.ServerId}/reported`, {
      Version: 0,
      Facts: FACTS,
    });
    return { SERVER: asked.ServerId, SERVER_KEY: Key };
  }
  async function newClaim(site: string): Promise<Variables> {
    const asked = { ServerId: randomUUID(), SystemId: site };
    const { Code, PollURL } = (await casemate.anyone("POST", "/dev/plugin/register", asked)).body;
    return { CODE: Code, CLAIM: PollURL.split("/").at(-1) };
  }

  async function furnish(): Promise<Variables> {
    const MODEL = (await upload(casemate.url, acme, detector(), { Name: "Things" })).UUID;
    const settled = await settledFunction(acme, MODEL);
    const onnx = ({ MediaType }: { MediaType: string }) => MediaType === TARGETS.onnx;
    const SITE = await newSite();
    const server = await newServer(SITE);
    const DEVICE = await newDevice(server.SERVER!);
    const CATALOGUE = (await made("/cpt/catalogues", { Name: "All", Visibility: "public" })).UUID;
    await acme("PUT", `/cpt/catalogue/${CATALOGUE}/function/${MODEL}`);
    const [pipeline] = (await acme("PUT", `/dev/device/${DEVICE}/pipelines`, [{ modelUUID: MODEL }])).body;
    const word = await newWord(SITE);
    const [conversion] = (await acme("GET", `/cpt/function/${MODEL}/conversions`)).body;
    return {
      ...{ URL: casemate.url, TOKEN: acme.key!, MODEL, SITE, DEVICE, CATALOGUE, ...server },
      ...{
        ARTIFACT: settled.Downloads.find(onnx).UUID,
        CONVERSION: conversion.UUID,
        PIPELINE: pipeline.UUID,
      },
      ...{
        OTHER: await newDevice(server.SERVER!),
        WORD: word.Token,
        REGISTRATION: word.ID,
        NEW: randomUUID(),
      },
      ...{ GROUP: (await made("/dev/groups", { Name: "Some" })).UUID, ...(await newClaim(SITE)) },
    };
  }

  /** What a call must have to itself. */
  const OWN: Record<string, () => Promise<Variables>> = {
    "devices.systems.delete": async () => ({ SITE: await newSite() }),
    "devices.servers.delete": () => newServer(there.SITE!),
    "devices.devices.delete": async () => ({ DEVICE: await newDevice(there.SERVER!) }),
    "devices.claims.approve": () => newClaim(there.SITE!),
    "devices.claims.poll": () => newClaim(there.SITE!),
    "devices.tokens.delete": async () => ({ REGISTRATION: (await newWord(there.SITE!)).ID }),
    "devices.groups.delete": async () => ({ GROUP: (await made("/dev/groups", { Name: "Gone" })).UUID }),
    "devices.pipelines.remove": async () => ({
      PIPELINE: (await acme("GET", `/dev/device/${there.DEVICE}/pipelines`)).body[0].UUID,
    }),
    ...Object.fromEntries(
      ["devices.rollouts.get", "devices.rollouts.act", "devices.rollouts.devices"].map((id) => [
        id,
        newRollout,
      ]),
    ),
    "devices.rollouts.create": async () => ({ SITE: (await furnished()).SITE! }),
    "models.functions.delete": async () => ({ MODEL: await newModel() }),
    "models.functions.change": async () => ({ MODEL: await newModel() }),
    "models.catalogues.delete": async () => ({
      CATALOGUE: (await made("/cpt/catalogues", { Name: "Empty" })).UUID,
    }),
    "models.conversions.cancel": async () => ({ CONVERSION: await newConversion("application/x-openvino") }),
    "models.conversions.retry": async () => {
      const CONVERSION = await newConversion("application/x-openvino");
      await acme("DELETE", `/cpt/conversion/${CONVERSION}`);
      return { CONVERSION };
    },
    "models.conversions.artifact": async () => {
      const target = "application/zip; device=mxa";
      await newConversion(target);
      const { Conversion, Lease } = await made("/cpt/conversions/lease", { Targets: [target] });
      return { CONVERSION: Conversion.UUID, LEASE: Lease };
    },
    // A conversion that another call began may make a newer one, before this one is asked for or after.
    "devices.own.artifact": async () => {
      const edge = callerOf(casemate.url, there.SERVER_KEY!);
      const { Manifest } = (await edge("GET", `/dev/server/${there.SERVER}/state`)).body;
      return { ARTIFACT: Manifest.Artefacts[0].UUID };
    },
    "devices.models.get": async () => {
      await acme("PUT", `/cpt/catalogue/${there.CATALOGUE}/function/${there.MODEL}`);
      return {};
    },
    "devices.register": async () => ({ NEW: randomUUID() }),
  };
  /** A site with a device that a change can be brought to. */
  async function furnished(): Promise<Variables> {
    const SITE = await newSite();
    const server = await newServer(SITE);
    return { SITE, DEVICE: await newDevice(server.SERVER!) };
  }
  async function newRollout(): Promise<Variables> {
    const { SITE } = await furnished();
    const asked = { Name: "r", Pipelines: [{ modelUUID: there.MODEL }], Target: { Systems: [SITE] } };
    return { ROLLOUT: (await made("/dev/rollouts", asked)).UUID };
  }

  async function samplesOf(path: string): Promise<Sample[]> {
    const { paths } = (await casemate.anyone("GET", path)).body as {
      paths: Record<string, Record<string, { operationId: string; description?: string; responses: object }>>;
    };
    return Object.values(paths).flatMap((methods) =>
      Object.entries(methods).map(([method, { operationId: id, description = "", responses }]) => ({
        ...{ id, method, streams: JSON.stringify(responses).includes("text/event-stream") },
        text: /```sh\n([\s\S]*?)\n```/.exec(description)?.[1] ?? "",
      })),
    );
  }

  const run = ({ text, streams }: Sample, variables: Variables) =>
    new Promise<{ failed: boolean; said: string; words: string }>((resolve) => {
      const given = {
        cwd: folder,
        env: { PATH: process.env.PATH, ...variables },
        maxBuffer: 16 * 1024 * 1024,
      };
      const timeout = streams ? STREAM_MS : CALL_MS;
      execFile("sh", ["-u", "-c", `exec ${text}`], { ...given, timeout }, (error, said, words) =>
        resolve({ failed: error !== null && !(streams && error.killed === true), said, words }),
      );
    });

  it.each(["/cpt/openapi.json", "/dev/openapi.json"])(
    "of %s every operation has a call, and it works",
    async (path) => {
      const samples = await samplesOf(path);
      expect(samples.length).toBeGreaterThan(35);
      expect(samples.filter(({ text }) => text === "").map(({ id }) => id)).toEqual([]);
      // What takes something away comes last.
      const last = ({ method }: Sample) => (method === "delete" ? 1 : 0);
      const faults: string[] = [];
      for (const sample of samples.sort((a, b) => last(a) - last(b))) {
        const own = await OWN[sample.id.replace(/\.alias$/, "")]?.();
        const { failed, words } = await run(sample, { ...there, ...own });
        if (failed) faults.push(`${sample.id}: ${sample.text}\n  ${words.trim()}`);
      }
      expect(faults).toEqual([]);
    },
    900_000,
  );

  it("a call that is refused is seen to fail", async () => {
    const [sample] = await samplesOf("/cpt/openapi.json");
    const refused = await run(sample!, { ...there, TOKEN: "wrong" });
    expect([refused.failed, refused.words]).toEqual([true, expect.stringContaining("401")]);
    await vi.waitFor(async () => expect((await acme("GET", "/cpt/functions")).status).toBe(200));
  });
});
