// SPDX-License-Identifier: Apache-2.0
/**
 * Reads the cleared files again, in a process that did not clear them, through the driver's directory
 * descriptors (/proc/<driver>/fd/N), and digests them in chunks of 1 MiB in file order. The tree is still.
 */
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { zeroRoot } from "#evidence/proofs/hash.ts";
import { walkFiles } from "../walk.ts";
import { extents } from "../wipe.ts";
import type { ReadBackAnswer, ReadBackQuestion } from "./question.ts";

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const CHUNK = 1024 * 1024;
const ZEROS = Buffer.alloc(CHUNK);
const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();
const ZERO_DIGEST = digest(ZEROS);

export async function readBack(question: ReadBackQuestion): Promise<ReadBackAnswer> {
  const answer = { files: 0, bytes: 0, chunksNotZero: 0, canaryFound: 0, unreadable: 0 };
  const digests: Uint8Array[] = [];
  const canaries = [Buffer.from(question.canaryHex, "latin1"), Buffer.from(question.canaryHex, "hex")];
  const buffer = Buffer.allocUnsafe(CHUNK);
  const seen = new Set<string>();

  const readFile = async (path: Buffer, device: number) => {
    const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const stat = fstatSync(fd);
      const key = `${device}:${stat.ino}`;
      if (!stat.isFile() || seen.has(key)) return;
      if (stat.nlink > 1) seen.add(key);
      answer.files++;
      for (const [from, to] of await extents(`/proc/${process.pid}/fd/${fd}`, stat)) {
        for (let at = from; at < to; ) {
          const got = readSync(fd, buffer, 0, Math.min(CHUNK, to - at), at);
          if (got === 0) break;
          const chunk = buffer.subarray(0, got);
          // Comparing first spares the digest of what is known: the digest of a MiB of zeros.
          if (chunk.equals(ZEROS.subarray(0, got))) digests.push(got === CHUNK ? ZERO_DIGEST : digest(chunk));
          else {
            answer.chunksNotZero++;
            if (canaries.some((canary) => chunk.includes(canary))) answer.canaryFound++;
            digests.push(digest(chunk));
          }
          answer.bytes += got;
          at += got;
        }
      }
    } finally {
      closeSync(fd);
    }
  };

  for (const fd of question.fds) {
    const skip = () => {
      answer.unreadable++;
    };
    for (const path of walkFiles(`/proc/${question.pid}/fd/${fd}`, skip)) {
      try {
        await readFile(path, fd);
      } catch {
        skip();
      }
    }
  }
  return { ...answer, chunks: digests.length, zeroRoot: zeroRoot(digests) };
}
