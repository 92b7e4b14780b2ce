// SPDX-License-Identifier: Apache-2.0
/** Models of a tenant's own: what of them is taken, where their key goes, and where it does not. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { ed25519Pair } from "#testing/ssh-keys.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-custom-"));
const mine = ed25519Pair();
const PUBLIC_KEY = mine.public.split(" ", 2).join(" ");
const DIALECT = { sshRsa: "refuse", deleteBody: "final", publicKeyInList: true } as const;
let image: Awaited<ReturnType<typeof writeSpecimenImage>>;
let plain: Installation;
let acme: Caller;
beforeAll(async () => {
  image = await writeSpecimenImage(folder, "0.1.0", "base", "base");
  plain = await startInstallation({ withHost: false, config: { imagesFolder: folder } });
  const made = await callerOf(plain.url, plain.adminKey)("POST", "/platform/v1/tenants", { name: "plain" });
  acme = callerOf(plain.url, made.body.api_key);
});
afterAll(async () => {
  await plain?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

describe("models of a tenant's own", () => {
  const OWN = {
    inference_mode: "custom",
    custom_inference_endpoint: "https://models.example/v1/",
    custom_inference_api_key: "sk-proj-Own_Key.0123456789~secret",
    custom_inference_model_name: "vendor/model-4:large",
  };
  const SECRET = "Own_Key.0123456789~secret";
  const needs = (caller: Caller, more: object) =>
    caller("POST", "/v1/instances", { public_key: PUBLIC_KEY, agent: "none", ...more });

  it("are not taken where the installation does not say so", async () => {
    const { status, body } = await needs(acme, OWN);
    expect([status, body.error.param]).toEqual([400, "inference_mode"]);
    expect(JSON.stringify(body)).not.toContain(SECRET);
  });

  describe("where it does", () => {
    let other: Installation;
    let own: Caller;
    const machines = new AttestedDriver();
    beforeAll(async () => {
      machines.images.set(image.sha256, image.metadata);
      other = await startInstallation({
        kept: machines,
        ssh: { addresses: "127.73.0.0/16", port: await freePort(), redirect: false },
        config: {
          imagesFolder: folder,
          instances: { requestsPerMinute: null, dialect: { ...DIALECT, customInference: true } },
        },
      });
      const made = await callerOf(other.url, other.adminKey)("POST", "/platform/v1/tenants", { name: "own" });
      own = callerOf(other.url, made.body.api_key);
    });
    afterAll(async () => {
      await other?.[Symbol.asyncDispose]();
      for (const id of [...machines.running.keys()]) await machines.remove(id);
    });
    const stored = async (name: string) =>
      (
        await sql<{ sealed: Buffer | null; all: string }>`
          select custom_inference_key_sealed as sealed, i::text as all from instances i where name = ${name}`.execute(
          other.control.db.run,
        )
      ).rows[0]!;

    it("come to the machine sealed, and their key to nobody else, and it is gone with the instance", async () => {
      const made = await needs(own, OWN);
      expect(made.status).toBe(202);
      const { name } = made.body.data;
      expect(made.body.data).toMatchObject({ inference_mode: "custom" });
      expect(made.body.data).not.toHaveProperty("inference_model");
      const ready = await own("GET", `/v1/instances/${name}?wait=ready&timeout=20`);
      expect(ready.body.data).toMatchObject({
        ...{ status: "ready", inference_mode: "custom", inference_model: null },
        custom_inference_endpoint: "https://models.example/v1",
        custom_inference_model_name: OWN.custom_inference_model_name,
      });
      const claim = [...machines.claims.values()].find(({ hostname }) => hostname.startsWith(name))!;
      expect(claim.inference).toEqual({
        baseUrl: "https://models.example/v1",
        token: OWN.custom_inference_api_key,
        model: OWN.custom_inference_model_name,
      });
      const row = await stored(name);
      expect(row.sealed).not.toBeNull();
      const hex = Buffer.from(SECRET).toString("hex");
      for (const text of [row.all, JSON.stringify(made.body), JSON.stringify(ready.body)]) {
        expect(text).not.toContain(SECRET);
        expect(text).not.toContain(hex);
      }
      for (const path of ["/v1/instances", `/v1/instances/${name}/usage`])
        expect(JSON.stringify((await own("GET", path)).body)).not.toContain(SECRET);
      expect((await own("DELETE", `/v1/instances/${name}`)).status).toBe(202);
      expect((await stored(name)).sealed).toBeNull();
    }, 60_000);

    const refused: [string, object][] = [
      ["custom_inference_endpoint", { ...OWN, custom_inference_endpoint: undefined }],
      ["custom_inference_api_key", { ...OWN, custom_inference_api_key: undefined }],
      ["custom_inference_model_name", { ...OWN, custom_inference_model_name: undefined }],
      ["custom_inference_endpoint", { ...OWN, custom_inference_endpoint: "https://me:pass@models.example" }],
      ["custom_inference_endpoint", { ...OWN, custom_inference_endpoint: "file:///etc/passwd" }],
      ["custom_inference_api_key", { ...OWN, custom_inference_api_key: `${SECRET}'\nX=1` }],
      ["custom_inference_api_key", { ...OWN, custom_inference_api_key: SECRET.repeat(30) }],
      ["custom_inference_model_name", { ...OWN, custom_inference_model_name: "a'b" }],
      ["inference_model", { ...OWN, inference_model: "default" }],
      ["custom_inference_endpoint", { ...OWN, inference_mode: "default_gateway" }],
      ["custom_inference_api_key", { custom_inference_api_key: OWN.custom_inference_api_key }],
    ];
    it.each(refused)("are refused by %s (%#), and the key is not repeated", async (param, more) => {
      const { status, body } = await needs(own, more);
      expect([status, body.error.code, body.error.param]).toEqual([400, "invalid_request", param]);
      expect(JSON.stringify(body)).not.toContain(SECRET);
    });
  });
});
