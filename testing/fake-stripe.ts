// SPDX-License-Identifier: Apache-2.0
/**
 * A server that speaks the part of Stripe's protocol that we use: form-encoded
 * `POST /v1/checkout/sessions` with a bearer key and an API version, and signed webhooks (scheme v1:
 * HMAC-SHA-256 over `timestamp.body`). Source: Stripe's API reference.
 */
import { createHmac, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface FakeStripe {
  /** For `payments` of control's configuration. */
  config: Record<string, string>;
  /** Requests taken, as their decoded forms. */
  sessions: Record<string, string>[];
  /** A signed event as Stripe would send it. */
  event(
    type: string,
    object: unknown,
    options?: { id?: string; secret?: string; atS?: number },
  ): { body: string; signature: string };
  /** The next request is answered with this status. */
  failNext(status: number): void;
  close(): Promise<void>;
}

export async function startFakeStripe(): Promise<FakeStripe> {
  const secretKey = `sk_test_${randomBytes(12).toString("hex")}`;
  const webhookSecret = `whsec_${randomBytes(16).toString("hex")}`;
  const folder = mkdtempSync(join(tmpdir(), "casemate-stripe-"));
  writeFileSync(join(folder, "key"), `${secretKey}\n`);
  writeFileSync(join(folder, "hook"), `${webhookSecret}\n`);
  const sessions: Record<string, string>[] = [];
  let failing: number[] = [];

  const server = createServer(async (request, response) => {
    const answer = (status: number, body: unknown) => {
      response.writeHead(status, {
        "content-type": "application/json",
        "request-id": `req_${randomBytes(7).toString("hex")}`,
      });
      response.end(JSON.stringify(body));
    };
    const error = (status: number, type: string, message: string) =>
      answer(status, { error: { type, message } });
    const form = Object.fromEntries(new URLSearchParams(await textOf(request)));
    if (request.headers.authorization !== `Bearer ${secretKey}`)
      return error(401, "invalid_request_error", "Invalid API Key provided");
    const failure = failing.shift();
    if (failure !== undefined) return error(failure, "api_error", "An unknown error occurred");
    if (request.method !== "POST" || request.url !== "/v1/checkout/sessions") {
      return error(
        404,
        "invalid_request_error",
        `Unrecognized request URL (${request.method}: ${request.url})`,
      );
    }
    for (const name of ["mode", "line_items[0][price]", "line_items[0][quantity]", "success_url"]) {
      if (form[name] === undefined)
        return error(400, "invalid_request_error", `Missing required param: ${name}.`);
    }
    sessions.push(form);
    const id = `cs_test_${randomBytes(12).toString("hex")}`;
    return answer(200, {
      id,
      object: "checkout.session",
      mode: form.mode,
      url: `https://checkout.stripe.com/c/pay/${id}`,
      status: "open",
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;

  return {
    sessions,
    config: {
      secretKeyFile: join(folder, "key"),
      webhookSecretFile: join(folder, "hook"),
      priceStarter: "price_starter",
      priceBusiness: "price_business",
      successUrl: "https://example.com/paid",
      cancelUrl: "https://example.com/not-paid",
      apiBase: `http://127.0.0.1:${port}`,
    },
    event: (type, object, options = {}) => {
      const {
        id = `evt_${randomBytes(8).toString("hex")}`,
        secret = webhookSecret,
        atS = Math.floor(Date.now() / 1000),
      } = options;
      const body = JSON.stringify({
        id,
        object: "event",
        api_version: "2025-01-27",
        created: atS,
        type,
        data: { object },
      });
      const signed = createHmac("sha256", secret).update(`${atS}.${body}`).digest("hex");
      return { body, signature: `t=${atS},v1=${signed}` };
    },
    failNext: (status) => {
      // The client retries once by itself; both attempts fail.
      failing = [status, status];
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
