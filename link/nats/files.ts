// SPDX-License-Identifier: Apache-2.0
/** Access to a broker as configuration names it: secrets are files, so that no listing shows one. */
import { readFileSync } from "node:fs";
import { type Static, Type } from "typebox";
import type { NatsAccess } from "./access.ts";

const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

export const NatsFiles = Type.Object(
  {
    /** `nats://name:port`; none: no broker is used. */
    servers: Type.Array(Type.String()),
    /** File with the nkey's seed. */
    seedFile: nullable(Type.String()),
    /** File with a `.creds` text, for a cluster with operators and accounts. */
    credsFile: nullable(Type.String()),
    /** PEM of the authorities that may sign for the broker; null: those that the system trusts. */
    caFile: nullable(Type.String()),
    /** `off`: the network between hosts, control and broker is closed by other means. */
    tls: Type.Enum(["on", "off"]),
  },
  { additionalProperties: false },
);
export type NatsFiles = Static<typeof NatsFiles>;

export const NO_NATS: NatsFiles = { servers: [], seedFile: null, credsFile: null, caFile: null, tls: "on" };

/** Null when no broker is named. */
export function natsAccess({ servers, seedFile, credsFile, caFile, tls }: NatsFiles): NatsAccess | null {
  if (servers.length === 0) return null;
  if ((seedFile === null) === (credsFile === null))
    throw new Error("a broker needs one of seedFile and credsFile");
  const credentials =
    seedFile !== null
      ? { nkeySeed: readFileSync(seedFile, "utf8") }
      : { creds: readFileSync(credsFile!, "utf8") };
  if (tls === "off") return { servers, credentials, tls };
  return caFile === null
    ? { servers, credentials }
    : { servers, credentials, tls: { ca: readFileSync(caFile, "utf8") } };
}
