// SPDX-License-Identifier: Apache-2.0
/**
 * Key-encryption keys, newest first, one a line: `kek_<8 hex> <64 hex>`. The file is 0600 and belongs
 * to control's uid; a copy in the environment would show in /proc/<pid>/environ for the same uid only,
 * but ends in crash dumps and process listings of careless tools, so a file it is. Replicas share it:
 * a key that another of them added is read when it is first needed, and none is lost by adding one here.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { replaceFile } from "#files/replace.ts";

export interface KeyRing {
  newest(): { id: string; key: Buffer };
  /** Throws when the file lacks it. */
  require(id: string): Promise<Buffer>;
  /** Adds a newest key and writes the file before it is used for anything. */
  add(): Promise<void>;
}

const LINE = /^(kek_[0-9a-f]{8}) ([0-9a-f]{64})$/;

export async function openKeyRing(path: string): Promise<KeyRing> {
  let keys = await read(path);
  if (keys === null) {
    keys = [make()];
    await write(path, keys);
  }
  let ring = keys;
  return {
    newest: () => ring[0]!,
    require: async (id) => {
      const held = () => ring.find((key) => key.id === id);
      if (held() === undefined) ring = (await read(path)) ?? ring;
      const found = held();
      if (!found) throw new Error(`key-encryption key ${id} is not in ${path}`);
      return found.key;
    },
    add: async () => {
      const next = [make(), ...((await read(path)) ?? ring)];
      await write(path, next);
      ring = next;
    },
  };
}

type Kek = { id: string; key: Buffer };
const make = (): Kek => ({ id: `kek_${randomBytes(4).toString("hex")}`, key: randomBytes(32) });

async function read(path: string): Promise<Kek[] | null> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (text === null) return null;
  const keys = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const match = LINE.exec(line);
      if (!match) throw new Error(`${path} is not a key ring`);
      return { id: match[1]!, key: Buffer.from(match[2]!, "hex") };
    });
  if (keys.length === 0) throw new Error(`${path} holds no key`);
  return keys;
}

/** Complete on disk before it replaces the old one: losing it would lose every sealed value. */
const write = (path: string, keys: Kek[]): Promise<void> =>
  replaceFile(path, keys.map(({ id, key }) => `${id} ${key.toString("hex")}\n`).join(""));
