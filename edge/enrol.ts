// SPDX-License-Identifier: Apache-2.0
/** Being let into a site: with a registration token at once, without one when somebody types the code. */
import { setTimeout as sleep } from "node:timers/promises";
import { Client, refusalOf } from "./client.ts";
import type { Folder, Identity } from "./folder.ts";

const POLL_MS = 3_000;

export interface EnrolOptions {
  url: string;
  systemId: string | undefined;
  token: string | undefined;
  name: string | undefined;
  ca: string | undefined;
  say(line: string): void;
}

export async function enrol(folder: Folder, options: EnrolOptions): Promise<Identity> {
  const { url, systemId, token, name, ca, say } = options;
  const client = new Client({ url, key: null, ca });
  const serverId = folder.serverId();
  const reply = await client.json("POST", "/dev/plugin/register", {
    ServerId: serverId,
    ...(systemId !== undefined && { SystemId: systemId }),
    Source: { os: process.platform, arch: process.arch, node: process.version },
    ...(name !== undefined && { Name: name }),
    ...(token !== undefined && { RegistrationToken: token }),
  });
  if (reply.status !== 201 && reply.status !== 202) throw new Error(refusalOf(reply));
  const { SystemId, Key } =
    reply.status === 201
      ? (reply.body as Enrolled)
      : await approved(client, reply.body as { Code: string; PollURL: string }, say);
  const identity: Identity = { url, serverId, systemId: SystemId, key: Key, ...(ca !== undefined && { ca }) };
  folder.keepIdentity(identity);
  return identity;
}

interface Enrolled {
  SystemId: string;
  Key: string;
}

async function approved(
  client: Client,
  { Code, PollURL }: { Code: string; PollURL: string },
  say: EnrolOptions["say"],
): Promise<Enrolled> {
  say(`Type this code at the site: ${Code}`);
  for (;;) {
    const reply = await client.json("GET", PollURL);
    if (reply.status === 200) return reply.body as Enrolled;
    if (reply.status !== 202) throw new Error(refusalOf(reply));
    await sleep(POLL_MS);
  }
}
