// SPDX-License-Identifier: Apache-2.0
/** A version of what workloads run on, with and without the guest image of its release. */
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { imageMessage } from "#evidence/images/signature.ts";
import { toBase64Text } from "#evidence/proofs/encoding.ts";
import { SIGNATURE_FILE } from "#images/store.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { offerArtifact } from "./artifacts.ts";

const VERSION = "7.8.9";
const folder = mkdtempSync(join(tmpdir(), "casemate-artifacts-"));
const { privateKey, publicKey } = generateKeyPairSync("ed25519");
let casemate: Installation;
let admin: Caller;

beforeAll(async () => {
  casemate = await startInstallation({ config: { imagesFolder: folder }, withHost: false });
  admin = callerOf(casemate.url, casemate.adminKey);
  for (const version of ["7.8.8", VERSION]) await offerArtifact(casemate.control.db, version);
  const key = toBase64Text(publicKey.export({ format: "der", type: "spki" }));
  await sql`insert into issuers (issuer_id, public_key) values ('iss_known', ${key})`.execute(
    casemate.control.db.run,
  );
});
afterEach(() => {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function build({ version = VERSION, by = "iss_known", of = "" } = {}) {
  const image = await writeSpecimenImage(folder, version);
  const signature = {
    ...{ v: 1, metadata_sha256: image.sha256, issuer_id: by },
    sig: toBase64Text(sign(null, imageMessage(of === "" ? image.sha256 : of), privateKey)),
  };
  writeFileSync(join(image.folder, SIGNATURE_FILE), JSON.stringify(signature));
  return image;
}
const enable = (version = VERSION) => admin("POST", "/api/v1/artifacts/enable", { version });
const listed = async (version = VERSION) =>
  (await admin("GET", "/api/v1/artifacts/list")).body.find(
    (each: { version: string }) => each.version === version,
  );

it("a version shows the image of its release when it is built here, and another release's is not its own", async () => {
  expect(await listed()).toMatchObject({ version: VERSION, image: null });
  const image = await build();
  const sizeBytes = 5 * "one".length;
  expect(await listed()).toMatchObject({ image: { name: "containers", sha256: image.sha256, sizeBytes } });
  expect(await listed("7.8.8")).toMatchObject({ image: null });
  const { status, body } = await enable();
  expect([status, body]).toMatchObject([200, { version: VERSION, image: { sha256: image.sha256 } }]);
});

it("a version without an image is offered for containers", async () => {
  await build();
  expect(await enable("7.8.8")).toMatchObject({ status: 200, body: { image: null } });
});

it.each([
  ["a file that was changed", async () => change("initrd"), /initrd is not what it was/],
  [
    "a file that is gone",
    async () => rmSync(join((await build()).folder, "root.img")),
    /root\.img is not what/,
  ],
  ["no signature", async () => rmSync(join((await build()).folder, SIGNATURE_FILE)), /no signature/],
  ["a signature of an issuer that nobody knows", () => build({ by: "iss_other" }), /not one of those/],
  ["a signature over another image", () => build({ of: "ab".repeat(32) }), /signature does not hold/],
])(
  "with %s a version that was put back is not offered again, and containers keep it until then",
  async (_, make, words) => {
    await make();
    expect(await listed()).toMatchObject({ version: VERSION });
    expect((await admin("POST", "/api/v1/artifacts/disable", { version: VERSION })).status).toBe(200);
    const { status, body } = await enable();
    expect([status, body.kind, body.error]).toEqual([
      400,
      "ARTIFACT_VERSION_DOES_NOT_EXIST",
      expect.stringMatching(words),
    ]);
    expect(body.error).not.toContain(folder);
    expect(await listed()).toBeUndefined();
    rmSync(join(folder, "containers"), { recursive: true });
    expect((await enable()).status).toBe(200);
  },
);

async function change(name: string) {
  const image = await build();
  writeFileSync(join(image.folder, name), "two");
}

it("only the operator offers a version, and one that is none is named as that", async () => {
  const anyone = await casemate.anyone("POST", "/api/v1/artifacts/enable", { version: VERSION });
  expect(anyone.status).toBe(401);
  expect((await enable("9.9.9")).body).toMatchObject({ kind: "ARTIFACT_VERSION_DOES_NOT_EXIST" });
  expect((await enable("latest")).body).toMatchObject({ kind: "ARTIFACT_VERSION_NOT_SEMVER" });
});
