// SPDX-License-Identifier: Apache-2.0
/**
 * The state folder and who owns what in it. As root every part has a uid of its own and a folder only
 * it can enter; otherwise all is the caller's. The uids need no entry in /etc/passwd.
 *
 *     <state>/admin.key            the operator's key, 0600, the caller's
 *             version              the release that last wrote here
 *             lock
 *             postgres/            the database                       uid database
 *             control/             control's key ring                 uid control
 *             blobs/               what clients store                 uid control
 *             run/                 control's link socket              uid control
 *             config/              what control is told               the caller; files: uid control
 *             host/                the host's records and its key     the caller
 *             signer/              the issuer's key, sealed           uid signer
 *             keys/                key that seals the issuer's key    the caller
 *             images/              of virtual machines, and packages  the caller; readable by all
 *             vms/                 virtual machines and their disks   the caller; each machine's: its own uids
 *             edge/, demo/         of `up --with-edge` (demo/demo.ts)
 *             logs/
 */
import { createHash } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

export interface Owner {
  uid: number;
  gid: number;
}

export interface Layout {
  state: string;
  root: boolean;
  /** null: everything runs as the caller. */
  owners: {
    control: Owner;
    database: Owner;
    edge: Owner;
    signer: number;
    prober: number;
    ingress: number;
  } | null;
  path(...parts: string[]): string;
  /** A folder that every uid can pass through, for what sandboxes read while they start. */
  runFolder: string;
  /** Removes what lies outside the state folder. */
  clear(): void;
}

/** Below the ranges that distributions hand out dynamically, above all static ones. */
const UIDS = {
  ...{ control: 63_010, prober: 63_011, signer: 63_012, database: 63_013, ingress: 63_014 },
  edge: 63_015,
};
const own = (uid: number): Owner => ({ uid, gid: uid });

/** Where the issuer's key is, sealed, where the key that seals it is, and whose they are. */
export const signerPlace = (state: string) => ({
  folder: join(state, "signer"),
  kekPath: join(state, "keys", "signer.kek"),
  uid: process.getuid?.() === 0 ? UIDS.signer : (process.getuid?.() ?? 0),
});

export function prepareLayout(folder: string): Layout {
  const state = resolve(folder);
  const root = process.getuid?.() === 0;
  const path = (...parts: string[]) => join(state, ...parts);
  const owners = root
    ? { ...UIDS, control: own(UIDS.control), database: own(UIDS.database), edge: own(UIDS.edge) }
    : null;
  // A unix socket's path is at most 107 bytes, and the longest of ours ends like this.
  if (Buffer.byteLength(path("postgres", "socket", ".s.PGSQL.5432")) > 107) {
    throw new Error(`the path of the state folder is too long for unix sockets: ${state}`);
  }
  mkdirSync(state, { recursive: true, mode: 0o755 });
  const make = (name: string, mode: number, owner: Owner | null) => {
    mkdirSync(path(name), { recursive: true, mode });
    chmodSync(path(name), mode);
    if (owner !== null) chownSync(path(name), owner.uid, owner.gid);
  };
  make("control", 0o700, owners?.control ?? null);
  make("blobs", 0o700, owners?.control ?? null);
  make("run", 0o700, owners?.control ?? null);
  make("logs", 0o750, null);
  make("host", 0o700, null);
  make("keys", 0o700, null);
  make("config", 0o711, null);
  // Virtual machines have uids of their own, and control reads what is known of images. There is no secret in it.
  make("images", 0o755, null);
  make("vms", 0o711, null);
  const mark = createHash("sha256").update(state).digest("hex").slice(0, 12);
  const runFolder = root ? `/run/casemate-${mark}` : path("sandboxes");
  mkdirSync(runFolder, { recursive: true, mode: 0o755 });
  const clear = () => {
    if (root) rmSync(runFolder, { recursive: true, force: true });
  };
  return { state, root, owners, path, runFolder, clear };
}
