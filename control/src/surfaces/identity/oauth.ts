// SPDX-License-Identifier: Apache-2.0
/**
 * Handing a request to the authorization server. The standards have forms; the original takes JSON too, so
 * JSON is written anew as a form here, its members each a text or a number and each once.
 */
import { Fault } from "#contract/errors.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { IdentityDeps } from "./deps.ts";
import { standardScope } from "./scope.ts";

export async function pass(
  { authorization }: Pick<IdentityDeps, "authorization">,
  call: Pick<Call, "raw" | "headers">,
  isForm = false,
): Promise<Answer> {
  const body = isJson(call.headers["content-type"]) ? formOf(call.raw) : call.raw;
  return {
    status: 200,
    writes: (request, reply) => {
      if (isForm || body !== call.raw) request.headers["content-type"] = "application/x-www-form-urlencoded";
      return authorization.answer(request, body, reply);
    },
  };
}

/** As `pass`, with the scope that the sign-in page needs. */
export async function beginDevice(
  deps: Pick<IdentityDeps, "authorization">,
  call: Pick<Call, "raw" | "headers">,
): Promise<Answer> {
  const raw = isJson(call.headers["content-type"]) ? formOf(call.raw) : call.raw;
  const form = new URLSearchParams(raw.toString("utf8"));
  const scope = standardScope(form.get("scope"));
  if (scope === null)
    throw new Fault("request.invalid", { detail: "There is no such permission.", field: "scope" });
  if (form.getAll("scope").length <= 1) form.set("scope", scope);
  const headers = { ...call.headers, "content-type": "application/x-www-form-urlencoded" };
  return pass(deps, { raw: Buffer.from(form.toString()), headers }, true);
}

const isJson = (type = ""): boolean => type.split(";")[0]!.trim().toLowerCase() === "application/json";

function formOf(raw: Buffer): Buffer {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(raw));
  } catch {
    throw new Fault("request.malformed", { detail: "The body is not JSON." });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Fault("request.malformed", { detail: "The body is not a JSON object." });
  const form = new URLSearchParams();
  for (const [name, member] of Object.entries(value)) {
    if (typeof member !== "string" && typeof member !== "number")
      throw new Fault("request.invalid", { detail: `${name.slice(0, 64)} must be a string` });
    form.append(name, String(member));
  }
  return Buffer.from(form.toString());
}
