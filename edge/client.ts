// SPDX-License-Identifier: Apache-2.0
/**
 * HTTP to the control plane: JSON both ways, and bytes that may be cut off. Whoever answers is not trusted
 * with this machine's memory: what is read of an answer is bounded, and so is the time without a byte.
 */
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import type { TLSSocket } from "node:tls";
import { Away } from "./away.ts";

const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const SILENCE_MS = 60_000;

export interface Reply {
  status: number;
  headers: IncomingMessage["headers"];
  // What it is, whoever asked knows.
  body: unknown;
}

export interface ClientOptions {
  /** Where the control plane is, e.g. `https://api.example.com`. */
  url: string;
  /** The server's own key; null before it was let in. */
  key: string | null;
  /** PEM of the authority of its certificate; undefined: those that the system trusts. */
  ca?: string | undefined;
}

export class Client {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    const { protocol, hostname } = new URL(options.url);
    // Over plain HTTP anybody on the way would have the key.
    if (protocol !== "https:" && !/^(localhost|127\.[\d.]+|\[::1\])$/.test(hostname))
      throw new Error(`${options.url} is not this machine and not https`);
    this.#options = options;
  }

  async json(
    method: string,
    path: string,
    body?: unknown,
    more: { headers?: Record<string, string>; signal?: AbortSignal } = {},
  ): Promise<Reply> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = { ...more.headers, ...(text !== undefined && { "content-type": "application/json" }) };
    const response = await this.#send(
      method,
      path,
      { headers, ...(more.signal && { signal: more.signal }) },
      text,
    );
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of response) {
      size += (part as Buffer).length;
      if (size > ANSWER_BYTES_MAX) throw new Error(`the answer of ${path} is too large`);
      parts.push(part as Buffer);
    }
    const answer = Buffer.concat(parts).toString();
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: answer === "" ? null : JSON.parse(answer),
    };
  }

  /** From byte `from` on; the answer says with its status whether it begins there. */
  bytes(path: string, from: number, signal: AbortSignal): Promise<IncomingMessage> {
    const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
    return this.#send("GET", path, { headers, signal });
  }

  #send(method: string, path: string, more: RequestOptions, body?: string): Promise<IncomingMessage> {
    const { url, key, ca } = this.#options;
    const target = new URL(path, url);
    const send = target.protocol === "https:" ? httpsRequest : httpRequest;
    const headers = { ...more.headers, ...(key !== null && { authorization: `Bearer ${key}` }) };
    return new Promise((resolve, reject) => {
      const sent = send(target, { ...more, method, headers, ...(ca !== undefined && { ca }) }, resolve);
      sent.setTimeout(SILENCE_MS, () => sent.destroy(new Away("the control plane does not answer")));
      sent.once("error", (error: Error & { code?: string }) =>
        reject(
          (sent.socket as TLSSocket | null)?.authorizationError
            ? new Error("its certificate is not trusted")
            : error,
        ),
      );
      sent.end(body);
    });
  }
}

/** What the control plane says of a refusal, in one line. */
export const refusalOf = ({ status, body }: Reply): string =>
  `${status} ${(body as { Message?: string } | null)?.Message ?? ""}`.trim();
