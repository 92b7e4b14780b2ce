// SPDX-License-Identifier: Apache-2.0
/** A client of models for tests: uploads as forms, and waits for what becomes of them. */
import { expect, vi } from "vitest";
import type { Caller, Reply } from "#testing/installation.ts";

export interface UploadedFile {
  name: string;
  bytes: Uint8Array;
}

export async function sendForm(
  url: string,
  key: string | null,
  method: string,
  path: string,
  { data, file }: { data?: unknown; file?: UploadedFile },
  headers: Record<string, string> = {},
): Promise<Reply> {
  const form = new FormData();
  if (data !== undefined) form.append("data", typeof data === "string" ? data : JSON.stringify(data));
  if (file !== undefined) form.append("file", new Blob([file.bytes as Uint8Array<ArrayBuffer>]), file.name);
  const response = await fetch(url + path, {
    method,
    headers: { ...headers, ...(key === null ? {} : { authorization: `Bearer ${key}` }) },
    body: form,
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: text === "" ? null : JSON.parse(text),
    text,
  };
}

export async function upload(
  url: string,
  caller: Caller,
  bytes: Uint8Array,
  data: object = {},
  name = "model.onnx",
): Promise<Reply["body"]> {
  const reply = await sendForm(url, caller.key, "POST", "/cpt/functions", {
    data: { Name: "A model", ...data },
    file: { name, bytes },
  });
  expect([reply.status, reply.body.Message]).toEqual([201, undefined]);
  return reply.body;
}

/** Until it is what it will be. */
export async function settledFunction(caller: Caller, id: string): Promise<Reply["body"]> {
  let last: Reply["body"] = null;
  await vi.waitUntil(
    async () => {
      last = (await caller("GET", `/cpt/function/${id}`)).body;
      return /^(ok|error)$/.test(last.Status);
    },
    { timeout: 110_000, interval: 200 },
  );
  return last;
}

export async function overConversion(caller: Caller, id: string): Promise<Reply["body"]> {
  let last: Reply["body"] = null;
  await expect
    .poll(
      async () => {
        last = (await caller("GET", `/cpt/conversion/${id}`)).body;
        return last.Status;
      },
      { timeout: 110_000, interval: 200 },
    )
    .toMatch(/^(ok|error|cancelled)$/);
  return last;
}
