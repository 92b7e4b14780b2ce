// SPDX-License-Identifier: Apache-2.0
/**
 * How we speak to a directory of certificates (RFC 8555): HTTPS, its certificate checked, and nothing of
 * the client library's own ways, which know no end and hide what went wrong.
 *
 *  A. Every call has a time and its answer a size: a directory that hangs or floods costs an order, not the host.
 *  B. No redirect is followed and no address without TLS is called, also when the directory names one.
 *  C. Nothing is repeated here. A directory that is busy says when to come back, and certificates.ts obeys.
 *
 * The library keeps one way to the network for the whole process, so one directory is open at a time.
 */
import { request } from "node:https";
import "../reflect-metadata.ts";
import acme from "acme-client";

export interface TransportOptions {
  /** PEM of the authorities that may have signed for the directory; null: those that Node trusts. */
  ca: string | null;
  requestMs: number;
  signal: AbortSignal;
}

/** What the directory, or the way to it, had against a call. */
export class DirectoryFault extends Error {
  /** Null: nobody answered. */
  readonly status: number | null;
  /** The last part of the problem's type, as in RFC 8555, 6.7: `rateLimited`. */
  readonly problem: string | null;
  readonly retryAfterMs: number | null;

  constructor(
    message: string,
    about: { status?: number; problem?: string | null; retryAfterMs?: number | null } = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.status = about.status ?? null;
    this.problem = about.problem ?? null;
    this.retryAfterMs = about.retryAfterMs ?? null;
  }
}

const ANSWER_BYTES_MAX = 1024 * 1024;
const WORDS_MAX = 300;

/** All calls of the library go this way until the returned function is called. */
export function useTransport(options: TransportOptions): () => void {
  const { request: hooks } = acme.axios.interceptors;
  const hook = hooks.use((config) => {
    config.adapter = async (asked) => {
      const headers = JSON.parse(JSON.stringify(asked.headers)) as Record<string, string>;
      const answer = await call(options, {
        url: asked.url ?? "",
        method: (asked.method ?? "get").toUpperCase(),
        headers,
        body: typeof asked.data === "string" ? asked.data : "",
      });
      return { ...answer, statusText: "", config: asked };
    };
    return config;
  });
  return () => hooks.eject(hook);
}

interface Asked {
  url: string;
  method: string;
  headers: Record<string, string>;
  body: string;
}

interface Answered {
  status: number;
  headers: Record<string, string>;
  data: string;
}

async function call({ ca, requestMs, signal }: TransportOptions, asked: Asked): Promise<Answered> {
  if (!URL.canParse(asked.url) || new URL(asked.url).protocol !== "https:")
    throw new DirectoryFault("the directory names an address that is not https");
  const ends = AbortSignal.any([signal, AbortSignal.timeout(requestMs)]);
  const answer = await new Promise<Answered>((resolve, reject) => {
    const outgoing = request(
      asked.url,
      {
        method: asked.method,
        headers: { ...asked.headers, "content-length": Buffer.byteLength(asked.body) },
        ...(ca === null ? {} : { ca }),
        // A connection of its own: one that is kept would outlive what it was trusted for.
        agent: false,
        signal: ends,
      },
      (incoming) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        incoming.on("data", (part: Buffer) => {
          bytes += part.length;
          parts.push(part);
          if (bytes > ANSWER_BYTES_MAX) incoming.destroy(new Error("the answer is too large"));
        });
        incoming.on("error", reject);
        incoming.on("end", () => {
          const headers = Object.fromEntries(
            Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]),
          );
          resolve({ status: incoming.statusCode!, headers, data: Buffer.concat(parts).toString() });
        });
      },
    );
    outgoing.on("error", reject);
    outgoing.end(asked.body);
  }).catch((cause: Error & { code?: string }) => {
    const why = ends.aborted && !signal.aborted ? `no answer within ${requestMs} ms` : (cause.code ?? "");
    throw new DirectoryFault(
      plain(`the directory cannot be reached: ${why || cause.message}`),
      {},
      { cause },
    );
  });
  const { problem, words } = problemOf(answer);
  // The library repeats this one by itself, with the nonce of the answer (RFC 8555, 6.5).
  if (answer.status < 300 || problem === "badNonce") return answer;
  throw new DirectoryFault(plain(`the directory answered ${answer.status}: ${words}`), {
    status: answer.status,
    problem,
    retryAfterMs: retryAfterMs(answer.headers["retry-after"]),
  });
}

function problemOf({ status, data }: Answered): { problem: string | null; words: string } {
  if (status < 300) return { problem: null, words: "" };
  try {
    const { type, detail } = JSON.parse(data) as { type?: unknown; detail?: unknown };
    return { problem: String(type).split(":").at(-1)!.slice(0, 64), words: String(detail) };
  } catch {
    return { problem: null, words: "no problem document" };
  }
}

/** Seconds, or a date. */
function retryAfterMs(field: string | undefined): number | null {
  if (field === undefined) return null;
  const ms = /^[0-9]+$/.test(field) ? Number(field) * 1000 : Date.parse(field) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : null;
}

/** Words of somebody else's, for one line of our log. */
export const plain = (words: string): string => words.replaceAll(/[^\x20-\x7e]+/g, " ").slice(0, WORDS_MAX);
