// SPDX-License-Identifier: Apache-2.0
/** An HTTP client for tests: one key, every answer taken whole. */

export interface Reply {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests read what the wire holds, and say what they expect of it.
  body: any;
  text: string;
}

export interface Caller {
  key: string | null;
  (method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>;
}

export function callerOf(url: string, key: string | null): Caller {
  const call = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined || body instanceof Uint8Array ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined
        ? {}
        : {
            body:
              body instanceof Uint8Array || typeof body === "string"
                ? (body as string)
                : JSON.stringify(body),
          }),
    });
    const text = await response.text();
    const json = (response.headers.get("content-type") ?? "").includes("json");
    return {
      status: response.status,
      headers: response.headers,
      body: json && text !== "" ? JSON.parse(text) : null,
      text,
    };
  };
  return Object.assign(call, { key });
}
