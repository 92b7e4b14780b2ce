// SPDX-License-Identifier: Apache-2.0
/**
 * The configuration of a nats-server that carries the link: who may enter, and which subjects each may
 * use. The attacker held off is a host that was taken over and holds its own credentials.
 *
 *  A. A host publishes below `casemate.host.<its id>.up` and hears below `casemate.host.<its id>.down`.
 *     It can neither read nor answer for another host, nor speak as control, also not to itself.
 *  B. Control publishes below `down` and hears below `up` of every host, and can do nothing else.
 *  C. Nobody has an inbox, so nobody can listen in on the answers of others. Nobody belongs to the
 *     system account, so `$SYS` is closed to all.
 *  D. No value can leave its quotes: a host id is matched before it becomes a subject.
 *
 * On a cluster of your own, give the same permissions to users of an account that nothing else uses
 * (README.md beside this file).
 */
import { LinkFault } from "../message.ts";
import { isLoopback } from "./access.ts";
import { downOf, EVERY_HOST, requireHostId, upOf } from "./subjects.ts";

/** A broker that lets one client open more would let it fill the broker's memory. */
const SUBSCRIPTIONS_MAX = 16;
const PAYLOAD_MAX = 1024 * 1024;

/** The public half of an nkey, or a password: in clear or, better, as the bcrypt hash of it. */
export type NatsSecret = { publicKey: string } | { password: string };

export interface NatsConfigOptions {
  listen: { host: string; port: number };
  control: NatsSecret;
  /** With a password, the user's name is the host's id. Two keys for one host are a change of keys under way. */
  hosts: ({ hostId: string } & NatsSecret)[];
  /** `"off"`: the network between hosts, control and broker is closed by other means. Not needed on loopback. */
  tls?: { certFile: string; keyFile: string } | "off";
  pidFile: string;
}

/** Name of control's user when it has a password; no host can have it, for the dot. */
export const CONTROL_USER = "casemate.control";

export function natsConfig({ listen, control, hosts, tls, pidFile }: NatsConfigOptions): string {
  if (tls === undefined && !isLoopback(listen.host.includes(":") ? `[${listen.host}]` : listen.host))
    throw new LinkFault("link.unguarded", `a broker on ${listen.host} needs tls, or tls: "off"`);
  const users = [
    {
      ...identity(control, CONTROL_USER),
      permissions: permissions(`${downOf(EVERY_HOST)}.>`, `${upOf(EVERY_HOST)}.>`),
    },
    ...hosts.map((host) => {
      const hostId = requireHostId(host.hostId);
      return {
        ...identity(host, hostId),
        permissions: permissions(`${upOf(hostId)}.>`, `${downOf(hostId)}.>`),
      };
    }),
  ];
  // The server reads JSON as one of its own notations.
  return JSON.stringify(
    {
      server_name: "casemate",
      host: listen.host,
      port: listen.port,
      pid_file: pidFile,
      max_payload: PAYLOAD_MAX,
      max_subscriptions: SUBSCRIPTIONS_MAX,
      ...(typeof tls === "object" ? { tls: { cert_file: tls.certFile, key_file: tls.keyFile } } : {}),
      accounts: { CASEMATE: { users }, SYS: {} },
      system_account: "SYS",
    },
    null,
    2,
  );
}

const permissions = (publish: string, subscribe: string) => ({
  publish: { allow: [publish] },
  subscribe: { allow: [subscribe] },
});

function identity(secret: NatsSecret, user: string) {
  if ("publicKey" in secret) {
    if (!/^U[A-Z2-7]{55}$/.test(secret.publicKey))
      throw new LinkFault("link.nkey", "not the public key of a user (it starts with U)");
    return { nkey: secret.publicKey };
  }
  if (!/^[\x21-\x7e]{16,200}$/.test(secret.password))
    throw new LinkFault("link.password", "a password on this link is 16 to 200 printable ASCII characters");
  return { user, password: secret.password };
}
