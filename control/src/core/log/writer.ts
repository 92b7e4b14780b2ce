// SPDX-License-Identifier: Apache-2.0
/**
 * Signs what was added. Leaves come in the statement that ends a session, so nothing is lost when this
 * does not run; it only says, some time later, that they are all there.
 *
 *  A. One writer: the turn holds the log's row, and a size is signed once under a name (primary key).
 *  B. What is signed grew from what was signed: the frontier goes on from where it stood.
 *  C. Nothing is signed that is behind, or other than, what is known outside the database.
 *  D. A checkpoint is served when it is committed, never before.
 */
import { sql } from "kysely";
import { type Checkpoint, checkpointText, type OpenedCheckpoint } from "#evidence/log/checkpoint.ts";
import { signNote, writeNote } from "#evidence/log/note.ts";
import { foldRight, rootPlan, same } from "#evidence/log/tree.ts";
import { Frontier } from "#evidence/proofs/merkle.ts";
import type { Database, Db } from "../../database/open.ts";
import type { Vault } from "../vault/index.ts";
import { isActive, type LogKey, openLogKey } from "./key.ts";
import type { Outside } from "./outside.ts";
import { readSteps } from "./tree.ts";
import type { Witnesses } from "./witnesses.ts";

/** What one checkpoint takes in at most: a log that was long without a writer is caught up in turns. */
const LEAVES_MAX = 65_536;
/** Between two tries of a log that could not sign. */
const STOPPED_MS = 2000;

export interface LogConfig {
  origin: string | null;
  /** From an entry until its checkpoint, at most. */
  everyMs: number;
  /** As many have one at once. */
  entries: number;
}

/** The log is other than what was signed, and signs nothing until an operator has looked. */
export class LogForked extends Error {}

export interface Signed extends Checkpoint {
  note: string;
}

interface Head {
  origin: string;
  size: number;
  frontier: Buffer;
}

export class LogWriter {
  readonly #db: Database;
  readonly #vault: Vault;
  readonly #config: LogConfig;
  readonly #outside: Outside;
  readonly #witnesses: Witnesses | null;
  readonly #clock: () => number;
  /** What is outside and was found to be in the log: texts of checkpoints. */
  readonly #agreed = new Set<string>();
  /** When entries were first seen to wait. */
  #waitingSince: number | null = null;
  #stopped: { why: string; at: number } | null = null;
  /** False until it was compared with what is outside, which is done before anything is added. */
  #compared = false;
  #key: LogKey | null = null;

  constructor(
    deps: {
      db: Database;
      vault: Vault;
      outside: Outside;
      witnesses?: Witnesses | null;
      clock: () => number;
    },
    config: LogConfig,
  ) {
    this.#db = deps.db;
    this.#vault = deps.vault;
    this.#outside = deps.outside;
    this.#witnesses = deps.witnesses ?? null;
    this.#clock = deps.clock;
    this.#config = config;
  }

  /** Why nothing is signed; null while all is well. */
  get stopped(): string | null {
    return this.#stopped?.why ?? null;
  }

  /** Signs when it is time; null when it was not, or another replica is at it. Throws why it cannot (`LogForked` of (C)), once for each reason. */
  async turn(): Promise<Signed | null> {
    if (!(await this.#due())) return null;
    return this.sign();
  }

  async #due(): Promise<boolean> {
    if (this.#stopped !== null) return this.#clock() - this.#stopped.at >= STOPPED_MS;
    if (!this.#compared) return true;
    const { rows } = await sql<{ waiting: number }>`
      select l.size - h.size as waiting from proof_log l, log_head h`.execute(this.#db.soft);
    const { waiting } = rows[0]!;
    if (waiting <= 0) this.#waitingSince = null;
    else this.#waitingSince ??= this.#clock();
    if (this.#waitingSince === null) return waiting < 0;
    return waiting >= this.#config.entries || this.#clock() - this.#waitingSince >= this.#config.everyMs;
  }

  /** Shows the newest checkpoint to the witnesses. One that refuses it is asked what it saw, before anything more is signed. */
  async witnessTurn(): Promise<void> {
    if (this.#stopped === null && (await this.#witnesses?.turn())) this.#compared = false;
  }

  /** Signs all that is there, up to `LEAVES_MAX`; null when there is nothing new. */
  async sign(): Promise<Signed | null> {
    try {
      const signed = await this.#signWithNewest();
      this.#stopped = null;
      this.#compared = true;
      if (signed !== null) {
        this.#waitingSince = null;
        await this.#outside.tell(signed.note);
        this.#agreed.clear();
        this.#agreed.add(textOf(signed.note));
      }
      return signed;
    } catch (error) {
      const why = (error as Error).message;
      const known = this.#stopped?.why === why;
      this.#stopped = { why, at: this.#clock() };
      // Said once, and then by the metric.
      if (known) return null;
      throw error;
    }
  }

  /** The key was opened before the row was locked; by then another may have taken its place, here or elsewhere. */
  async #signWithNewest(): Promise<Signed | null> {
    for (;;) {
      this.#key ??= await openLogKey(this.#db, this.#vault, this.#config.origin);
      const key = this.#key;
      // Before the row is locked: a witness that is slow must hold nobody up.
      const known = await this.#known(key.name);
      const signed = await this.#db.write((tx) => this.#signIn(tx, key, known));
      if (signed !== "retired") return signed;
      this.#key = null;
    }
  }

  async #signIn(tx: Db, key: LogKey, known: Known): Promise<Signed | "retired" | null> {
    const { rows } = await sql<Head>`
      select origin, size, frontier from log_head for update skip locked`.execute(tx);
    const head = rows[0];
    if (head === undefined) return null;
    // After the lock, in a statement of its own: what others committed before is seen.
    const upTo = await sql<{ size: number }>`select size from proof_log`.execute(tx);
    const size = Math.min(upTo.rows[0]!.size, head.size + LEAVES_MAX);
    await this.#agree(tx, head, known);
    if (size < head.size) throw new LogForked(`the log has ${size} entries and signed ${head.size}`);
    if (size === head.size) return null;
    if (!(await isActive(tx, key))) return "retired";
    const tree = new Frontier(head.size, hashesIn(head.frontier));
    await grow(tx, tree, size);
    const checkpoint = { origin: head.origin, size, root: tree.root() };
    const text = checkpointText(checkpoint);
    const note = writeNote({ text, signatures: [signNote(text, key, key.sign)] });
    await sql`
      update log_head set size = ${size}, frontier = ${Buffer.concat(tree.hashes())}`.execute(tx);
    await sql`
      insert into log_checkpoints (origin, size, root, note)
      values (${head.origin}, ${size}, ${checkpoint.root}, ${note})`.execute(tx);
    return { ...checkpoint, note };
  }

  /** What is known outside: by the file each time, by witnesses when there is a reason to ask them. */
  async #known(origin: string): Promise<Known> {
    const told = await this.#outside.newest();
    const isRestored = told !== null && "restored" in told;
    const seen = this.#compared || this.#witnesses === null ? [] : await this.#witnesses.seen(origin);
    return {
      restored: isRestored ? told : null,
      checkpoints: told === null || isRestored ? seen : [told, ...seen],
    };
  }

  /** (C). What was agreed with before needs no second look: the log only grew since. */
  async #agree(tx: Db, head: Head, { restored, checkpoints }: Known): Promise<void> {
    for (const checkpoint of checkpoints) await this.#agreeWith(tx, head, checkpoint);
    // With what a witness saw, the log is known to be no shorter than that.
    if (restored === null || checkpoints.length > 0) return;
    if (restored.restored !== null && restored.restored !== head.origin) return;
    throw new LogForked(
      "this installation was restored from a backup, and what the log signed since then is not known here: " +
        "put its newest checkpoint in place of control/log-checkpoint, or begin another log",
    );
  }

  async #agreeWith(tx: Db, head: Head, known: OpenedCheckpoint): Promise<void> {
    const { text } = known.note;
    if (this.#agreed.has(text)) return;
    if (known.origin !== head.origin) {
      // Of a log that was abandoned here: nothing is signed under its name any more.
      const { rows } = await sql`select from log_checkpoints where origin = ${known.origin} limit 1`.execute(
        tx,
      );
      if (rows.length > 0) return;
      throw new LogForked(`the checkpoint outside is of the log ${known.origin}, and this is ${head.origin}`);
    }
    if (known.size > head.size)
      throw new LogForked(
        `the log has signed ${head.size} entries and is known outside with ${known.size}: was the database restored?`,
      );
    if (known.size > 0 && !same(await rootAt(tx, known.size), known.root))
      throw new LogForked(`the log's first ${known.size} entries are not those that were signed`);
    this.#agreed.add(text);
  }
}

interface Known {
  restored: { restored: string | null } | null;
  checkpoints: OpenedCheckpoint[];
}

const textOf = (note: string) => note.slice(0, note.indexOf("\n\n") + 1);

/** The root of the log's first `size` entries, from what is kept of it. */
export async function rootAt(db: Db, size: number): Promise<Uint8Array> {
  return foldRight(await readSteps(db, [rootPlan(size)]));
}

async function grow(tx: Db, tree: Frontier, size: number): Promise<void> {
  const { rows } = await sql<{ position: number; leaf_hash: Buffer }>`
    select position, leaf_hash from proof_leaves
    where position >= ${tree.size} and position < ${size} order by position`.execute(tx);
  const nodes: { level: number; position: number; hash: Buffer }[] = [];
  for (const { position, leaf_hash } of rows) {
    if (position !== tree.size) throw new LogForked(`entry ${tree.size} of the log is missing`);
    tree.add(leaf_hash, (height, at, hash) => {
      if (height > 0 && height % 8 === 0)
        nodes.push({ level: height / 8, position: at, hash: Buffer.from(hash) });
    });
  }
  if (tree.size !== size) throw new LogForked(`entry ${tree.size} of the log is missing`);
  if (nodes.length > 0) {
    // They are there when another log was begun over the same entries.
    await tx
      .insertInto("log_nodes")
      .values(nodes)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}

function hashesIn(frontier: Buffer): Buffer[] {
  const hashes: Buffer[] = [];
  for (let at = 0; at < frontier.length; at += 32) hashes.push(frontier.subarray(at, at + 32));
  return hashes;
}
