// SPDX-License-Identifier: Apache-2.0
/**
 * Sizes, durations, commands, ids: the small languages inside of compose's strings. What is passed on
 * is the client's own spelling once it is known to be of the form.
 */
import type { Json, Place } from "./place.ts";

const KIB = 1024;
const FACTORS: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["b", 1],
  ["k", KIB],
  ["m", KIB ** 2],
  ["g", KIB ** 3],
  ["t", KIB ** 4],
]);
const SIZE = /^(\d{1,15})(?:\.(\d{1,6}))?([bkmgt]?)b?$/i;
export const SIZE_BYTES_MAX = 16 * KIB ** 4;

/** The bytes of `512m`, `1.5g`, `1024`; undefined when it is no size. */
export function parseSizeBytes(text: string): number | undefined {
  const found = SIZE.exec(text);
  if (found === null) return undefined;
  const [, whole, fraction = "0", unit = ""] = found;
  const factor = FACTORS.get(unit.toLowerCase());
  return factor === undefined ? undefined : Math.floor(Number(`${whole}.${fraction}`) * factor);
}

export function readSizeBytes(at: Place): number | undefined {
  const text = at.scalar();
  if (text === undefined) return undefined;
  const bytes = parseSizeBytes(text);
  if (bytes !== undefined && bytes >= 1 && bytes <= SIZE_BYTES_MAX) return bytes;
  return at.refuse("This must be a size such as 64m or 1g.");
}

/** A size as compose's own string. */
export function readSize(at: Place): string | undefined {
  const bytes = readSizeBytes(at);
  return bytes === undefined ? undefined : `${bytes}b`;
}

const DURATION = /^(?:\d{1,9}(?:\.\d{1,9})?(?:us|ms|s|m|h))+$/;
const MS: ReadonlyMap<string, number> = new Map([
  ["us", 0.001],
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

export const readDuration = (bounds: { minMs: number; maxMs: number }) => (at: Place) => {
  const text = at.string();
  if (text === undefined) return undefined;
  if (text.length <= 64 && DURATION.test(text)) {
    let ms = 0;
    for (const [, amount, unit] of text.matchAll(/([\d.]+)([a-z]+)/g)) ms += Number(amount) * MS.get(unit!)!;
    if (ms >= bounds.minMs && ms <= bounds.maxMs) return text;
  }
  return at.refuse(
    `This must be a duration such as 30s or 1m30s, from ${bounds.minMs / 1000} s to ${bounds.maxMs / 1000} s.`,
  );
};

/** A program with its arguments: one string, which Docker splits as a shell would, or a list. */
export function readCommand(at: Place): Json | undefined {
  return at.item.kind === "list" ? at.listOf((one) => one.scalar()) : at.string();
}

const USER = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?$/;
export const readUser = (at: Place) => at.matching(USER, "This must be user or user:group.", "scalar");
export const readGroup = (at: Place) =>
  at.matching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/, "This must be a group's name or number.", "scalar");
export const readId = (at: Place) =>
  at.matching(/^\d{1,9}$/, "This must be the number of a user or group.", "scalar");

/**
 * File modes are the one number that everybody writes in octal (`0440`), where YAML 1.2 reads decimal:
 * they are taken as written.
 */
export function readMode(at: Place): number | undefined {
  const written = at.item.kind === "number" ? at.item.written : at.string();
  if (written === undefined) return undefined;
  if (/^(?:0o?)?[0-7]{3,4}$/.test(written)) return Number.parseInt(written.replace("o", ""), 8);
  return at.refuse("This must be a file mode in octal, such as 0440.");
}

/** A path inside of a container. */
export function readInnerPath(at: Place): string | undefined {
  const path = at.string();
  return path === undefined ? undefined : checkInnerPath(at, path);
}

export function checkInnerPath(at: Place, path: string): string | undefined {
  if (path.startsWith("/") && path.length <= 4096 && !/[\u0000-\u001f\u007f]/.test(path)) {
    if (!path.split("/").includes("..")) return path;
  }
  return at.refuse("The path inside of the container must be absolute, without `..`.");
}

/**
 * Where something may be mounted. Whoever mounts over /proc or /sys takes from the runtime the files
 * through which it confines the container; over / there would be nothing to start.
 */
export function checkTarget(at: Place, path: string): string | undefined {
  const target = checkInnerPath(at, path);
  if (target === undefined) return undefined;
  if (target.includes(":") || target.includes(",")) {
    return at.refuse("The path inside of the container may hold neither a colon nor a comma.");
  }
  const parts = target.split("/").filter((part) => part !== "" && part !== ".");
  const first = parts[0];
  if (first === undefined || first === "proc" || first === "sys" || (first === "dev" && parts[1] !== "shm")) {
    return at.refuse("Nothing can be mounted over /, or in /proc, /sys or /dev.");
  }
  return `/${parts.join("/")}`;
}
