// SPDX-License-Identifier: Apache-2.0
/**
 * Models of a tenant's own, where the installation takes them (`instances.dialect.customInference`): the instance asks them itself, and not our
 * gateway. The key for them is the tenant's secret. It is sealed in the row, goes to the machine in its sealed claim, is shown to nobody,
 * and is gone with the end of the instance. We call the endpoint never, so it may be what it likes.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { InstanceSecrets } from "#guest/protocol.ts";
import type { Vault } from "../../core/vault/index.ts";
import type { Db } from "../../database/open.ts";

export const CUSTOM = "custom";

export interface CustomInference {
  endpoint: string;
  apiKey: string;
  modelName: string;
}

interface Given {
  custom_inference_endpoint?: string;
  custom_inference_api_key?: string;
  custom_inference_model_name?: string;
}

/** The guest holds them to the same forms (guest/agent/instance.go): they stand in lines that shells read. */
const FORMS = {
  custom_inference_endpoint: [
    /^https?:\/\/[A-Za-z0-9.:[\]-]{1,260}(\/[A-Za-z0-9._~-]+)*\/?$/,
    "an http or https URL of a server that speaks OpenAI's protocol, without query, user or escapes",
  ],
  custom_inference_api_key: [
    /^[A-Za-z0-9._~+/=:-]{8,512}$/,
    "8 to 512 characters of A-Z, a-z, 0-9 and ._~+/=:-",
  ],
  custom_inference_model_name: [
    /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$/,
    "at most 200 characters of A-Z, a-z, 0-9 and ._:/@+-, the first a letter or digit",
  ],
} as const;
const NAMES = [
  "custom_inference_endpoint",
  "custom_inference_api_key",
  "custom_inference_model_name",
] as const;

/** All three or none; no refusal repeats what was given. */
export function requireCustom(given: Given): CustomInference {
  const [endpoint, apiKey, modelName] = NAMES.map((field) => {
    const value = given[field];
    const [form, words] = FORMS[field];
    if (value === undefined)
      throw new Fault("request.invalid", {
        detail: `${field} is required with inference_mode custom`,
        field,
      });
    if (!form.test(value)) throw new Fault("request.invalid", { detail: `${field} must be ${words}`, field });
    return value;
  });
  return { endpoint: endpoint!.replace(/\/$/, ""), apiKey: apiKey!, modelName: modelName! };
}

/** A secret that would be taken and not used is refused. */
export function requireNoCustom(given: Given): void {
  const field = NAMES.find((name) => given[name] !== undefined);
  if (field !== undefined)
    throw new Fault("request.invalid", { detail: `${field} goes with inference_mode custom alone`, field });
}

const identity = (instance: string) => `instances/${instance}/custom_inference_key`;

export const sealKey = (vault: Vault, instance: string, key: string): Promise<Buffer> =>
  vault.seal(identity(instance), Buffer.from(key));

/** For the claim of one that has such; null: it has none. */
export async function customOf(
  { db, vault }: { db: Db; vault: Vault },
  instance: string,
): Promise<NonNullable<InstanceSecrets["inference"]> | null> {
  const { rows } = await sql<{ endpoint: string; model: string; sealed: Buffer }>`
    select custom_inference_endpoint as endpoint, custom_inference_model_name as model, custom_inference_key_sealed as sealed
    from instances where id = ${instance} and custom_inference_key_sealed is not null`.execute(db);
  if (rows[0] === undefined) return null;
  const { endpoint, model, sealed } = rows[0];
  const token = (await vault.open(identity(instance), sealed)).toString();
  return { baseUrl: endpoint, token, model };
}
