// SPDX-License-Identifier: Apache-2.0
/**
 * Uploaded files: their names, their encoding, and how a document names them. A name becomes a path on
 * the host, so it is one that no segment can leave the folder by.
 */
import type { Place } from "./place.ts";

/**
 * What `$FILES` stands for in a checked document: no folder of any host. A driver puts the folder in
 * which it wrote the uploads in its place, where a path begins with it.
 */
export const FILES_ROOT = "/__files__";

export const FILE_NAME_MAX = 512;
const SEGMENT_MAX = 255;

/** What is wrong with a file's name, or null. */
export function checkFileName(name: string): string | null {
  if (name.length === 0 || name.length > FILE_NAME_MAX) {
    return `A file's name has 1 to ${FILE_NAME_MAX} characters.`;
  }
  // Without the end's own check, `$` would allow one line feed behind the name.
  if (!/^[\w/._-]+$/.test(name) || name.includes("\n")) {
    return "A file's name has only letters, digits, `/`, `.`, `_` and `-`.";
  }
  if (name.startsWith("/")) return "A file's name is relative: it does not start with a slash.";
  for (const segment of name.split("/")) {
    if (segment === "") return "A file's name has no empty segment and does not end with a slash.";
    if (segment === "." || segment === "..") return "A file's name has no `.` or `..` as a segment.";
    if (segment.length > SEGMENT_MAX)
      return `A segment of a file's name has ${SEGMENT_MAX} characters at most.`;
  }
  return null;
}

/**
 * The bytes of a base64 text in either alphabet, padded or not; null when it is none. `Buffer.from`
 * would skip what it does not know and so give a client a shorter file than was sent. Bits that the
 * last character has too many are dropped, as every decoder does.
 */
export function decodeBase64(text: string): Buffer | null {
  const body = /^([A-Za-z0-9+/_-]*)(={0,2})$/.exec(text);
  if (body === null || text.endsWith("\n")) return null;
  const [, digits = "", padding = ""] = body;
  if (digits.length % 4 === 1) return null;
  if (padding !== "" && (digits.length + padding.length) % 4 !== 0) return null;
  return Buffer.from(digits, "base64url");
}

/** The names of the folders that hold at least one of the files. */
export function foldersOf(files: readonly string[]): Set<string> {
  const folders = new Set<string>();
  for (const name of files) {
    for (let slash = name.lastIndexOf("/"); slash > 0; slash = name.lastIndexOf("/", slash - 1)) {
      folders.add(name.slice(0, slash));
    }
  }
  return folders;
}

/** `$FILES/<uploaded file>`, already with its variables replaced. */
export function isUpload(at: Place, path: string, folders: "or a folder" | "only files"): boolean {
  if (!path.startsWith(`${FILES_ROOT}/`)) return false;
  const name = path.slice(FILES_ROOT.length + 1);
  if (checkFileName(name) !== null) return false;
  return at.sheet.files.has(name) || (folders === "or a folder" && at.sheet.folders.has(name));
}

/** The path of an uploaded file, for members that take nothing else. */
export function readUpload(at: Place): string | undefined {
  const path = at.fileString();
  if (path === undefined || isUpload(at, path, "only files")) return path;
  return at.refuse("This must be $FILES/ and the name of an uploaded file; there are no other files.");
}
