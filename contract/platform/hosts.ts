// SPDX-License-Identifier: Apache-2.0
/** Hosts: letting them in, emptying them, putting them out. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Instant } from "./vocabulary.ts";

export const HOST_ID_PATTERN = "^host_[0-9a-f]{32}$";
const HostId = Type.String({ pattern: HOST_ID_PATTERN });

const Host = Type.Object({
  id: HostId,
  object: Type.Enum(["host"]),
  name: Type.String(),
  state: Type.Enum(["connected", "away", "draining", "put_out"]),
  version: Type.String(),
  isolations: Type.Array(Type.String()),
  machines: Type.Integer({
    description: "What it has of us now, sessions included, and disks that another host is still to fetch",
  }),
  last_seen_at: Instant,
  created_at: Instant,
});

const base = { surface: "platform", access: "admin", tag: "Hosts" } as const;
const refused = ["identity.unauthorized", "identity.forbidden"] as const;

export const listHosts = operation({
  ...base,
  id: "platform.hosts.list",
  method: "GET",
  path: "/platform/v1/hosts",
  summary: "Hosts, oldest first",
  responses: { 200: { description: "Hosts", schema: Type.Object({ hosts: Type.Array(Host) }) } },
  errors: refused,
});

export const inviteHost = operation({
  ...base,
  id: "platform.hosts.invite",
  method: "POST",
  path: "/platform/v1/hosts/invitations",
  summary: "A word that lets one host in, once",
  description:
    "Give it to `casemate host join` on the new machine. It is shown this once, and of no use after it was used.",
  body: Type.Object(
    {
      name: Type.Optional(Type.String({ maxLength: 64, description: "What you will know the host by" })),
      lifetime_s: Type.Optional(
        Type.Integer({ minimum: 60, maximum: 86_400, default: 3600, description: "Seconds" }),
      ),
    },
    { additionalProperties: false },
  ),
  responses: {
    201: {
      description: "The invitation",
      schema: Type.Object({ id: Type.String(), token: Type.String(), expires_at: Instant }),
    },
  },
  errors: refused,
  example: { body: { name: "rack-2" } },
});

export const joinHost = operation({
  id: "platform.hosts.join",
  surface: "platform",
  method: "POST",
  path: "/platform/v1/hosts/join",
  access: "public",
  perAddressRpm: 30,
  tag: "Hosts",
  summary: "Come in with an invitation",
  description:
    "Called by `casemate host join`. The host made its key pair itself, and proves it here and at the broker; the answer says where that is. Repeating it with the same key is answered again.",
  body: Type.Object(
    {
      token: Type.String({ minLength: 16, maxLength: 128 }),
      host_id: HostId,
      public_key: Type.String({ pattern: "^U[A-Z2-7]{55}$", description: "Of an nkey of a user" }),
      signature: Type.String({
        pattern: "^[A-Za-z0-9_-]{86}$",
        description:
          "Made with the seed of `public_key`, base64url, over the lines `casemate host join 1`, the SHA-256 of `token` in hex, `host_id` and `public_key`, each ended by LF",
      }),
    },
    { additionalProperties: false },
  ),
  responses: {
    200: {
      description: "It is in",
      schema: Type.Object({
        host_id: HostId,
        key: Type.String({ description: "The host's own key for this API, shown this once" }),
        broker: Type.Object({
          servers: Type.Array(Type.String()),
          tls: Type.Enum(["on", "off"]),
          ca_pem: Type.Union([Type.String(), Type.Null()]),
        }),
      }),
    },
  },
  errors: ["host.invitation", "host.no-broker", "request.invalid", "limits.rate"],
  example: {
    body: {
      token: "cm_join_0123456789abcdefghijklmnopqrstuv",
      host_id: "host_00000000000000000000000000000000",
      public_key: `U${"A".repeat(55)}`,
      signature: "A".repeat(86),
    },
  },
});

const one = { ...base, method: "POST", params: Type.Object({ id: HostId }) } as const;
const done = { 200: { description: "The host", schema: Host } };
const errors = [...refused, "host.not-found"] as const;

export const drainHost = operation({
  ...one,
  id: "platform.hosts.drain",
  path: "/platform/v1/hosts/:id/drain",
  summary: "Give a host nothing new",
  description:
    "Sessions on it go on to their end. With `move`, its workloads are started anew on other hosts as there is room. The disk of a virtual machine goes with it, as ciphertext, and the machine starts when it has come; what containers kept in volumes stays behind.",
  body: Type.Object(
    { move: Type.Optional(Type.Boolean({ default: false })) },
    { additionalProperties: false },
  ),
  responses: done,
  errors,
  example: { body: { move: true } },
});

export const resumeHost = operation({
  ...one,
  id: "platform.hosts.resume",
  path: "/platform/v1/hosts/:id/resume",
  summary: "Give a host machines again",
  responses: done,
  errors,
});

export const revokeHost = operation({
  ...one,
  id: "platform.hosts.revoke",
  path: "/platform/v1/hosts/:id/revoke",
  summary: "Put a host out, for good",
  description:
    "Its credentials stop counting at once, on every replica. Its workloads are started anew on other hosts, without their volumes; its sessions end without a proof, since nobody is left who could give one.",
  responses: done,
  errors,
});
