// SPDX-License-Identifier: Apache-2.0
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { expect, it } from "vitest";
import { startInstallation } from "#testing/installation.ts";

const MOST = 16 * 1024 * 1024 - 64;

it("of many large bodies at once some are told to come again, and all of them can come after", async () => {
  await using installation = await startInstallation();
  const me = await installation.account();
  const id = (await me("POST", "/v1/sessions", {})).body.session_id;
  const body = Buffer.from(JSON.stringify({ command: "true", input_data: "x".repeat(MOST) }));
  const path = `${installation.url}/v1/sessions/${id}/exec`;

  // Fourteen that keep their last byte back do not fit: none of the others ends and makes room.
  const held = Array.from({ length: 14 }, () => begin(path, me.key!, body));
  const first = await Promise.race(held.map(({ answer }) => answer));
  expect(first.status).toBe(503);
  for (const { sent } of held) sent.end(body.subarray(-1));
  const replies = await Promise.all(held.map(({ answer }) => answer));
  // 409: read, and the session was busy with another of them.
  for (const reply of replies.filter(({ status }) => status !== 200 && status !== 409)) {
    expect([reply.status, reply.retryAfter]).toEqual([503, "1"]);
    expect(JSON.parse(reply.text).error).toBe("ServiceUnavailable");
  }
  expect(replies.filter(({ status }) => status === 200).length).toBeGreaterThan(0);

  // What was taken was given back: the same flood, one after another, is all answered.
  for (let n = 0; n < 14; n++) {
    const { sent, answer } = begin(path, me.key!, body);
    sent.end(body.subarray(-1));
    expect((await answer).status).toBe(200);
  }
});

interface Told {
  status: number | undefined;
  retryAfter: string | undefined;
  text: string;
}

/** A request without the last byte of its body. */
function begin(path: string, key: string, body: Buffer): { sent: ClientRequest; answer: Promise<Told> } {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const sent = request(path, { method: "POST", headers: { ...headers, "content-length": body.length } });
  const answer = new Promise<Told>((resolve, reject) => {
    sent.once("error", reject);
    sent.once("response", async (response: IncomingMessage) => {
      let text = "";
      for await (const part of response.setEncoding("utf8")) text += part;
      resolve({ status: response.statusCode, retryAfter: response.headers["retry-after"], text });
    });
  });
  sent.write(body.subarray(0, -1));
  return { sent, answer };
}
