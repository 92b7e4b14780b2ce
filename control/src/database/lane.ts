// SPDX-License-Identifier: Apache-2.0
/**
 * One connection for look-ups that every call makes. Waking the database and being woken by it costs
 * more than a look-up does, so what is asked in one turn of the event loop leaves in one write, and
 * the next ones do not wait for the answers of those before.
 *
 *  A. Statements run in the order they were asked and one at a time, each for itself: one that waits for
 *     a lock holds up all after it. Only single statements that touch a few rows belong here, and never
 *     a transaction: everybody's statements would be in it.
 *  B. A connection that is lost fails what was asked on it; who comes next gets a new one.
 */
import type { PostgresPool, PostgresPoolClient } from "kysely";
import pg from "pg";
import { prepareStatements } from "./prepared.ts";

interface Wire {
  connection: { stream: { cork(): void; uncork(): void } };
}

const TRANSACTION = /^\s*(begin|start)\b/i;

export class Lane implements PostgresPool {
  readonly #config: pg.ClientConfig;
  readonly options = {};
  #open: Promise<PostgresPoolClient> | null = null;
  #client: pg.Client | null = null;

  constructor(config: pg.ClientConfig) {
    this.#config = config;
  }

  connect(): Promise<PostgresPoolClient> {
    if (this.#open !== null) return this.#open;
    const opening = this.#start();
    this.#open = opening;
    opening.catch(() => this.#forget(opening));
    return opening;
  }

  async end(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    this.#open = null;
    await client?.end();
  }

  async #start(): Promise<PostgresPoolClient> {
    const client = new pg.Client({ ...this.#config, pipeline: true } as pg.ClientConfig);
    // Whoever's statement is under way is told by the statement (B).
    const gone = () => {
      if (this.#client !== client) return;
      this.#client = null;
      this.#open = null;
    };
    client.on("error", gone);
    client.on("end", gone);
    this.#client = client;
    await client.connect();
    prepareStatements(client);
    const query = client.query.bind(client) as unknown as PostgresPoolClient["query"];
    const { stream } = (client as unknown as Wire).connection;
    let corked = false;
    const together = ((text: string, values: readonly unknown[]) => {
      if (TRANSACTION.test(text)) throw new Error("a lane takes no transactions");
      if (!corked) {
        corked = true;
        stream.cork();
        setImmediate(() => {
          corked = false;
          stream.uncork();
        });
      }
      return query(text, values);
    }) as PostgresPoolClient["query"];
    return { query: together, release() {} } as PostgresPoolClient;
  }

  #forget(opening: Promise<PostgresPoolClient>): void {
    if (this.#open === opening) this.#open = null;
  }
}
