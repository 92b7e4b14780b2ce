// SPDX-License-Identifier: Apache-2.0
/**
 * What a service sees of disks and files. Everything comes out in the long form, in which Docker makes
 * no folder that is not there, and is one of: a volume of this machine, an uploaded file, a tmpfs.
 *
 * The attacker here has control and sends a document with `/:/host` in it.
 */
import { createHash } from "node:crypto";
import { posix } from "node:path";
import { isObject, type Json, type JsonObject, listAt, objectAt, refuse, stringAt } from "./refuse.ts";

/** Stands in the document for the folder with the uploaded files, wherever that will be. */
export const FILES_ROOT = "/__files__";

export interface MountContext {
  /** Where the uploaded files really are. */
  filesFolder: string;
  /** Where the files are that come from `configs` and `secrets`. */
  madeFolder: string;
  /** Relative names of what was uploaded. */
  uploaded: ReadonlySet<string>;
  /** Declared at the top of the document. */
  volumes: ReadonlySet<string>;
  configs: ReadonlyMap<string, Source>;
  secrets: ReadonlyMap<string, Source>;
}

/** A config or secret: an uploaded file, or text that becomes a file. */
export type Source = { file: string } | { made: string };

export function mountsOf(service: JsonObject, path: string, context: MountContext): JsonObject[] {
  const volumes = listAt(service.volumes, `${path}.volumes`).map((each, index) =>
    mountOf(each, `${path}.volumes.${index}`, context),
  );
  const files = (["configs", "secrets"] as const).flatMap((kind) =>
    listAt(service[kind], `${path}.${kind}`).map((each, index) =>
      givenFile(kind, each, `${path}.${kind}.${index}`, context),
    ),
  );
  return [...volumes, ...files];
}

function mountOf(value: Json, path: string, context: MountContext): JsonObject {
  const { type, source, target, readOnly, options } = isObject(value)
    ? longForm(value, path)
    : shortForm(stringAt(value, path));
  if (!target.startsWith("/")) refuse(path, "needs an absolute path in the container");
  const common = { target, ...(readOnly ? { read_only: true } : {}) };
  if (type === "tmpfs") return { type, ...common, ...options };
  if (source === null) return { type: "volume", ...common };
  if (type !== "bind" && context.volumes.has(source)) return { type: "volume", source, ...common };
  if (type === "volume" || !source.startsWith(FILES_ROOT))
    return refuse(path, "must be a declared volume or an uploaded file");
  return { type: "bind", source: uploadedPath(source, path, context), ...common };
}

/** As `tmpfs:` has it: older versions of compose know no mode in the long form. */
export function tmpfsText({ target, size, mode, read_only }: JsonObject): string {
  const options = [
    ...(size === undefined ? [] : [`size=${String(size).replace(/b$/i, "")}`]),
    ...(mode === undefined ? [] : [`mode=${typeof mode === "number" ? mode.toString(8) : mode}`]),
    ...(read_only === true ? ["ro"] : []),
  ];
  return `${target}${options.length === 0 ? "" : `:${options.join(",")}`}`;
}

interface Mount {
  type: string | null;
  source: string | null;
  target: string;
  readOnly: boolean;
  options: JsonObject;
}

function shortForm(text: string): Mount {
  const parts = text.split(":");
  if (parts.length === 1) return { type: null, source: null, target: text, readOnly: false, options: {} };
  const [source, target, mode] = parts as [string, string, string | undefined];
  return { type: null, source, target, readOnly: mode?.split(",").includes("ro") ?? false, options: {} };
}

function longForm(value: JsonObject, path: string): Mount {
  const type = value.type === undefined ? null : stringAt(value.type, `${path}.type`);
  if (type !== null && !["volume", "bind", "tmpfs"].includes(type))
    refuse(`${path}.type`, "must be volume, bind or tmpfs");
  const { size, mode } = objectAt(value.tmpfs, `${path}.tmpfs`);
  const options: JsonObject = {};
  if (size !== undefined) options.size = size;
  if (mode !== undefined) options.mode = mode;
  return {
    type,
    source: value.source === undefined || value.source === null ? null : stringAt(value.source, path),
    target: stringAt(value.target, `${path}.target`),
    readOnly: value.read_only === true,
    options,
  };
}

/** The real path of an uploaded file, or of a folder with uploaded files in it. */
export function uploadedPath(source: string, path: string, context: MountContext): string {
  const normal = posix.normalize(source).replace(/\/$/, "");
  if (normal === FILES_ROOT) return context.filesFolder;
  const name = normal.startsWith(`${FILES_ROOT}/`) ? normal.slice(FILES_ROOT.length + 1) : "";
  const there =
    context.uploaded.has(name) || [...context.uploaded].some((each) => each.startsWith(`${name}/`));
  if (name === "" || !there) refuse(path, "names a file that was not uploaded");
  return posix.join(context.filesFolder, name);
}

/**
 * Configs and secrets become mounts of files on memory. Compose would do the same for files, but not in
 * every version, and takes text and values from places (its environment, a disk) that we keep clear.
 */
function givenFile(
  kind: "configs" | "secrets",
  value: Json,
  path: string,
  context: MountContext,
): JsonObject {
  const entry: JsonObject = isObject(value) ? value : { source: value };
  const name = stringAt(entry.source, `${path}.source`);
  const source = context[kind].get(name) ?? refuse(path, "is not declared");
  const base = kind === "secrets" ? "/run/secrets" : "/";
  const target = entry.target === undefined ? name : stringAt(entry.target, `${path}.target`);
  return {
    type: "bind",
    source:
      "file" in source
        ? uploadedPath(source.file, path, context)
        : posix.join(context.madeFolder, madeName(kind, name)),
    target: target.startsWith("/") ? target : posix.join(base, target),
    read_only: true,
  };
}

/** Any text can be the name of a config; a file's name is made from its digest. */
export const madeName = (kind: "configs" | "secrets", name: string) =>
  createHash("sha256").update(`${kind}\n${name}`).digest("hex").slice(0, 32);
