// SPDX-License-Identifier: Apache-2.0
import { expect, it } from "vitest";
import { startInstallation } from "#testing/installation.ts";

it("of many large bodies at once some are told to come again, and all of them can come after", async () => {
  await using installation = await startInstallation();
  const me = await installation.account();
  const id = (await me("POST", "/v1/sessions", {})).body.session_id;
  const body = JSON.stringify({ command: "true", input_data: "x".repeat(16 * 1024 * 1024 - 64) });
  const send = () => me("POST", `/v1/sessions/${id}/exec`, body, { "content-type": "application/json" });
  const replies = await Promise.all(Array.from({ length: 20 }, send));
  const refused = replies.filter(({ status }) => status === 503);
  expect(refused.length).toBeGreaterThan(0);
  for (const reply of refused) {
    expect(reply.body.error).toBe("ServiceUnavailable");
    expect(reply.headers.get("retry-after")).toBe("1");
  }
  expect(replies.filter(({ status }) => status === 200).length).toBeGreaterThan(0);
  // What was taken was given back: the same flood, one after another, is all answered.
  for (let n = 0; n < 20; n++) expect((await send()).status).toBe(200);
});
