// SPDX-License-Identifier: Apache-2.0
/**
 * From bytes to a checked value. The seeds' own curl lines send JSON under curl's default form type or
 * none, so on JSON operations those are read as JSON; header authentication makes that safe (a
 * foreign page cannot add the header, so no cross-site form does anything).
 */
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import type { TSchema } from "typebox";
import { Fault } from "#contract/errors.ts";
import type { Operation } from "#contract/operation.ts";

const DEPTH_MAX = 64;
const utf8 = new TextDecoder("utf-8", { fatal: true });
const JSON_TYPES = new Set(["", "application/json", "application/x-www-form-urlencoded"]);

const strict = new Ajv({ allErrors: false, strict: false, coerceTypes: false });
/** Query strings are text; numbers in them are numbers. */
const lenient = new Ajv({ allErrors: false, strict: false, coerceTypes: true });

export interface Checks {
  body: (value: unknown) => void;
  query: (value: unknown) => void;
  params: (value: unknown) => void;
  /** Undefined for a status without a schema. */
  response: (status: number, value: unknown) => void;
  /** True when `{}` satisfies the body's schema. */
  emptyIsObject: boolean;
}

export function compileChecks(operation: Operation): Checks {
  const body = operation.body === undefined ? null : strict.compile(operation.body);
  const responses = new Map(
    Object.entries(operation.responses).flatMap(([status, { schema }]) =>
      schema === undefined ? [] : [[Number(status), strict.compile(schema)] as const],
    ),
  );
  return {
    body: checker(body, "body"),
    query: checker(compileOptional(lenient, operation.query), "query"),
    params: checker(compileOptional(strict, operation.params), "path"),
    response: (status, value) => {
      const validate = responses.get(status);
      if (validate !== undefined && !validate(value)) {
        throw new Error(
          `${operation.id} answered ${status} against its schema: ${explain(validate.errors, "body")}`,
        );
      }
    },
    emptyIsObject: body !== null && body({}) === true,
  };
}

const compileOptional = (ajv: Ajv, schema: TSchema | undefined) =>
  schema === undefined ? null : ajv.compile(schema);

const checker = (validate: ValidateFunction | null, where: string) => (value: unknown) => {
  if (validate !== null && !validate(value)) {
    throw new Fault("request.invalid", {
      detail: explain(validate.errors, where),
      field: memberOf(validate.errors?.[0]),
    });
  }
};

/** Of a member that nobody knows, as much as is needed to find it. */
const UNKNOWN_MAX = 64;

/** Empty: the whole of it. */
function memberOf(error: ErrorObject | undefined): string {
  const place = (error?.instancePath ?? "").slice(1).replaceAll("/", ".");
  const { additionalProperty: unknown, missingProperty: missing } = error?.params ?? {};
  const name: unknown = unknown ?? missing;
  if (typeof name !== "string") return place;
  const shown = name.slice(0, UNKNOWN_MAX).replaceAll(/\p{Cc}/gu, " ");
  return place === "" ? shown : `${place}.${shown}`;
}

const SENTENCES: Record<string, string> = {
  additionalProperties: "is not known here",
  required: "is missing",
};

/** Names the member and the rule, never the value: values may be secrets. */
function explain(errors: ErrorObject[] | null | undefined, where: string): string {
  const error = errors?.[0];
  if (error === undefined) return `The ${where} is invalid.`;
  const member = memberOf(error);
  const allowed = error.keyword === "enum" ? `: ${(error.params.allowedValues as unknown[]).join(", ")}` : "";
  const sentence = SENTENCES[error.keyword] ?? error.message ?? "is invalid";
  return `${member === "" ? `The ${where}` : member} ${sentence}${allowed}`;
}

export function parseJson(contentType: string | undefined, raw: Buffer, checks: Checks): unknown {
  const type = (contentType ?? "").split(";")[0]!.trim().toLowerCase();
  if (!JSON_TYPES.has(type) && !type.endsWith("+json")) {
    throw new Fault("request.media-type", { expected: "application/json" });
  }
  if (raw.length === 0) {
    if (checks.emptyIsObject) return {};
    throw new Fault("request.invalid", { detail: "The body is empty; this operation needs a JSON object." });
  }
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(raw));
  } catch {
    throw new Fault("request.malformed", { detail: "The body is not JSON." });
  }
  refuseDepth(value);
  checks.body(value);
  return value;
}

/** JSON.parse takes any depth; nothing after it should have to. */
function refuseDepth(value: unknown): void {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEPTH_MAX)
      throw new Fault("request.malformed", { detail: `The body is nested deeper than ${DEPTH_MAX}.` });
    level = level.flatMap((each) =>
      typeof each === "object" && each !== null
        ? Object.values(each).filter((inner) => typeof inner === "object" && inner !== null)
        : [],
    );
  }
}
