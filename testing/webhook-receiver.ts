// SPDX-License-Identifier: Apache-2.0
/** A receiver of webhooks as a customer writes one: it verifies with the specification's own package. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";

export interface Received {
  id: string;
  body: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it.
  event: any;
  headers: IncomingMessage["headers"];
}

export interface Receiver extends AsyncDisposable {
  url: string;
  port: number;
  /** Everything that came, in order. */
  received: Received[];
  /** Requests that are not answered yet. */
  open(): number;
  /** The event, when this secret signed it; throws else. */
  verify(received: Received, secret: string): unknown;
}

export interface ReceiverOptions {
  host?: string;
  port?: number;
  /** Answers by itself when it says so; else the answer is 204. */
  answer?: (response: ServerResponse, received: Received, count: number) => "handled" | undefined;
}

export async function startReceiver(options: ReceiverOptions = {}): Promise<Receiver> {
  const { host = "127.0.0.1", port = 0, answer } = options;
  const received: Received[] = [];
  let open = 0;
  const server = createServer((request, response) => {
    open++;
    response.once("close", () => open--);
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("error", () => {});
    request.on("end", () => {
      const body = Buffer.concat(parts).toString();
      const one = {
        ...{ body, headers: request.headers },
        id: String(request.headers["webhook-id"]),
        event: JSON.parse(body),
      };
      received.push(one);
      if (answer?.(response, one, received.length) !== "handled") response.writeHead(204).end();
    });
  });
  server.listen(port, host);
  await once(server, "listening");
  const at = (server.address() as AddressInfo).port;
  return {
    ...{ url: `http://${host}:${at}/hooks?token=s3cret`, port: at, received },
    open: () => open,
    verify: ({ body, headers }, secret) =>
      new Webhook(secret).verify(body, headers as Record<string, string>),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
