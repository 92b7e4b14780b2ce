// SPDX-License-Identifier: Apache-2.0
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { SandboxDriver } from "#drivers/sandbox/driver.ts";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { type Installation, startInstallation } from "#testing/installation.ts";
import { bubblewrap, describeWith } from "#testing/requirements.ts";

describeWith([bubblewrap], "a session from signup to verified destruction", () => {
  let casemate: Installation;
  beforeAll(async () => {
    casemate = await startInstallation({
      driver: (folder) => {
        // The sandbox's own uid passes through here while it starts.
        chmodSync(folder, 0o711);
        return new SandboxDriver({ folder: join(folder, "sandboxes"), owner: `cm-test-${process.pid}` });
      },
    });
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  it("runs a command on data, is destroyed, and its proof verifies offline and online", async () => {
    const me = await casemate.account();
    const created = await me("POST", "/v1/sessions", { data_classification: "PHI" });
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({ status: "active", ttl_seconds: 300, data_classification: "PHI" });
    const id = created.body.session_id;

    const ran = await me("POST", `/v1/sessions/${id}/exec`, {
      command: 'cat "$INPUT_DATA"; echo no >&2; exit 3',
      input_data: "héllo",
    });
    expect(ran.body).toEqual({ output: "héllo", stderr: "no\n", exit_code: 3, timed_out: false });

    const ended = await me("DELETE", `/v1/sessions/${id}`);
    expect(ended.status).toBe(200);
    expect(ended.body.status).toBe("destroyed");
    expect(ended.body.session_context).toEqual({ jurisdiction: "US", data_classification: "PHI" });
    expect((await me("DELETE", `/v1/sessions/${id}`)).text).toBe(ended.text);

    const proof = await me("GET", `/v1/proofs/${id}`);
    expect(ended.text).toContain(`"cdp":${proof.text},`);
    expect(verifyProof(Buffer.from(proof.text), { issuers: [] })).toMatchObject({ valid: true, level: 1 });
    const verdict = await casemate.anyone("POST", "/v1/verify", proof.text);
    expect(verdict.body).toMatchObject({
      valid: true,
      level: 2,
      outcome: "complete",
      checks: { chain_integrity: true, final_hash: true, signature: true, step_count: 8 },
    });
    const key = await casemate.anyone("GET", `/v1/keys/${proof.body.attestation.key_id}`);
    expect(key.body.public_key).toBe(proof.body.attestation.public_key);
  });
});
