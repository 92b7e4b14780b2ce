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

export const Payload = ComposePayload;
export type Payload = Static<typeof Payload>;
