// SPDX-License-Identifier: Apache-2.0
/** Tenants: an organization with all that a program of its own needs, made in one call. */
import { Type } from "typebox";
import { Name } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";

export const createTenant = operation({
  id: "platform.tenants.create",
  surface: "platform",
  method: "POST",
  path: "/platform/v1/tenants",
  access: "admin",
  tag: "Operator",
  summary: "An organization, and a client that acts for it",
  description:
    "For headless use: with `client_credentials` at `token_url` the client gets access tokens for models and devices. Both secrets are shown this once.",
  body: Type.Object(
    {
      name: Name,
      slug: Type.Optional(
        Type.String({
          pattern: "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$",
          description: "Part of its instances' names; made of `name` without it",
        }),
      ),
    },
    { additionalProperties: false },
  ),
  responses: {
    201: {
      description: "The tenant",
      schema: Type.Object({
        tenant: Type.String({ description: "Its name" }),
        organization_id: Type.String({ description: "For X-Act-As-ID, with X-Act-As-Kind `organization`" }),
        account_id: Type.String(),
        oauth_client: Type.Object({ client_id: Type.String(), client_secret: Type.String() }),
        token_url: Type.String(),
        api_keys: Type.Object({ workloads: Type.String(), instances: Type.String() }),
        slug: Type.String(),
        api_key: Type.String({ description: "The same as api_keys.instances" }),
      }),
    },
  },
  errors: ["identity.unauthorized", "identity.forbidden", "request.invalid", "tenant.slug-taken"],
  example: { body: { name: "acme" } },
});
