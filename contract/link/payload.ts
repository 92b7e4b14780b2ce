// SPDX-License-Identifier: Apache-2.0
/**
 * What runs in a kept machine. It holds secrets (env values, files, registry passwords), so it is no
 * part of the desired state, which is kept and repeated: a host asks for it when it starts the
 * machine, and forgets it when the machine has started.
 */
import { type Static, Type } from "typebox";

const ComposePayload = Type.Object(
  {
    kind: Type.Literal("compose"),
    /** The checked document, serialised by us as JSON (which is YAML 1.2); never the client's text. */
    compose: Type.String(),
    env: Type.Record(Type.String(), Type.String()),
    /** Name → base64. Names are relative, without `..`. */
    files: Type.Record(Type.String(), Type.String()),
    registries: Type.Array(
      Type.Object(
        { server: Type.String(), username: Type.String(), password: Type.String() },
        { additionalProperties: false },
      ),
    ),
    /** The service whose port the ingress reaches, and that port. */
    publicService: Type.String(),
    publicPort: Type.Integer({ minimum: 1, maximum: 65535 }),
  },
  { additionalProperties: false },
);

export type ComposePayload = Static<typeof ComposePayload>;

/**
 * Of a machine that attests itself: what it is started with, of which nothing is secret. Its secrets reach
 * it sealed, when control has judged its evidence (an `attest` stream).
 */
const LaunchPayload = Type.Object(
  {
    kind: Type.Literal("launch"),
    /** Bytes of the launch manifest (evidence/launch/manifest.ts) in base64; their SHA-256 is on the measured command line. */
    manifest: Type.String({ maxLength: 200_000 }),
    /** SHA-256 of the metadata of the guest image that is to be started. */
    image: Type.String({ pattern: "^[0-9a-f]{64}$" }),
    /** Registries of ours that the guest reaches through a door of the host: as clients name them, `host:port`. */
    registries: Type.Array(Type.String({ pattern: "^[a-z0-9.-]+:[0-9]{1,5}$" }), { maxItems: 8 }),
    /** Of a machine with a limit: what control knows that it has sent. Its host goes on from the larger of that and its own count. */
    sent: Type.Optional(
      Type.Object(
        { sentBytes: Type.Integer({ minimum: 0 }), cut: Type.Boolean() },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);
export type LaunchPayload = Static<typeof LaunchPayload>;

export const Payload = Type.Union([ComposePayload, LaunchPayload]);
export type Payload = Static<typeof Payload>;
