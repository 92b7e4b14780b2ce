// SPDX-License-Identifier: Apache-2.0
/** Hosts for the operator: who is in, who may come, who is to go. The work that follows is done by the turns. */
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/platform/hosts.ts";
import {
  admitHost,
  drainHost,
  inviteHost,
  listHosts,
  type Member,
  putOut,
  resumeHost,
} from "../../core/fleet/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { PlatformDeps } from "./deps.ts";

type Needs = Pick<PlatformDeps, "db" | "broker">;

const LIFETIME_S = 3600;
/** A host that was not heard of for this long is away. */
const AWAY_MS = 60_000;

export async function list({ db }: Needs, call: Call<typeof contract.listHosts>): Promise<Answer> {
  const hosts = await listHosts(db.soft);
  return { status: 200, body: { hosts: hosts.map((host) => view(host, call.now)) } };
}

export async function invite({ db, broker }: Needs, call: Call<typeof contract.inviteHost>): Promise<Answer> {
  // A word that leads nowhere would be found out on the other machine only.
  if (broker === null) throw new Fault("host.no-broker");
  const { name = "", lifetime_s: lifetimeS = LIFETIME_S } = call.body;
  const { id, token, expiresAt } = await inviteHost(db.run, { name, lifetimeS });
  return { status: 201, body: { id, token, expires_at: expiresAt.toISOString() } };
}

export async function join({ db, broker }: Needs, call: Call<typeof contract.joinHost>): Promise<Answer> {
  if (broker === null) throw new Fault("host.no-broker");
  const { token, host_id: hostId, public_key: publicKey, signature } = call.body;
  const { key } = await admitHost(db.run, { token, hostId, publicKey, signature });
  const { servers, tls, caPem } = broker;
  return { status: 200, body: { host_id: hostId, key, broker: { servers, tls, ca_pem: caPem } } };
}

export async function drain(deps: Needs, call: Call<typeof contract.drainHost>): Promise<Answer> {
  await drainHost(deps.db.run, call.params.id, call.body.move ?? false);
  return one(deps, call.params.id, call.now);
}

export async function resume(deps: Needs, call: Call<typeof contract.resumeHost>): Promise<Answer> {
  await resumeHost(deps.db.run, call.params.id);
  return one(deps, call.params.id, call.now);
}

export async function revoke(deps: Needs, call: Call<typeof contract.revokeHost>): Promise<Answer> {
  await putOut(deps.db.run, call.params.id);
  return one(deps, call.params.id, call.now);
}

async function one({ db }: Needs, id: string, now: Date): Promise<Answer> {
  const host = (await listHosts(db.run)).find((each) => each.id === id);
  if (host === undefined) throw new Fault("host.not-found");
  return { status: 200, body: view(host, now) };
}

const view = (host: Member, now: Date) => ({
  id: host.id,
  object: "host",
  name: host.name,
  state: stateOf(host, now),
  version: host.version,
  isolations: host.isolations,
  machines: host.machines,
  last_seen_at: host.last_seen.toISOString(),
  created_at: host.created_at.toISOString(),
});

function stateOf(host: Member, now: Date): string {
  if (host.revoked_at !== null) return "put_out";
  if (now.getTime() - host.last_seen.getTime() > AWAY_MS) return "away";
  return host.draining ? "draining" : "connected";
}
