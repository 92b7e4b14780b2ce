// SPDX-License-Identifier: Apache-2.0
/**
 * A model as a form: `data`, JSON that describes it, and `file`, its bytes, in any order. The file goes into
 * the store as it comes, hashed on its way; nothing here looks into it. Whatever goes wrong later, `drop` takes
 * it out again.
 */
import type { Readable } from "node:stream";
import { Ajv } from "ajv";
import type { TSchema } from "typebox";
import { Fault } from "#contract/errors.ts";
import { FORMATS, type Format } from "#models/job.ts";
import type { Stored } from "../../blobs/port.ts";
import { endPromise, full, type Promised, promiseRoom } from "../../core/models/index.ts";
import type { Call } from "../../http/call.ts";
import { lentChunks } from "../../http/lent-chunks.ts";
import type { ModelsDeps } from "./deps.ts";

export interface Uploaded {
  /** In the store, not yet a blob. */
  upload: string;
  stored: Stored;
  format: Format;
}

interface Room {
  promised: Promised | null;
}

export interface Form<T> {
  data: T | null;
  file: Uploaded | null;
}

const DATA_MAX = 1024 * 1024;
const ajv = new Ajv({ allErrors: false, strict: false });
const compiled = new WeakMap<TSchema, ReturnType<Ajv["compile"]>>();

type Needs = Pick<ModelsDeps, "db" | "store" | "config">;

/** `use` makes the file a blob; without that nothing of it stays. */
export async function withForm<T, R>(
  deps: Needs,
  call: Call,
  schema: TSchema,
  use: (form: Form<T>) => Promise<R>,
): Promise<R> {
  const form: Form<T> = { data: null, file: null };
  const room: Room = { promised: null };
  try {
    if (isJson(call)) form.data = checked(schema, await jsonOf(call.stream));
    else await readParts(deps, call, schema, form, room);
    return await use(form);
  } finally {
    if (form.file !== null) await deps.store.drop(form.file.upload);
    if (room.promised !== null) await endPromise(deps.db, room.promised);
  }
}

const isJson = ({ headers }: Call) => /^application\/json\b/i.test(headers["content-type"] ?? "");

async function readParts<T>(
  deps: Needs,
  call: Call,
  schema: TSchema,
  form: Form<T>,
  room: Room,
): Promise<void> {
  try {
    for await (const part of call.parts()) {
      if (part.fieldname === "data" && form.data === null)
        form.data = checked(schema, part.type === "file" ? await jsonOf(part.file) : parsed(part.value));
      else if (part.fieldname === "file" && part.type === "file" && form.file === null) {
        const format = formatOf(part.filename);
        const { uploadBytesMax: largest, bytesPerAccount: most } = deps.config;
        // The form is a little longer than its file; without a length it gets what is left.
        const said = Number(call.headers["content-length"] ?? Number.NaN);
        const bytes = Number.isSafeInteger(said) ? Math.min(said, largest) : null;
        room.promised = await promiseRoom(deps.db, call.actor.party.id, { bytes, largest, most });
        const promised = room.promised.bytes;
        const upload = await deps.store.begin();
        // From here on it is dropped by whoever called us.
        form.file = {
          upload,
          stored: { digest: `sha256:${"0".repeat(64)}`, sizeBytes: 0 },
          format,
        };
        await deps.store.append(upload, 0, lentChunks(part.file), (size) => {
          if (size > deps.config.uploadBytesMax)
            throw new Fault("request.too-large", { limit: deps.config.uploadBytesMax, field: "file" });
          if (size > promised) throw full(most ?? promised);
        });
        form.file.stored = await deps.store.hash(upload);
      } else
        throw new Fault("request.invalid", {
          detail: "The form has one part data and one part file, and no others.",
          field: part.fieldname,
        });
    }
  } catch (error) {
    if (error instanceof Fault) throw error;
    const { code = "", message = "" } = error as { code?: string; message?: string };
    if (code === "FST_INVALID_MULTIPART_CONTENT_TYPE") throw error;
    if (code.startsWith("FST_") || /multipart|part|boundary|premature|aborted|unexpected end/i.test(message))
      throw new Fault(
        "request.malformed",
        { detail: "The form is not complete, or none." },
        { cause: error },
      );
    throw error;
  }
}

function formatOf(filename: string): Format {
  const ending = /\.([a-z]+)$/i.exec(filename)?.[1]?.toLowerCase();
  const format = FORMATS.find((each) => each === ending);
  if (format === undefined)
    throw new Fault("request.invalid", {
      detail: `A model is a file that ends in ${FORMATS.map((each) => `.${each}`).join(", ")}.`,
      field: "file",
    });
  return format;
}

async function jsonOf(stream: Readable): Promise<unknown> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream) {
    size += (part as Buffer).length;
    if (size > DATA_MAX) throw new Fault("request.too-large", { limit: DATA_MAX, field: "data" });
    parts.push(part as Buffer);
  }
  return parsed(Buffer.concat(parts).toString("utf8"));
}

function parsed(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    throw new Fault("request.malformed", { detail: "data is not JSON.", field: "data" });
  }
}

function checked<T>(schema: TSchema, value: unknown): T {
  const check = compiled.get(schema) ?? ajv.compile(schema);
  compiled.set(schema, check);
  if (check(value)) return value as T;
  const error = check.errors?.[0];
  const extra = (error?.params as { additionalProperty?: string } | undefined)?.additionalProperty;
  const field = (error?.instancePath ?? "").slice(1).replaceAll("/", ".");
  throw new Fault("request.invalid", {
    detail:
      `${field === "" ? "data" : field} ${error?.message ?? "is invalid"}${extra === undefined ? "" : `: ${extra}`}`.slice(
        0,
        300,
      ),
    field: field === "" ? "data" : field,
  });
}
