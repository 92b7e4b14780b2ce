// SPDX-License-Identifier: Apache-2.0
/** A client that sends half a request and then nothing holds its connection for a while, not for ever. */
import { connect } from "node:net";
import { expect, it } from "vitest";
import { startInstallation } from "#testing/installation.ts";

it.each([
  ["headers", "GET /v1/sessions HTTP/1.1\r\nHost: casemate\r\nX-Slow: "],
  ["a body", "POST /v1/verify HTTP/1.1\r\nHost: casemate\r\nContent-Length: 100\r\n\r\nhalf"],
])("half of %s and then silence is answered 408 and dropped", async (_what, half) => {
  await using installation = await startInstallation({ withHost: false });
  const { server } = installation.control.app;
  expect(server.headersTimeout).toBeGreaterThan(0);
  expect(server.requestTimeout).toBeGreaterThan(server.headersTimeout);
  // As configured, only sooner.
  Object.assign(server, { headersTimeout: 300, requestTimeout: 500 });
  const socket = connect(Number(new URL(installation.url).port), "127.0.0.1");
  socket.write(half);
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  expect(text).toMatch(/^HTTP\/1\.1 408 /);
  expect(JSON.parse(text.split("\r\n\r\n")[1]!)).toMatchObject({ error: "RequestTimeout", status: 408 });
});

it("a long poll is not cut by the time a request may take to arrive", async () => {
  await using installation = await startInstallation();
  const me = await installation.account();
  const id = (await me("POST", "/v1/sessions", {})).body.session_id;
  Object.assign(installation.control.app.server, { headersTimeout: 300, requestTimeout: 500 });
  const waited = await me("GET", `/v1/sessions/${id}?wait=ended&timeout=3`);
  expect([waited.status, waited.body.status]).toEqual([200, "active"]);
});
