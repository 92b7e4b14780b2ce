// SPDX-License-Identifier: Apache-2.0
/** A registry that speaks the distribution protocol as far as an engine needs it to pull one image, with a login. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";

export interface FakeRegistry {
  /** `host:port`, and the only image there is. */
  server: string;
  image: string;
  digest: string;
  /** `METHOD path status` of every request. */
  requests: string[];
  close(): Promise<void>;
}

const digestOf = (bytes: Buffer) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

export async function fakeRegistry(username: string, password: string): Promise<FakeRegistry> {
  const layer = execFileSync("tar", ["-cz", "-h", "-C", "/bin", "busybox"], { maxBuffer: 64 * 1024 * 1024 });
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      os: "linux",
      config: { Cmd: ["/busybox", "sleep", "1000"], Volumes: { "/declared": {} } },
      rootfs: { type: "layers", diff_ids: [digestOf(gunzipSync(layer))] },
    }),
  );
  const describe = (kind: string, bytes: Buffer) => ({
    mediaType: `application/vnd.docker.${kind}`,
    size: bytes.length,
    digest: digestOf(bytes),
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.docker.distribution.manifest.v2+json",
      config: describe("container.image.v1+json", config),
      layers: [describe("image.rootfs.diff.tar.gzip", layer)],
    }),
  );
  const blobs = new Map([layer, config].map((bytes) => [digestOf(bytes), bytes]));
  const login = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? "/";
    response.on("finish", () => requests.push(`${request.method} ${path} ${response.statusCode}`));
    if (request.headers.authorization !== login)
      return response.writeHead(401, { "www-authenticate": 'Basic realm="fake"' }).end("{}");
    if (path === "/v2/") return response.writeHead(200).end("{}");
    const wanted = path.startsWith("/v2/team/app/manifests/")
      ? manifest
      : blobs.get(/^\/v2\/team\/app\/blobs\/(.*)$/.exec(path)?.[1] ?? "");
    if (wanted === undefined) return response.writeHead(404).end("{}");
    response
      .writeHead(200, {
        "content-type":
          wanted === manifest
            ? "application/vnd.docker.distribution.manifest.v2+json"
            : "application/octet-stream",
        "content-length": wanted.length,
        "docker-content-digest": digestOf(wanted),
      })
      .end(request.method === "HEAD" ? undefined : wanted);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    server: address,
    image: `${address}/team/app:v1`,
    digest: digestOf(manifest),
    requests,
    close: () => new Promise((resolve) => void server.close(() => resolve()).closeAllConnections()),
  };
}
