// SPDX-License-Identifier: Apache-2.0
/** Models in a whole installation, each part with its own uid: killed with -9 while one is converted, it goes on by itself. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { userNamespaces } from "#control/src/core/models/testing.ts";
import { settledFunction, upload } from "#control/src/surfaces/models/testing.ts";
import { counting } from "#models/testing.ts";
import { type Caller, callerOf } from "#testing/installation.ts";
import { findProcesses } from "#testing/process-status.ts";
import { bubblewrap, describeWith } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";

describeWith([bubblewrap, userNamespaces], "an installation that converts a model", () => {
  let casemate: RunningCasemate;
  let acme: Caller;
  beforeAll(async () => {
    casemate = await startCasemate();
    const admin = callerOf(casemate.url, readFileSync(join(casemate.state, "admin.key"), "utf8").trim());
    const { body } = await admin("POST", "/platform/v1/tenants", { name: "acme" });
    const { client_id, client_secret } = body.oauth_client;
    const credentials = { grant_type: "client_credentials", client_id, client_secret };
    const token = await callerOf(casemate.url, null)("POST", "/cdb/oauth2/token", credentials);
    acme = callerOf(casemate.url, token.body.access_token);
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  const children = () => findProcesses("models/child/main.ts", casemate.state);
  const folders = () => readdirSync(join(casemate.state, "control/work"));
  const api = () =>
    acme("GET", "/cpt/configuration").then(
      ({ status }) => status,
      () => 0,
    );

  it("has nothing of it after control was killed, and has converted it in the end", async () => {
    const { UUID } = await upload(casemate.url, acme, counting(300_000n), { Name: "Slow" });
    const job = async () => (await acme("GET", `/cpt/function/${UUID}/conversions`)).body?.[0]?.Status;
    await expect.poll(job, { timeout: 60_000, interval: 50 }).toBe("processing");
    await expect.poll(folders).toHaveLength(1);
    const pids = findProcesses("control/src/main.ts", casemate.state);
    expect(pids.length).toBeGreaterThan(0);
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {}
    }
    await expect.poll(api, { timeout: 60_000 }).toBe(200);
    const model = await settledFunction(acme, UUID);
    expect(model.Status).toBe("ok");
    await expect.poll(folders).toEqual([]);
    await expect.poll(children).toEqual([]);
    // Once: what the killed process did not finish was made by nobody twice.
    const made = (await acme("GET", `/cpt/function/${UUID}/artifacts`)).body;
    expect(made.map(({ MediaType }: { MediaType: string }) => MediaType).sort()).toEqual([
      "application/x-onnx",
      "application/x-onnx; source=original",
    ]);
  }, 240_000);
});
