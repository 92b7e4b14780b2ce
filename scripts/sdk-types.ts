// SPDX-License-Identifier: Apache-2.0
/**
 * Operations → TypeScript that imports nothing: what a client in another project copies or installs to
 * have each call's parameters, body, answers and error codes checked. One file for each API document.
 */
import type { TSchema } from "typebox";
import type { ApiDocument } from "#contract/documents.ts";
import type { Operation } from "#contract/operation.ts";

/** By what a schema says, the name that the contract gives it. */
export type Names = ReadonlyMap<string, string>;

export function clientTypes({ title, operations, error }: ApiDocument, names: Names): string {
  const writer = new Writer(names);
  const body = operations.map((operation) => indented(describe(operation, writer))).join("\n");
  // What an error says is named last: where the contract has no name of its own for it, it is this one.
  const failure = writer.typeOf(error as TSchema);
  return `// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by \`npm run generate\`; not edited by hand.
/** ${title}: every operation by its id. */
export interface Operations {
${body}
}

/** What an answer of status 400 and above holds. */
export type Failure = ${failure};

${writer.named().join("\n\n")}
`;
}

/** What a module of the contract exports as an object or a closed list, by its name there. */
export function namesOf(modules: readonly object[]): Names {
  const schemas = modules
    .flatMap((module) => Object.entries(module) as [string, JsonSchema][])
    .filter(([name, { type, properties, enum: words }]) => {
      const isObject = type === "object" && Object.keys(properties ?? {}).length > 0;
      return /^[A-Z][a-z]/.test(name) && (isObject || (words?.length ?? 0) > 1);
    });
  return new Map(schemas.map(([name, schema]) => [JSON.stringify(schema), name]));
}

function describe(operation: Operation, writer: Writer): string {
  const { id, method, path, summary, params, query, idempotent, errors } = operation;
  const answers = Object.entries(operation.responses).map(
    ([status, { schema, mediaType }]) => `${status}: ${answerOf(schema, mediaType, writer)};`,
  );
  const lines = [
    `method: ${JSON.stringify(method)};`,
    `path: ${JSON.stringify(path)};`,
    ...(params === undefined ? [] : [`params: ${writer.typeOf(params)};`]),
    ...(query === undefined ? [] : [`query: ${writer.typeOf(query)};`]),
    ...(operation.bodyKind === "none"
      ? []
      : [`body${isOptional(operation) ? "?" : ""}: ${bodyOf(operation, writer)};`]),
    `answers: {\n${indented(answers.join("\n"))}\n};`,
    `errors: ${errors.length === 0 ? "never" : errors.map((code) => JSON.stringify(code)).join(" | ")};`,
    ...(idempotent ? ["/** Takes Idempotency-Key. */", "idempotent: true;"] : []),
  ];
  return `${comment(summary)}\n${JSON.stringify(id)}: {\n${indented(lines.join("\n"))}\n};`;
}

const isOptional = ({ body, bodyKind }: Operation) =>
  bodyKind === "json" && ((body as JsonSchema | undefined)?.required ?? []).length === 0;

const bodyOf = ({ body, bodyKind }: Operation, writer: Writer) =>
  body !== undefined ? writer.typeOf(body) : bodyKind === "json" ? "Record<string, unknown>" : "Uint8Array";

/** A stream of bytes or lines is the client's to read; only JSON has a type. */
function answerOf(schema: TSchema | undefined, mediaType: string | undefined, writer: Writer): string {
  if (mediaType !== undefined && !/json$/.test(mediaType))
    return mediaType.startsWith("text/") ? "string" : "Uint8Array";
  if (schema === undefined) return mediaType === undefined ? "undefined" : "unknown";
  return writer.typeOf(schema);
}

interface JsonSchema {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: TSchema[];
  allOf?: TSchema[];
  items?: TSchema;
  properties?: Record<string, TSchema & { description?: string }>;
  required?: string[];
  patternProperties?: Record<string, TSchema>;
  additionalProperties?: boolean | TSchema;
}

class Writer {
  readonly #names: Names;
  /** Those that were met, as they are declared. */
  readonly #met = new Map<string, string>();

  constructor(names: Names) {
    this.#names = names;
  }

  /** The declarations of what was met by name, in the order of their names. */
  named(): string[] {
    return [...this.#met].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
  }

  typeOf(schema: TSchema): string {
    const name = this.#names.get(JSON.stringify(schema));
    if (name === undefined) return this.#written(schema);
    if (!this.#met.has(name)) {
      this.#met.set(name, "");
      const text = this.#written(schema);
      this.#met.set(
        name,
        text.startsWith("{") ? `export interface ${name} ${text}` : `export type ${name} = ${text};`,
      );
    }
    return name;
  }

  /** The keywords that the contract uses; one it does not know stops the making, so that no type says less than is checked. */
  #written(schema: TSchema): string {
    const given = schema as JsonSchema;
    if (given.const !== undefined) return JSON.stringify(given.const);
    if (given.enum !== undefined) return union(given.enum.map((each) => JSON.stringify(each)));
    if (given.anyOf !== undefined) return union(given.anyOf.map((each) => this.typeOf(each)));
    if (given.allOf !== undefined) return given.allOf.map((each) => `(${this.typeOf(each)})`).join(" & ");
    switch (given.type) {
      case "string":
      case "boolean":
      case "null":
        return given.type;
      case "integer":
      case "number":
        return "number";
      case "array":
        return this.#arrayOf(given);
      case "object":
        return this.#objectOf(given);
      case undefined:
        return "unknown";
      default:
        throw new Error(`no type for ${JSON.stringify(given).slice(0, 200)}`);
    }
  }

  #arrayOf({ items }: JsonSchema): string {
    const each = items === undefined ? "unknown" : this.typeOf(items);
    return /^[\w"]+$/.test(each) ? `${each}[]` : `(${each})[]`;
  }

  #objectOf({ properties, required = [], patternProperties, additionalProperties }: JsonSchema): string {
    const members = Object.entries(properties ?? {}).map(([name, each]) => {
      const told = each.description === undefined ? "" : `${comment(each.description)}\n`;
      return `${told}${key(name)}${required.includes(name) ? "" : "?"}: ${this.typeOf(each)};`;
    });
    const values = [
      ...Object.values(patternProperties ?? {}),
      ...(typeof additionalProperties === "object" ? [additionalProperties] : []),
    ];
    const rest = values.length > 0 ? union(values.map((each) => this.typeOf(each))) : null;
    if (members.length === 0) return `Record<string, ${rest ?? "unknown"}>`;
    return `{\n${indented(members.join("\n"))}\n}${rest === null ? "" : " & Record<string, unknown>"}`;
  }
}

const union = (types: string[]) => [...new Set(types)].join(" | ") || "never";
const key = (name: string) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name));
const comment = (text: string) => `/** ${text.replaceAll("*/", "* /").replace(/\s+/g, " ").trim()} */`;
const indented = (text: string) => text.replace(/^(?=.)/gm, "  ");
