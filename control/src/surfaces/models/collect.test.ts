// SPDX-License-Identifier: Apache-2.0
/** Bytes of models in the store: kept while a version or an artefact names them, whoever collects, and gone with them. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { TARGETS } from "#models/job.ts";
import { detector } from "#models/testing.ts";
import { type Caller, type Installation, startInstallation, type Tenant } from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { collectBlobs, HOLDERS } from "../../blobs/collect.ts";
import { openFileStore } from "../../blobs/file-store.ts";
import { userNamespaces } from "../../core/models/testing.ts";
import { overConversion, settledFunction, upload } from "./testing.ts";

describeWith([userNamespaces], "bytes of models", () => {
  let casemate: Installation;
  let acme: Caller & Tenant;
  beforeAll(async () => {
    casemate = await startInstallation({
      ...{ withHost: false, config: { identity: { requestsPerMinute: null } } },
    });
    acme = await casemate.tenant("acme");
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  it("stay while something names them, and go when nothing does", async () => {
    const folder = join(casemate.connection.keyRing, "../blobs");
    const { db } = casemate.control;
    const store = await openFileStore(folder);
    const collect = async () => {
      await sql`update blobs set touched_at = touched_at - interval '2 hours'`.execute(db.run);
      return collectBlobs({ db, store }, HOLDERS, 3_600_000);
    };
    const files = () =>
      readdirSync(join(folder, "blobs"), { recursive: true, withFileTypes: true }).filter((entry) =>
        entry.isFile(),
      );
    const { UUID } = await upload(casemate.url, acme, detector(), { EnableConversions: [] });
    await settledFunction(acme, UUID);
    const [job] = (await acme("POST", `/cpt/function/${UUID}/conversions`, { Targets: [TARGETS.int8] })).body;
    await overConversion(acme, job.UUID);
    expect([await collect(), files().length]).toEqual([0, 2]);
    for (const { URL } of (await acme("GET", `/cpt/function/${UUID}/artifacts`)).body)
      expect((await acme("GET", URL)).status).toBe(200);
    await acme("DELETE", `/cpt/function/${UUID}`);
    expect([await collect(), files().length]).toEqual([2, 0]);
  });
});
