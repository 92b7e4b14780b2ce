// SPDX-License-Identifier: Apache-2.0
/**
 * The log's witnesses (C2SP tlog-witness), run by others: each is shown every newest checkpoint, and the
 * line it answers with is kept beside the log's own signature. A verifier who pins one learns from it when
 * the tree was there, which the operator cannot say of himself.
 *
 *  A. The log does not wait for them: one that is away costs its line and nothing else.
 *  B. What a witness answers is believed only as far as its key signed it. One that lies with its key can
 *     stop the log, until its operator takes it out of the config, and can make it sign nothing false.
 */
import { createHash } from "node:crypto";
import { sql } from "kysely";
import { type OpenedCheckpoint, openCheckpoint } from "#evidence/log/checkpoint.ts";
import { COSIGNATURE, keyIdOf, type NoteKey, readNote, readNoteKey, signedBy } from "#evidence/log/note.ts";
import { consistencyPlan } from "#evidence/log/tree.ts";
import { writeAddCheckpoint } from "#witness/request.ts";
import type { Database } from "../../database/open.ts";
import { newestCheckpoint } from "./show.ts";
import { readSteps } from "./tree.ts";

export interface WitnessAddress {
  /** Where `/add-checkpoint` is below. */
  url: string;
  /** As C2SP writes keys: `name+id+base64`. */
  key: string;
}

interface KnownWitness {
  url: string;
  key: NoteKey;
  /** Entries of what it witnessed last, as far as is known; null: not asked yet. */
  size: number | null;
  /** What went wrong last, so that it is said once. */
  fault: string | null;
}

/** For one answer; a turn is at most two of them. */
const ANSWER_MS = 5_000;
const ANSWER_BYTES_MAX = 64 * 1024;

export class Witnesses {
  readonly #db: Database;
  readonly #known: KnownWitness[];
  readonly #onFault: (text: string) => void;
  readonly #answerMs: number;

  /** Throws for an address whose key is none of a witness. */
  constructor(
    db: Database,
    addresses: readonly WitnessAddress[],
    onFault: (text: string) => void,
    answerMs = ANSWER_MS,
  ) {
    this.#db = db;
    this.#onFault = onFault;
    this.#answerMs = answerMs;
    this.#known = addresses.map(({ url, key: text }) => {
      const key = readNoteKey(text);
      if (key?.type !== COSIGNATURE)
        throw new Error(`config transparency.witnesses: the key of ${url} is none of a witness`);
      return { url: url.replace(/\/+$/, ""), key, size: null, fault: null };
    });
  }

  /** What each of them saw last of this log and signed; those that are away or never saw it are left out. */
  async seen(origin: string): Promise<OpenedCheckpoint[]> {
    const path = `${createHash("sha256").update(origin).digest("hex")}/checkpoint`;
    const shown = await Promise.all(
      this.#known.map((witness) =>
        this.#guarded(witness, async () => {
          const { status, body } = await this.#ask(`${witness.url}/${path}`);
          if (status === 404) return null;
          const checkpoint = status === 200 ? openCheckpoint(body) : null;
          if (checkpoint?.origin !== origin || signedBy(checkpoint.note, witness.key) === null)
            throw new Error(`it shows no checkpoint that it signed (${status})`);
          witness.size = checkpoint.size;
          return checkpoint;
        }),
      ),
    );
    return shown.filter((checkpoint) => checkpoint !== null);
  }

  /**
   * Shows the newest checkpoint to those who have not signed it. True when one refused it as not grown from what it
   * saw: the log is to be compared with that before anything more is signed.
   */
  async turn(): Promise<boolean> {
    const newest = await newestCheckpoint(this.#db.run);
    if (newest === null) return false;
    const note = readNote(newest.note)!;
    const waiting = this.#known.filter(({ key }) => signedBy(note, key) === null);
    const refused = await Promise.all(
      waiting.map((witness) => this.#guarded(witness, () => this.#show(witness, newest))),
    );
    return refused.includes(true);
  }

  async #show(witness: KnownWitness, { size, note }: { size: number; note: string }): Promise<boolean> {
    for (let tries = 0; tries < 2; tries++) {
      const old = witness.size ?? size;
      const reply = await this.#ask(`${witness.url}/add-checkpoint`, await this.#request(old, size, note));
      if (reply.status === 200) {
        await this.#keep(witness.key, note, reply.body);
        witness.size = size;
        witness.fault = null;
        return false;
      }
      const known = reply.sizeOf;
      if (reply.status === 422 || (reply.status === 409 && known === null)) return this.#doubt(witness);
      if (known === null) throw new Error(`it answers ${reply.status}`);
      witness.size = known;
      if (known > size) {
        // Another replica may have shown it a newer one, which is committed by then.
        const now = await newestCheckpoint(this.#db.run);
        return now !== null && now.size >= known ? false : this.#doubt(witness);
      }
    }
    throw new Error("it changes its mind about what it saw");
  }

  #doubt(witness: KnownWitness): true {
    witness.size = null;
    this.#say(witness, "it saw a tree that this log did not grow from");
    return true;
  }

  async #request(old: number, size: number, note: string): Promise<string> {
    const proof = await readSteps(this.#db.run, consistencyPlan(old, size));
    return writeAddCheckpoint(old, proof, note);
  }

  /** Adds the witness's line, once, whatever else it answered. */
  async #keep(key: NoteKey, note: string, answer: string): Promise<void> {
    const text = readNote(note)!.text;
    const line = answer
      .split(/(?<=\n)/)
      .find((one) => signedBy(readNote(`${text}\n${one}`) ?? { text, signatures: [] }, key) !== null);
    if (line === undefined) throw new Error("it answered with no signature of its key");
    const [origin, size] = text.split("\n");
    const witness = `${key.name}+${Buffer.from(keyIdOf(key)).toString("hex")}`;
    await sql`
      insert into log_cosignatures (origin, size, witness, line)
      values (${origin}, ${Number(size)}, ${witness}, ${line}) on conflict do nothing`.execute(this.#db.run);
  }

  /** One that fails is told of when it begins to, and tried again with the next turn. */
  async #guarded<T>(witness: KnownWitness, work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      this.#say(witness, (error as Error).message);
      return null;
    }
  }

  #say(witness: KnownWitness, fault: string): void {
    if (witness.fault === fault) return;
    witness.fault = fault;
    this.#onFault(`witness ${witness.key.name} (${witness.url}): ${fault}`);
  }

  /** The answer may be anybody's: bounded, soon, and from nowhere else. */
  async #ask(url: string, body?: string): Promise<{ status: number; body: string; sizeOf: number | null }> {
    const answer = await fetch(url, {
      ...(body !== undefined && { method: "POST", body, headers: { "content-type": "text/plain" } }),
      ...{ redirect: "error", signal: AbortSignal.timeout(this.#answerMs) },
    });
    let text = "";
    const decoder = new TextDecoder();
    for await (const part of answer.body ?? []) {
      text += decoder.decode(part, { stream: true });
      if (text.length > ANSWER_BYTES_MAX) throw new Error("its answer is too long");
    }
    const isSize = answer.headers.get("content-type")?.split(";")[0] === "text/x.tlog.size";
    const sizeOf = isSize && /^(0|[1-9]\d{0,14})\n?$/.test(text) ? Number(text) : null;
    return { status: answer.status, body: text, sizeOf };
  }
}
