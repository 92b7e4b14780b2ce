// SPDX-License-Identifier: Apache-2.0
/**
 * Clears the contents of every regular file of one tmpfs, once. Runs when no process of the session
 * is left. A file of several names is cleared and counted once; only where a file holds data is it
 * written, because writing a hole would allocate it and a session may make files of petabytes.
 * What is written to pages that exist costs no memory; they stay charged to the session's cgroup.
 */
import { execFile } from "node:child_process";
import { closeSync, constants, fstatSync, lstatSync, openSync, type Stats, write, writeSync } from "node:fs";
import { promisify } from "node:util";
import { makeReachable, walkFiles } from "./walk.ts";

const { O_WRONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const CHUNK = 1024 * 1024;
const ZEROS = Buffer.alloc(CHUNK);
const HERE_BYTES = 16 * 1024;
const SKIPPED_LISTED = 8;
const writeElsewhere = promisify(write);

export interface Wiped {
  files: number;
  /** Sum of the sizes of the files seen, holes included. */
  bytes: number;
  filesOverwritten: number;
  bytesOverwritten: number;
  bytesSkipped: number;
  skipped: { name: string; reason: string }[];
}

export async function wipeTree(rootFd: number): Promise<Wiped> {
  const wiped: Wiped = {
    files: 0,
    bytes: 0,
    filesOverwritten: 0,
    bytesOverwritten: 0,
    bytesSkipped: 0,
    skipped: [],
  };
  const skip = (name: string) => (reason: string) => {
    if (wiped.skipped.length < SKIPPED_LISTED) wiped.skipped.push({ name, reason: reason.slice(0, 200) });
  };
  const seen = new Set<number>();
  for (const path of walkFiles(`/proc/self/fd/${rootFd}`, skip("folder"))) {
    let file: number | undefined;
    let size = 0;
    try {
      // Nothing to clear: a quarter of a million empty files would otherwise hold the end for a minute.
      const entry = lstatSync(path);
      if (!entry.isFile()) continue;
      if (entry.blocks === 0) {
        if (!(entry.nlink > 1 && seen.has(entry.ino))) {
          wiped.files++;
          wiped.bytes += Math.min(entry.size, Number.MAX_SAFE_INTEGER - wiped.bytes);
        }
        if (entry.nlink > 1) seen.add(entry.ino);
        if (wiped.files % YIELD_EVERY === 0) await new Promise(setImmediate);
        continue;
      }
      makeReachable(path);
      // O_NONBLOCK: were it a FIFO after all, opening must not wait for a reader.
      file = openSync(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK);
      const stat = fstatSync(file);
      if (!stat.isFile() || seen.has(stat.ino)) continue;
      if (stat.nlink > 1) seen.add(stat.ino);
      size = stat.blocks * 512;
      wiped.files++;
      wiped.bytes += Math.min(stat.size, Number.MAX_SAFE_INTEGER - wiped.bytes);
      if (wiped.files % YIELD_EVERY === 0) await new Promise(setImmediate);
      const cleared = await clear(file, await extents(`/proc/${process.pid}/fd/${file}`, stat));
      wiped.bytesOverwritten += cleared;
      if (cleared > 0) wiped.filesOverwritten++;
    } catch (error) {
      wiped.bytesSkipped += size;
      skip("file")((error as Error).message);
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }
  return wiped;
}

/** A few pages are written here and now: a turn through the thread pool takes longer than they do. */
async function clear(file: number, ranges: readonly Extent[]): Promise<number> {
  let cleared = 0;
  for (const [from, to] of ranges) {
    for (let at = from; at < to; ) {
      const length = Math.min(CHUNK, to - at);
      const written =
        length <= HERE_BYTES
          ? writeSync(file, ZEROS, 0, length, at)
          : (await writeElsewhere(file, ZEROS, 0, length, at)).bytesWritten;
      at += written;
      cleared += written;
    }
  }
  return cleared;
}

export type Extent = readonly [from: number, to: number];

/** Files after which other machines get their turn. */
const YIELD_EVERY = 500;

const run = promisify(execFile);

/**
 * Where a file holds data. A file with fewer blocks than bytes has holes; Node has no lseek, so the
 * rare sparse file costs one perl that prints its SEEK_DATA and SEEK_HOLE offsets. `path` must name
 * the file for another process as well: /proc/<pid>/fd/<n>, not /proc/self.
 */
export async function extents(path: string, stat: Stats): Promise<Extent[]> {
  if (stat.size === 0 || stat.blocks === 0) return [];
  if (stat.blocks * 512 >= stat.size) return [[0, stat.size]];
  const { stdout } = await run("/usr/bin/perl", ["-f", "-e", EXTENTS, path], {
    env: {},
    maxBuffer: 64 * CHUNK,
  });
  return stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => {
      const [from, to] = line.split(" ").map(Number);
      return [from!, to!];
    });
}

const EXTENTS = `
open(my $file, '<', $ARGV[0]) or die "open: $!";
my $at = 0;
while (defined(my $data = sysseek($file, $at, 3))) {
  my $hole = sysseek($file, $data, 4);
  die "seek: $!" unless defined $hole;
  print 0 + $data, ' ', 0 + $hole, "\\n";
  $at = 0 + $hole;
}
die "seek: $!" unless $! == 6;
`;
