// SPDX-License-Identifier: Apache-2.0
/** A store that lies, against a real HTTP server. */
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type Keys, provide } from "./artifacts.ts";
import { Client } from "./client.ts";
import { Folder } from "./folder.ts";
import type { ManifestArtifact } from "./wish.ts";

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const jwk = publicKey.export({ format: "jwk" });
const keys: Keys = new Map([["k1", { kty: jwk.kty!, crv: jwk.crv!, x: jwk.x! }]]);
const bytes = randomBytes(300_000);

function artifactOf(change: Partial<ManifestArtifact> = {}): ManifestArtifact {
  const facts = {
    ...{ Function: "f0000000-0000-4000-8000-000000000001", Version: 3, MediaType: "application/x-onnx" },
    ...{ SHA256: createHash("sha256").update(bytes).digest("hex"), Size: bytes.length },
  };
  const { SHA256, Size, MediaType, Function: model, Version } = facts;
  const statement = `${["casemate-artifact/1", SHA256, Size, MediaType, model, Version].join("\n")}\n`;
  const Signature = sign(null, Buffer.from(statement), privateKey).toString("base64");
  const rest = { UUID: "a", URL: "/bytes", KeyID: "k1", InputDriverDetails: {} };
  return { ...facts, ...rest, Signature, ...change };
}

let server: Server;
let answer: RequestListener;
let asked: (string | undefined)[];
let path: string;
beforeEach(async () => {
  asked = [];
  path = mkdtempSync(`${tmpdir()}/casemate-edge-`);
  server = createServer((request, response) => {
    asked.push(request.headers.range);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(path, { recursive: true, force: true });
});

function bring(artifact: ManifestArtifact): { done: Promise<void>; folder: Folder } {
  const folder = new Folder(path);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = new Client({ url, key: "cm_edge_x" });
  return { done: provide({ client, folder, keys, signal: new AbortController().signal }, artifact), folder };
}

/** Parts, and each of them cut off after `most` bytes. */
const inPieces =
  (most: number): RequestListener =>
  ({ headers }, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    const rest = bytes.subarray(from);
    response.writeHead(from > 0 ? 206 : 200, { "content-length": rest.length });
    if (rest.length <= most) response.end(rest);
    else response.write(rest.subarray(0, most), () => setTimeout(() => response.destroy(), 100));
  };

it("what is cut off is gone on with where it was, and is whole in the end", async () => {
  answer = inPieces(120_000);
  const artifact = artifactOf();
  const { done, folder } = bring(artifact);
  await done;
  expect(readFileSync(folder.artifactPath(artifact.SHA256)).equals(bytes)).toBe(true);
  expect(asked[0]).toBeUndefined();
  expect(asked.length).toBeGreaterThan(1);
  expect(asked.slice(1).every((range) => /^bytes=[1-9]/.test(range ?? ""))).toBe(true);
});

it("other bytes than were signed are not kept", async () => {
  const other = Buffer.from(bytes);
  other[1000]! ^= 1;
  answer = (_request, response) => void response.end(other);
  const { done, folder } = bring(artifactOf());
  await expect(done).rejects.toThrow("not those that were signed");
  expect(readdirSync(folder.artifacts)).toEqual([]);
});

it("more bytes than were signed are not even read", async () => {
  answer = (_request, response) => {
    const more = () => {
      while (response.write(bytes) && !response.destroyed);
      if (!response.destroyed) response.once("drain", more);
    };
    more();
  };
  await expect(bring(artifactOf()).done).rejects.toThrow("larger than was signed");
});

it.each<[string, Partial<ManifestArtifact>]>([
  ["of another model", { Function: "f0000000-0000-4000-8000-000000000002" }],
  ["of another version", { Version: 4 }],
  ["of another kind", { MediaType: "application/x-ort" }],
  ["of other bytes", { SHA256: "0".repeat(64) }],
  ["by a key that nobody knows", { KeyID: "k2" }],
  ["by nobody", { Signature: "" }],
])("a signature %s is none, and nothing is read", async (_what, change) => {
  answer = (_request, response) => void response.end(bytes);
  const { done } = bring(artifactOf(change));
  await expect(done).rejects.toThrow("not signed by the control plane");
  expect(asked).toEqual([]);
});

it("a digest that is a path names no file", async () => {
  const SHA256 = "../../etc/passwd";
  await expect(bring(artifactOf({ SHA256 })).done).rejects.toThrow("a digest that is none");
  expect(existsSync(path)).toBe(true);
});

it("a key is not sent over plain HTTP to another machine", () => {
  expect(() => new Client({ url: "http://api.example.com", key: "x" })).toThrow("not https");
  expect(() => new Client({ url: "https://api.example.com", key: "x" })).not.toThrow();
});
