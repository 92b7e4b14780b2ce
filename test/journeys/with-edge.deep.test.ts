// SPDX-License-Identifier: Apache-2.0
/** What a second `up --with-edge` finds and leaves as it was. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { userNamespaces } from "#control/src/core/models/testing.ts";
import { callerOf } from "#testing/installation.ts";
import { bubblewrap, describeWith } from "#testing/requirements.ts";
import { startCasemate } from "#testing/running-casemate.ts";
import { demoLines } from "./with-edge.ts";

describeWith([bubblewrap, userNamespaces], "a demo device, again", () => {
  it("is the same server with the same camera after a restart on another port, and a new one once it was put out", async () => {
    const state = mkdtempSync(join(tmpdir(), "casemate-demo-"));
    const read = (name: string) => JSON.parse(readFileSync(join(state, name), "utf8"));
    const start = () => startCasemate({ state, keepState: true, args: ["--with-edge"] });
    try {
      const seen = [];
      for (const put of [false, true, false]) {
        await using casemate = await start();
        const client = read("keys/demo-client.json");
        const grant = new URLSearchParams({ grant_type: "client_credentials", ...client });
        const granted = await fetch(`${casemate.url}/cdb/oauth2/token`, { method: "POST", body: grant });
        const call = callerOf(
          casemate.url,
          ((await granted.json()) as { access_token: string }).access_token,
        );
        const before = demoLines(state).length;
        await vi.waitUntil(() => demoLines(state).length > before, { timeout: 60_000, interval: 200 });
        const { serverId } = read("edge/identity.json");
        const count = async (path: string) => (await call("GET", path)).body.length;
        seen.push({
          ...{ serverId, client: client.client_id, device: demoLines(state).at(-1)!.Device },
          made: [await count("/dev/systems"), await count("/cpt/functions"), await count("/dev/devices")],
        });
        if (put) expect((await call("DELETE", `/dev/server/${serverId}`)).status).toBe(200);
      }
      expect(seen[1]).toEqual(seen[0]);
      expect(seen[0]!.made).toEqual([1, 1, 1]);
      expect(seen[2]).toMatchObject({ client: seen[0]!.client, made: [1, 1, 1] });
      expect(seen[2]!.serverId).not.toBe(seen[0]!.serverId);
    } finally {
      rmSync(state, { recursive: true, force: true });
    }
  }, 400_000);
});
