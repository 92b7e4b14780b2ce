// SPDX-License-Identifier: Apache-2.0
/**
 * Coming in: a new host shows an invitation to control's API and learns where the broker is. What it
 * proves itself by from then on, it made itself, and only the public half left this machine.
 *
 *  A. The key pair is on disk before the invitation is shown, so an answer that was lost is asked for
 *     again with the same word and the same key, by the same command.
 *  B. Over plain HTTP anybody on the way could use the word first, so it is sent off this machine over
 *     TLS only.
 */
import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { newNkey, publicKeyOf } from "#link/nats/access.ts";
import { signJoining } from "#link/nats/joining.ts";
import { replaceFile } from "./durable-file.ts";
import { ownId } from "./own-id.ts";

const ANSWER_MS = 20_000;
const ANSWER_BYTES_MAX = 256 * 1024;

export interface JoinOptions {
  /** Where control's API is, e.g. `https://api.example.com`. */
  url: string;
  token: string;
  /** The host's own folder, 0700. */
  stateFolder: string;
  /** PEM of the authority of control's certificate; undefined: those that the system trusts. */
  ca?: string;
}

export interface JoinedBroker {
  servers: string[];
  seedFile: string;
  credsFile: null;
  caFile: string | null;
  tls: "on" | "off";
}

/** What the host's configuration says of the broker. Also kept in `broker.json` of the folder. */
export async function joinControl({ url, token, stateFolder, ca }: JoinOptions): Promise<JoinedBroker> {
  const target = new URL("/platform/v1/hosts/join", url);
  if (target.protocol !== "https:" && !/^(localhost|127\.[\d.]+|\[::1\])$/.test(target.hostname))
    throw new Error(
      `${url} is not this machine and not https: whoever is in between could use the invitation`,
    );
  const hostId = await ownId(stateFolder);
  const seedFile = join(stateFolder, "broker.seed");
  const seed = readIf(seedFile) ?? (await makeSeed(seedFile));
  const publicKey = publicKeyOf(seed);
  const signature = signJoining(seed, { token, hostId, publicKey });
  const answer = await post(target, { token, host_id: hostId, public_key: publicKey, signature }, ca);
  const { key, broker } = answer as { key: string; broker: Broker };
  await replaceFile(join(stateFolder, "api.key"), Buffer.from(`${key}\n`), "name");
  const caFile = broker.ca_pem === null ? null : join(stateFolder, "broker-ca.pem");
  if (caFile !== null) await replaceFile(caFile, Buffer.from(broker.ca_pem!), "name");
  const joined: JoinedBroker = {
    servers: broker.servers,
    seedFile,
    credsFile: null,
    caFile,
    tls: broker.tls,
  };
  await replaceFile(join(stateFolder, "broker.json"), Buffer.from(`${JSON.stringify(joined)}\n`), "name");
  return joined;
}

/** What an earlier joining left, or null. */
export function readJoined(stateFolder: string): JoinedBroker | null {
  const text = readIf(join(stateFolder, "broker.json"));
  return text === null ? null : (JSON.parse(text) as JoinedBroker);
}

interface Broker {
  servers: string[];
  tls: "on" | "off";
  ca_pem: string | null;
}

async function makeSeed(path: string): Promise<string> {
  const { seed } = newNkey();
  await replaceFile(path, Buffer.from(seed), "name");
  return seed;
}

function readIf(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function post(url: URL, body: object, ca?: string): Promise<unknown> {
  const request = url.protocol === "https:" ? httpsRequest : httpRequest;
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const sent = request(
    url,
    {
      method: "POST",
      headers: { "content-type": "application/json" },
      signal: AbortSignal.timeout(ANSWER_MS),
      ...(ca === undefined ? {} : { ca }),
    },
    async (response) => {
      try {
        const chunks: Buffer[] = [];
        let length = 0;
        for await (const chunk of response) {
          length += chunk.length;
          if (length > ANSWER_BYTES_MAX) throw new Error(`${url.origin} answers more than a control would`);
          chunks.push(chunk);
        }
        const answer = JSON.parse(Buffer.concat(chunks).toString()) as { message?: string };
        if (response.statusCode !== 200) throw new Error(answer.message ?? `${response.statusCode}`);
        resolve(answer);
      } catch (error) {
        reject(error);
      }
    },
  );
  sent.on("error", reject);
  sent.end(JSON.stringify(body));
  return promise;
}
