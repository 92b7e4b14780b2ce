// SPDX-License-Identifier: Apache-2.0
/** A registry client for tests: requests with an account's key, and small images to push. */
import { createHash } from "node:crypto";
import { OCI_MANIFEST } from "#contract/registry/vocabulary.ts";

export interface RegistryReply {
  status: number;
  headers: Headers;
  bytes: Buffer;
  /** Code of the first error, or null. */
  code: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: tests read what the wire holds, and say what they expect of it.
  json: any;
}

type Body = Uint8Array | string | ReadableStream | null;
export type RegistryCall = (
  method: string,
  path: string,
  body?: Body,
  headers?: Record<string, string>,
) => Promise<RegistryReply>;

export const digestOf = (bytes: Uint8Array | string) =>
  `sha256:${createHash("sha256").update(bytes).digest("hex")}` as const;

export const basic = (key: string) => `Basic ${Buffer.from(`anyone:${key}`).toString("base64")}`;

export function registryCaller(url: string, key: string | null): RegistryCall {
  return async (method, path, body = null, headers = {}) => {
    const response = await fetch(new URL(path, url), {
      method,
      headers: { ...(key === null ? {} : { authorization: basic(key) }), ...headers },
      ...(body === null ? {} : { body: body as string }),
      ...(body instanceof ReadableStream ? { duplex: "half" } : {}),
    } as RequestInit);
    const bytes = Buffer.from(await response.arrayBuffer());
    const isJson = (response.headers.get("content-type") ?? "").includes("json") && bytes.length > 0;
    const json = isJson ? JSON.parse(bytes.toString()) : null;
    return {
      status: response.status,
      headers: response.headers,
      bytes,
      json,
      code: json?.errors?.[0]?.code ?? null,
    };
  };
}

/** The blob is in the repository. */
export async function pushBlob(call: RegistryCall, name: string, bytes: Uint8Array): Promise<string> {
  const digest = digestOf(bytes);
  const started = await call("POST", `/v2/${name}/blobs/uploads/`);
  if (started.status !== 202) throw new Error(`the push was answered ${started.status} ${started.bytes}`);
  const ended = await call("PUT", `${started.headers.get("location")}?digest=${digest}`, bytes);
  if (ended.status !== 201) throw new Error(`the push was answered ${ended.status} ${ended.bytes}`);
  return digest;
}

export const descriptor = (bytes: Uint8Array, mediaType = "application/octet-stream") => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});

export function manifestOf(config: Uint8Array, layers: Uint8Array[], more: object = {}): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: descriptor(config, "application/vnd.oci.image.config.v1+json"),
    layers: layers.map((layer) => descriptor(layer, "application/vnd.oci.image.layer.v1.tar")),
    ...more,
  });
}

/** An image of nothing that runs, pushed whole; answers its manifest. */
export async function pushImage(
  call: RegistryCall,
  name: string,
  tag: string,
  layers: Uint8Array[],
): Promise<{ manifest: string; digest: string }> {
  const config = Buffer.from(JSON.stringify({ os: "linux", tag }));
  for (const bytes of [config, ...layers]) await pushBlob(call, name, bytes);
  const manifest = manifestOf(config, layers);
  const put = await call("PUT", `/v2/${name}/manifests/${tag}`, manifest, { "content-type": OCI_MANIFEST });
  if (put.status !== 201) throw new Error(`the manifest was answered ${put.status} ${put.bytes}`);
  return { manifest, digest: digestOf(manifest) };
}
