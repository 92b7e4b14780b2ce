// SPDX-License-Identifier: Apache-2.0
/**
 * A server of one bucket that speaks the part of S3's protocol that we use, in path style, and believes no
 * request that is not signed: AWS Signature Version 4 over the canonical request, the body's own SHA-256
 * among its headers. Refusals are those of the service: SignatureDoesNotMatch, RequestTimeTooSkewed,
 * XAmzContentSHA256Mismatch, NoSuchKey, EntityTooSmall. Source: Amazon's S3 API reference.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface S3Server extends AsyncDisposable {
  endpoint: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** Keys there are, and parts that were sent and not put together. */
  contents(): string[];
  /** Codes that were answered instead of a result. */
  refusals: string[];
  /** The next requests, or the next like this (`METHOD /path?query`), are answered so. */
  failNext(status: number, code: string, times?: number, like?: RegExp): void;
}

const REGION = "us-east-1";
const BUCKET = "models";
const SKEW_MS = 15 * 60_000;
const PART_MIN = 5 * 1024 * 1024;
/** Fewer than the thousand of the service, so that lists have more pages than one. */
const PAGE = 10;

interface Stored {
  bytes: Buffer;
  at: Date;
}
interface Multipart {
  key: string;
  at: Date;
  parts: Map<number, Buffer>;
}

class Refused extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string) {
    super(code);
    this.status = status;
    this.code = code;
  }
}

const sha256 = (bytes: Buffer | string) => createHash("sha256").update(bytes).digest("hex");
const tagOf = (bytes: Buffer) => `"${createHash("md5").update(bytes).digest("hex")}"`;
/** As the signature wants it: everything but the unreserved characters. */
const encode = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (each) => `%${each.charCodeAt(0).toString(16).toUpperCase()}`);
const escaped = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

export async function startS3Server(): Promise<S3Server> {
  const accessKeyId = `AK${randomBytes(9).toString("hex").toUpperCase()}`;
  const secretAccessKey = randomBytes(30).toString("base64");
  const objects = new Map<string, Stored>();
  const multiparts = new Map<string, Multipart>();
  const refusals: string[] = [];
  let failing: { refused: Refused; like: RegExp }[] = [];

  const server = createServer(async (request, response) => {
    try {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      const body = Buffer.concat(parts);
      const url = new URL(request.url!, "http://host");
      requireSigned(request, url, body, accessKeyId, secretAccessKey);
      const failure = failing.find(({ like }) => like.test(`${request.method} ${request.url}`));
      failing = failing.filter((each) => each !== failure);
      if (failure !== undefined) throw failure.refused;
      const [, bucket, ...rest] = url.pathname.split("/");
      if (bucket !== BUCKET) throw new Refused(404, "NoSuchBucket");
      const key = decodeURIComponent(rest.join("/"));
      answer(request, response, { key, query: url.searchParams, body, objects, multiparts });
    } catch (error) {
      const { status, code } = error instanceof Refused ? error : new Refused(500, "InternalError");
      if (!(error instanceof Refused)) console.error(error);
      refusals.push(code);
      xml(response, `<Error><Code>${code}</Code><Message>${code}</Message></Error>`, status);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ...{ region: REGION, bucket: BUCKET, accessKeyId, secretAccessKey, refusals },
    contents: () =>
      [
        ...objects.keys(),
        ...[...multiparts.values()].map(({ key, parts }) => `${key} ${[...parts.keys()]}`),
      ].sort(),
    failNext: (status, code, times = 1, like = /^/) => {
      for (let n = 0; n < times; n++) failing.push({ refused: new Refused(status, code), like });
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function requireSigned(request: IncomingMessage, url: URL, body: Buffer, id: string, secret: string): void {
  const { authorization = "" } = request.headers;
  const [, credential, signed, signature] =
    /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      authorization,
    ) ?? [];
  if (credential === undefined) throw new Refused(403, "AccessDenied");
  const [key, date, region, service, end] = credential.split("/");
  if (key !== id) throw new Refused(403, "InvalidAccessKeyId");
  const at = String(request.headers["x-amz-date"] ?? "");
  const scope = `${date}/${region}/${service}/${end}`;
  if (scope !== `${at.slice(0, 8)}/${REGION}/s3/aws4_request`)
    throw new Refused(400, "AuthorizationHeaderMalformed");
  const when = Date.parse(at.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
  if (!(Math.abs(Date.now() - when) < SKEW_MS)) throw new Refused(403, "RequestTimeTooSkewed");
  const digest = String(request.headers["x-amz-content-sha256"] ?? "");
  const names = signed!.split(";");
  if (!names.includes("host") || !names.includes("x-amz-content-sha256"))
    throw new Refused(403, "AccessDenied");
  const query = [...url.searchParams].map(([name, value]) => `${encode(name)}=${encode(value)}`).sort();
  const canonical = [
    request.method,
    url.pathname,
    query.join("&"),
    ...names.map(
      (name) =>
        `${name}:${String(request.headers[name] ?? "")
          .trim()
          .replace(/\s+/g, " ")}`,
    ),
    "",
    signed,
    digest,
  ].join("\n");
  const hmac = (secretOf: Buffer | string, text: string) =>
    createHmac("sha256", secretOf).update(text).digest();
  const signing = [date!, REGION, "s3", "aws4_request"].reduce<Buffer | string>(hmac, `AWS4${secret}`);
  const expected = hmac(signing, `AWS4-HMAC-SHA256\n${at}\n${scope}\n${sha256(canonical)}`);
  if (!timingSafeEqual(expected, Buffer.from(signature!, "hex")))
    throw new Refused(403, "SignatureDoesNotMatch");
  if (digest !== sha256(body)) throw new Refused(400, "XAmzContentSHA256Mismatch");
}

interface Asked {
  key: string;
  query: URLSearchParams;
  body: Buffer;
  objects: Map<string, Stored>;
  multiparts: Map<string, Multipart>;
}

function answer(request: IncomingMessage, response: ServerResponse, asked: Asked) {
  const { key, query, objects } = asked;
  const method = request.method!;
  if (key === "" && method === "GET")
    return query.has("uploads") ? listMultiparts(response, asked) : list(response, asked);
  if (query.has("uploads") || query.has("uploadId")) return multipart(request, response, asked);
  if (method === "PUT") {
    const bytes = copied(request, objects) ?? asked.body;
    objects.set(key, { bytes, at: new Date() });
    const result = `<CopyObjectResult><ETag>${escaped(tagOf(bytes))}</ETag></CopyObjectResult>`;
    if (request.headers["x-amz-copy-source"] !== undefined) return xml(response, result);
    response.writeHead(200, { etag: tagOf(bytes) }).end();
    return;
  }
  if (method === "DELETE") {
    objects.delete(key);
    response.writeHead(204).end();
    return;
  }
  const found = objects.get(key);
  if (found === undefined) throw new Refused(404, "NoSuchKey");
  read(request, response, found);
}

function read(request: IncomingMessage, response: ServerResponse, { bytes, at }: Stored): void {
  const headers = { etag: tagOf(bytes), "last-modified": at.toUTCString(), "accept-ranges": "bytes" };
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
  if (first !== undefined && Number(first) >= bytes.length) throw new Refused(416, "InvalidRange");
  const end = last === undefined || last === "" ? bytes.length - 1 : Math.min(Number(last), bytes.length - 1);
  const part = first === undefined ? bytes : bytes.subarray(Number(first), end + 1);
  const range = first === undefined ? {} : { "content-range": `bytes ${first}-${end}/${bytes.length}` };
  response.writeHead(first === undefined ? 200 : 206, {
    ...headers,
    ...range,
    "content-length": part.length,
  });
  response.end(request.method === "HEAD" ? undefined : part);
}

function copied(request: IncomingMessage, objects: Map<string, Stored>): Buffer | null {
  const source = request.headers["x-amz-copy-source"];
  if (source === undefined) return null;
  const found = objects.get(decodeURIComponent(String(source)).replace(new RegExp(`^/?${BUCKET}/`), ""));
  if (found === undefined) throw new Refused(404, "NoSuchKey");
  return found.bytes;
}

function multipart(request: IncomingMessage, response: ServerResponse, asked: Asked) {
  const { key, query, body, objects, multiparts } = asked;
  if (request.method === "POST" && query.has("uploads")) {
    const id = randomBytes(16).toString("hex");
    multiparts.set(id, { key, at: new Date(), parts: new Map() });
    const names = `<Bucket>${BUCKET}</Bucket><Key>${escaped(key)}</Key>`;
    const made = `${names}<UploadId>${id}</UploadId>`;
    return xml(response, `<InitiateMultipartUploadResult>${made}</InitiateMultipartUploadResult>`);
  }
  const id = query.get("uploadId")!;
  const found = multiparts.get(id);
  if (found === undefined || found.key !== key) throw new Refused(404, "NoSuchUpload");
  if (request.method === "PUT") {
    const bytes = copied(request, objects) ?? body;
    found.parts.set(Number(query.get("partNumber")), bytes);
    const result = `<CopyPartResult><ETag>${escaped(tagOf(bytes))}</ETag></CopyPartResult>`;
    if (request.headers["x-amz-copy-source"] !== undefined) return xml(response, result);
    response.writeHead(200, { etag: tagOf(bytes) }).end();
    return;
  }
  if (request.method === "DELETE") {
    multiparts.delete(id);
    response.writeHead(204).end();
    return;
  }
  const named = [...body.toString().matchAll(/<Part>.*?<\/Part>/gs)].map(([part]) => ({
    number: Number(/<PartNumber>(\d+)</.exec(part)?.[1]),
    tag: /<ETag>(.*?)<\/ETag>/.exec(part)?.[1]?.replaceAll("&quot;", '"'),
  }));
  const parts = named.map(({ number, tag }) => {
    const bytes = found.parts.get(number);
    if (bytes === undefined || tagOf(bytes) !== tag) throw new Refused(400, "InvalidPart");
    return bytes;
  });
  if (named.some(({ number }, index) => index > 0 && number <= named[index - 1]!.number))
    throw new Refused(400, "InvalidPartOrder");
  if (parts.slice(0, -1).some(({ length }) => length < PART_MIN)) throw new Refused(400, "EntityTooSmall");
  objects.set(key, { bytes: Buffer.concat(parts), at: new Date() });
  multiparts.delete(id);
  xml(response, `<CompleteMultipartUploadResult><Key>${escaped(key)}</Key></CompleteMultipartUploadResult>`);
}

function list(response: ServerResponse, { query, objects }: Asked): void {
  const after = query.get("continuation-token") ?? "";
  const keys = [...objects.keys()]
    .filter((key) => key.startsWith(query.get("prefix") ?? "") && key > after)
    .sort();
  const page = keys.slice(0, PAGE);
  const contents = page.map((key) => {
    const { bytes, at } = objects.get(key)!;
    const members = `<LastModified>${at.toISOString()}</LastModified><Size>${bytes.length}</Size>`;
    return `<Contents><Key>${escaped(key)}</Key>${members}</Contents>`;
  });
  const more = keys.length > page.length;
  const next = more ? `<NextContinuationToken>${escaped(page.at(-1)!)}</NextContinuationToken>` : "";
  const head = `<IsTruncated>${more}</IsTruncated><KeyCount>${page.length}</KeyCount>`;
  xml(response, `<ListBucketResult>${head}${next}${contents.join("")}</ListBucketResult>`);
}

function listMultiparts(response: ServerResponse, { query, multiparts }: Asked): void {
  const uploads = [...multiparts]
    .filter(([, { key }]) => key.startsWith(query.get("prefix") ?? ""))
    .map(([id, { key, at }]) => {
      const names = `<Key>${escaped(key)}</Key><UploadId>${id}</UploadId>`;
      return `<Upload>${names}<Initiated>${at.toISOString()}</Initiated></Upload>`;
    });
  xml(
    response,
    `<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>${uploads.join("")}</ListMultipartUploadsResult>`,
  );
}

function xml(response: ServerResponse, body: string, status = 200): void {
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n${body}`;
  response.writeHead(status, { "content-type": "application/xml" }).end(text);
}
