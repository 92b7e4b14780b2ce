// SPDX-License-Identifier: Apache-2.0
/** The operator's key: made at first start, written 0600, told to control only as a hash. */
import { createHash, randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";

export interface AdminKey {
  key: string;
  hash: string;
  prefix: string;
  /** True when it was made now: the only time it is printed. */
  fresh: boolean;
  /** Drawn at every start: how we tell our control's answers from another program's on the port. */
  instance: string;
}

const FORM = /^cm_admin_[A-Za-z0-9_-]{32,64}$/;

export function openAdminKey(path: string): AdminKey {
  const kept = read(path);
  const key = kept ?? `cm_admin_${randomBytes(24).toString("base64url")}`;
  if (kept === null) write(path, key);
  return {
    instance: randomBytes(16).toString("hex"),
    key,
    hash: createHash("sha256").update(key).digest("hex"),
    prefix: key.slice(0, 13),
    fresh: kept === null,
  };
}

function read(path: string): string | null {
  try {
    const key = readFileSync(path, "utf8").trim();
    if (!FORM.test(key))
      throw new Error(`${path} does not hold an admin key; remove it to have a new one made`);
    return key;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function write(path: string, key: string): void {
  const draft = `${path}.new`;
  const fd = openSync(draft, "w", 0o600);
  writeSync(fd, `${key}\n`);
  fsyncSync(fd);
  closeSync(fd);
  renameSync(draft, path);
}
