// SPDX-License-Identifier: Apache-2.0
/**
 * A witness (C2SP tlog-witness): it says with a signature and a time that it saw a log's checkpoint, and
 * never says it of two trees of which one is not the beginning of the other.
 *
 * The attacker is the log itself, whoever has its key, who would like to show one tree to you and
 * another to me. Against them the witness has its memory, so:
 *
 *  A. What it signs is on its disk before the signature leaves; a kill between the two loses a signature,
 *     never the memory of it.
 *  B. Requests for one log come one after another: two trees cannot both be compared with the older one.
 *  C. A memory that cannot be read is not an empty one: the witness refuses to start.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isOfLog, type OpenedCheckpoint, openCheckpoint } from "#evidence/log/checkpoint.ts";
import { type NoteKey, signNote, writeNote } from "#evidence/log/note.ts";
import { extendsTree, same } from "#evidence/log/tree.ts";
import { merkleRoot } from "#evidence/proofs/merkle.ts";
import { replaceFile } from "#files/replace.ts";
import type { WitnessKey } from "./key.ts";
import { readAddCheckpoint } from "./request.ts";

/** As HTTP answers it; the numbers are those of the protocol. */
export interface Reply {
  status: 200 | 400 | 403 | 404 | 409 | 422;
  body: string;
  /** Of 409: `text/x.tlog.size` when the body is the size that was witnessed last. */
  mediaType: string;
}

const TEXT = "text/plain; charset=utf-8";
const say = (status: Reply["status"], body: string, mediaType = TEXT): Reply => ({
  ...{ status, body: `${body}\n`, mediaType },
});

/** The name of a log's file here and of its path for readers: SHA-256 of its origin, hex. */
export const hashOfOrigin = (origin: string): string => createHash("sha256").update(origin).digest("hex");

export class Witness {
  readonly #folder: string;
  readonly #key: WitnessKey;
  /** Keys by origin. */
  readonly #logs: ReadonlyMap<string, readonly NoteKey[]>;
  readonly #clock: () => number;
  /** What was witnessed last, by origin. */
  readonly #seen: Map<string, OpenedCheckpoint>;
  readonly #turns = new Map<string, Promise<unknown>>();

  private constructor(
    folder: string,
    key: WitnessKey,
    logs: ReadonlyMap<string, readonly NoteKey[]>,
    clock: () => number,
    seen: Map<string, OpenedCheckpoint>,
  ) {
    this.#folder = folder;
    this.#key = key;
    this.#logs = logs;
    this.#clock = clock;
    this.#seen = seen;
  }

  /** `clock` gives milliseconds since 1970. Throws for a memory that cannot be read (C). */
  static async open(
    folder: string,
    key: WitnessKey,
    keys: readonly NoteKey[],
    clock: () => number,
  ): Promise<Witness> {
    const logs = Map.groupBy(keys, ({ name }) => name);
    const seen = new Map<string, OpenedCheckpoint>();
    for (const origin of logs.keys()) {
      const path = join(folder, hashOfOrigin(origin));
      const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return null;
        throw error;
      });
      if (bytes === null) continue;
      const checkpoint = openCheckpoint(bytes);
      if (checkpoint?.origin !== origin) throw new Error(`${path} is no checkpoint of ${origin}`);
      seen.set(origin, checkpoint);
    }
    return new Witness(folder, key, logs, clock, seen);
  }

  /** The checkpoint that was witnessed last, with the log's signatures and ours; null when none was. */
  newest(hash: string): string | null {
    for (const [origin, { note }] of this.#seen) if (hashOfOrigin(origin) === hash) return writeNote(note);
    return null;
  }

  /** Never throws for what was sent. Throws when the disk does not take it: nothing was witnessed then. */
  async add(body: Uint8Array): Promise<Reply> {
    const asked = readAddCheckpoint(body);
    if (asked === null) return say(400, "the body is no add-checkpoint request");
    const { origin } = asked.checkpoint;
    const keys = this.#logs.get(origin);
    if (keys === undefined) return say(404, "this log is not witnessed here");
    if (!isOfLog(asked.checkpoint, keys)) return say(403, "no key of the log that is known here signed it");
    if (asked.old > asked.checkpoint.size) return say(400, "the old size is larger than the checkpoint's");
    const turn = (this.#turns.get(origin) ?? Promise.resolve()).then(() => this.#judge(asked, keys));
    this.#turns.set(
      origin,
      turn.catch(() => {}),
    );
    return turn;
  }

  async #judge(
    { old, proof, checkpoint }: NonNullable<ReturnType<typeof readAddCheckpoint>>,
    keys: readonly NoteKey[],
  ): Promise<Reply> {
    const last = this.#seen.get(checkpoint.origin) ?? { size: 0, root: merkleRoot([]) };
    if (old !== last.size) return say(409, String(last.size), "text/x.tlog.size");
    if (old === checkpoint.size && !same(last.root, checkpoint.root))
      return say(409, "another root of this size was witnessed");
    if (!extendsTree(last, checkpoint, proof))
      return say(422, "the proof does not show that the tree grew from the one that was witnessed");
    const { text, signatures } = checkpoint.note;
    const atSeconds = Math.floor(this.#clock() / 1000);
    const mine = signNote(text, this.#key, this.#key.sign, atSeconds);
    // Lines of others say nothing to us and would let anybody fill our disk.
    const theirs = signatures.filter((one) =>
      isOfLog({ ...checkpoint, note: { text, signatures: [one] } }, keys),
    );
    const note = { text, signatures: [...theirs, mine] };
    await replaceFile(join(this.#folder, hashOfOrigin(checkpoint.origin)), writeNote(note), 0o644);
    this.#seen.set(checkpoint.origin, { ...checkpoint, note });
    const line = writeNote({ text: "", signatures: [mine] }).slice(1);
    return { status: 200, body: line, mediaType: TEXT };
  }
}
