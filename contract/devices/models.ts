// SPDX-License-Identifier: Apache-2.0
/** A model in the form that devices read: what it takes, what it gives, where its bytes are. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Instant, OfItem, Uuid } from "./vocabulary.ts";

const Tensor = Type.Object({
  Name: Type.String(),
  DataType: Type.String(),
  Shape: Type.Array(Type.Union([Type.Integer(), Type.String()])),
});
const Details = Type.Record(Type.String(), Type.Unknown());

export const getDeviceModel = operation({
  surface: "devices",
  access: "serverOrAnyone",
  tag: "Edge",
  perAddressRpm: 120,
  id: "devices.models.get",
  method: "GET",
  path: "/dev/models/:id",
  summary: "A model in the form that devices read (nxAI/models)",
  description:
    "The version that the alias `default` names, if it can be run. Without a key: models of public catalogues. With a server's key also those that the owner of its site sees, and those that its devices run. `URL` is the server's own where it runs the artefact, and asks for an access token otherwise.",
  params: OfItem,
  responses: {
    200: {
      description: "The model",
      schema: Type.Object({
        UUID: Uuid,
        Name: Type.String(),
        Documentation: Type.String(),
        InputDriver: Type.String(),
        InputDriverDetails: Details,
        OutputDriver: Type.String(),
        OutputDriverDetails: Details,
        NamedInput: Type.Array(Tensor),
        NamedOutput: Type.Array(Tensor),
        Downloads: Type.Array(
          Type.Object({
            UUID: Uuid,
            MediaType: Type.String(),
            URL: Type.String(),
            SHA256: Type.String(),
            Size: Type.Integer(),
            Signature: Type.String({ description: "Ed25519, base64; over what GET /cpt/keys says" }),
            KeyID: Type.String(),
          }),
        ),
        UpdatedAt: Instant,
      }),
    },
  },
  errors: ["identity.token", "function.not-found", "limits.rate"],
});
