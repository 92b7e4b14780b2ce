// SPDX-License-Identifier: Apache-2.0
/**
 * The database handle. PostgreSQL ≥ 15, embedded or yours: same driver, same migrations.
 *
 *  A. Inside `write` only the transaction's handle exists; no remote call happens in there.
 *  B. `soft` commits asynchronously: for what a crash may forget (rate windows, who executes now).
 *     Everything acknowledged to a client goes through `write` or `run`, which wait for the disk, or
 *     is written softly and followed by `settled`: rows that many want are then not locked while the
 *     disk is waited for, and one wait serves all who wait.
 *  C. A lost connection surfaces as an error of the statement that met it, never as a crash.
 */
import { Kysely, PostgresDialect, sql, type Transaction } from "kysely";
import pg from "pg";
import { Fault } from "#contract/errors.ts";
import { gather } from "./gather.ts";
import { Lane } from "./lane.ts";
import { migrate } from "./migrate.ts";
import { isStalePlan, prepareStatements } from "./prepared.ts";
import type { Tables } from "./tables.ts";

export type Db = Kysely<Tables>;
export type Tx = Transaction<Tables>;

export interface Database {
  /** Reads and single statements that commit durably. */
  run: Db;
  /** One short transaction (A). */
  write<T>(work: (tx: Tx) => Promise<T>): Promise<T>;
  /** As `run`, with asynchronous commit (B). */
  soft: Db;
  /** As `soft`, on one connection that all share: for the look-ups that every call makes (lane.ts). */
  quick: Db;
  /** Everything that was committed before the call, softly too and by whomever, is on disk when this resolves. */
  settled(): Promise<void>;
  /** What another library has written, on a connection of `run`; may be several statements when there are no values. */
  foreign(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
  /** Calls back on a NOTIFY on the channel; the listener's connection is renewed when it drops. */
  listen(channel: string, heard: (payload: string) => void): Promise<void>;
  ping(): Promise<boolean>;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  connection: pg.PoolConfig;
  poolMax: number;
  onError(error: Error): void;
}

const SOFT = "-c synchronous_commit=off";

export const OLDEST_SERVER = 150_000;

export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { connection, onError } = options;
  // int8 arrives as a number: every bigint we keep is far below 2^53.
  const types = { getTypeParser: parserFor } as unknown as pg.CustomTypesConfig;
  // A pool's end does not wait for its sockets; what the server says to them afterwards is no news.
  let closing = false;
  const clientOf = (settings: string): pg.ClientConfig => ({
    ...connection,
    types,
    options: `-c TimeZone=UTC -c statement_timeout=30000 -c idle_in_transaction_session_timeout=30000 ${settings}`,
    application_name: "casemate",
    connectionTimeoutMillis: 10_000,
  });
  const poolOf = (max: number, settings: string) => {
    const pool = new pg.Pool({ ...clientOf(settings), max });
    // The pool hears a connection's end only while it lies idle. Between two statements of a transaction
    // nobody would, and an error nobody hears ends the process: the next statement tells it (C).
    pool.on("connect", (client) => {
      client.on("error", () => {});
      prepareStatements(client);
    });
    pool.on("error", (error) => {
      if (!closing) onError(error);
    });
    return pool;
  };
  const durable = poolOf(options.poolMax, "");
  const relaxed = poolOf(options.poolMax, SOFT);
  const run = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: durable }) });
  const soft = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: relaxed }) });
  const quick = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: new Lane(clientOf(SOFT)) }) });
  const listener = new Listener({ ...connection, application_name: "casemate-listen" }, onError);
  try {
    await prepare(durable);
  } catch (error) {
    await Promise.all([run.destroy(), soft.destroy(), quick.destroy()]);
    throw error;
  }
  const settle = gather(async (asks: null[]) => {
    // The log is flushed up to this message, and so with everything before it. It has to be a message
    // of a transaction: a commit that wrote nothing waits for nothing.
    await sql`select pg_logical_emit_message(true, ${"casemate"}, '')`.execute(run);
    return asks;
  });
  return {
    run,
    soft,
    quick,
    settled: () => settle(null).then(() => {}),
    write: (work) => run.transaction().execute(work),
    foreign: async (text, values) => {
      // Of several statements the driver answers a list.
      const results = [await durable.query(text, values)].flat();
      return { rows: results.flatMap(({ rows }) => rows) };
    },
    listen: (channel, heard) => listener.listen(channel, heard),
    ping: () =>
      sql`select 1`.execute(soft).then(
        () => true,
        () => false,
      ),
    close: async () => {
      closing = true;
      await listener.close();
      await Promise.all([run.destroy(), soft.destroy(), quick.destroy()]);
    },
  };
}

async function prepare(pool: pg.Pool): Promise<void> {
  const client = await pool.connect();
  try {
    const { rows } = await client.query<{ server_version_num: string }>("show server_version_num");
    const version = Number(rows[0]?.server_version_num);
    if (!(version >= OLDEST_SERVER)) {
      throw new Error(`PostgreSQL ${version} is too old: 15 or newer is needed`);
    }
    await migrate(client);
  } finally {
    client.release();
  }
}

const INT8 = 20;
const parserFor = (oid: number, format?: "text" | "binary") =>
  oid === INT8 ? (text: string) => Number(text) : pg.types.getTypeParser(oid, format as "text");

/** One connection that only listens. A hint may be lost while it reconnects; every hearer also sweeps. */
class Listener {
  readonly #config: pg.ClientConfig;
  readonly #onError: (error: Error) => void;
  readonly #heard = new Map<string, ((payload: string) => void)[]>();
  #client: pg.Client | null = null;
  #closed = false;

  constructor(config: pg.ClientConfig, onError: (error: Error) => void) {
    this.#config = config;
    this.#onError = onError;
  }

  async listen(channel: string, heard: (payload: string) => void): Promise<void> {
    const first = !this.#heard.has(channel);
    this.#heard.set(channel, [...(this.#heard.get(channel) ?? []), heard]);
    if (this.#client === null) await this.#connect();
    else if (first) await this.#client.query(`listen ${pg.escapeIdentifier(channel)}`);
  }

  async #connect(): Promise<void> {
    const client = new pg.Client(this.#config);
    this.#client = client;
    client.on("notification", ({ channel, payload }) => {
      for (const heard of this.#heard.get(channel) ?? []) heard(payload ?? "");
    });
    client.on("error", this.#onError);
    client.on("end", () => this.#again());
    await client.connect();
    for (const channel of this.#heard.keys()) await client.query(`listen ${pg.escapeIdentifier(channel)}`);
  }

  #again(): void {
    if (this.#closed) return;
    setTimeout(() => {
      if (!this.#closed) this.#connect().catch((error: Error) => this.#onError(error));
    }, 500).unref();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#client?.end().catch(() => {});
  }
}

/** The client library's words for a connection that ended under a statement; it gives them no code. */
const CUT_OFF =
  /^(Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect)/;

/** Why a statement ended itself by `refuse` (migration 0002), or null. Nothing it did remains. */
export const refusalOf = (error: unknown): string | null =>
  (error as { code?: string }).code === "CM001" ? (error as Error).message : null;

/** PostgreSQL's own words for "no room" and "going away", which a client may retry. */
export function unavailable(error: unknown): Fault | null {
  const code = (error as { code?: string })?.code ?? "";
  if (code === "53100") return new Fault("platform.no-space", {}, { cause: error });
  if (code === "53200") return new Fault("platform.overloaded", {}, { cause: error });
  const gone = [
    "53300",
    "57P01",
    "57P02",
    "57P03",
    "08006",
    "08003",
    "08001",
    "ECONNREFUSED",
    "ENOENT",
    "ECONNRESET",
    "EPIPE",
  ];
  const { message } = error as { message?: string };
  if (gone.includes(code) || isStalePlan(error) || CUT_OFF.test(message ?? ""))
    return new Fault("platform.database-unavailable", {}, { cause: error });
  return null;
}
