// SPDX-License-Identifier: Apache-2.0
/** `casemate tenants …`: organizations, made by the operator. */
import { callAdmin, print, type Target } from "./operate.ts";

interface Tenant {
  tenant: string;
  organization_id: string;
  oauth_client: { client_id: string; client_secret: string };
  token_url: string;
  api_keys: { workloads: string; instances: string };
  slug: string;
}

export async function createTenantCommand(
  name: string,
  { slug, ...target }: Target & { slug?: string },
): Promise<number> {
  const ask = { name, ...(slug !== undefined && { slug }) };
  const made = (await callAdmin(target, "POST", "/platform/v1/tenants", ask)) as unknown as Tenant;
  const { client_id: id, client_secret: secret } = made.oauth_client;
  print(
    target,
    made,
    `organization ${made.organization_id} ${made.tenant}\n` +
      `client ${id}\nsecret ${secret}\nkey for workloads ${made.api_keys.workloads}\n` +
      `key for instances ${made.api_keys.instances}\nslug ${made.slug}\n` +
      `Shown this once. An access token for models and devices:\n` +
      `  curl -u '${id}:<secret>' -d grant_type=client_credentials ${made.token_url}`,
  );
  return 0;
}
