// SPDX-License-Identifier: Apache-2.0
/**
 * The keys that sign tokens: RS256, in the database, the private part sealed by the vault.
 *
 *  A. A new key is published PUBLISH_S before it signs, so that whoever keeps our key set for a while has
 *     it when the first token comes; the one before it signs until then and stays published until
 *     nothing it signed can count.
 *  B. All replicas follow the same rows by the database's clock: which key signs is nobody's memory.
 *  C. There is always a key that signs: the first is made at the first start, by whoever holds the lock.
 */
import { generateKeyPair } from "node:crypto";
import { promisify } from "node:util";
import { calculateJwkThumbprint, type JWK } from "jose";
import { sql } from "kysely";
import type { Database, Db, Tx } from "../../database/open.ts";
import type { Vault } from "../vault/index.ts";

const PUBLISH_S = 300;
/** How long after it was followed a key stays published: the longest token, and clocks that differ. */
const OVERLAP_S = 86_400 + 300;
const REFRESH_MS = 5_000;
/** An unknown key in a token makes us look again, and an attacker can name one in every call. */
const LOOK_AGAIN_MS = 1_000;
const CHANNEL = "casemate_oauth_keys";
const BITS = 2048;
const generate = promisify(generateKeyPair);

export interface SigningKeys {
  /** Public keys by kid, and which of them signs now; private parts only for the provider. */
  current(): KeySet;
  /** The same, looked up anew when `kid` is not there. */
  find(kid: string): Promise<JWK | undefined>;
  /** Makes a key that will sign soon; returns its kid. */
  rotate(): Promise<string>;
  close(): Promise<void>;
}

export interface KeySet {
  signing: string;
  published: ReadonlyMap<string, JWK>;
  /** As the provider wants them, the signing one first. */
  secret: readonly JWK[];
}

interface Row {
  kid: string;
  public_jwk: JWK;
  private_sealed: Buffer;
  signs: boolean;
}

const identityOf = (kid: string) => `oauth_keys/${kid}/private`;

export async function openSigningKeys(
  db: Database,
  vault: Vault,
  onError: (error: unknown) => void,
): Promise<SigningKeys> {
  await makeFirst(db, vault);
  const opened = new Map<string, JWK>();
  let set = await load(db.run, vault, opened);
  let lookedAt = performance.now();
  const look = async () => {
    lookedAt = performance.now();
    set = await load(db.soft, vault, opened);
  };
  const timer = setInterval(() => void look().catch(onError), REFRESH_MS);
  timer.unref();
  await db.listen(CHANNEL, () => void look().catch(onError));
  return {
    current: () => set,
    find: async (kid) => {
      if (!set.published.has(kid) && performance.now() - lookedAt > LOOK_AGAIN_MS) await look();
      return set.published.get(kid);
    },
    rotate: async () => {
      const made = await makeKey(vault);
      await db.write(async (tx) => {
        await sql`select pg_advisory_xact_lock(hashtext('oauth_keys'))`.execute(tx);
        await sql`
          update oauth_keys set retired_at = now() + make_interval(secs => ${PUBLISH_S + OVERLAP_S})
          where retired_at is null`.execute(tx);
        await insert(tx, made, PUBLISH_S);
        await sql`select pg_notify(${CHANNEL}, '')`.execute(tx);
      });
      await look();
      return made.kid;
    },
    close: async () => clearInterval(timer),
  };
}

async function makeFirst(db: Database, vault: Vault): Promise<void> {
  const isThere = async (handle: Db) =>
    (await sql`select from oauth_keys where retired_at is null`.execute(handle)).rows.length > 0;
  if (await isThere(db.run)) return;
  const first = await makeKey(vault);
  await db.write(async (tx) => {
    await sql`select pg_advisory_xact_lock(hashtext('oauth_keys'))`.execute(tx);
    if (!(await isThere(tx))) await insert(tx, first, 0);
  });
}

interface Made {
  kid: string;
  publicJwk: JWK;
  sealed: Buffer;
}

async function makeKey(vault: Vault): Promise<Made> {
  const { publicKey, privateKey } = await generate("rsa", { modulusLength: BITS });
  const publicJwk = publicKey.export({ format: "jwk" }) as JWK;
  const kid = await calculateJwkThumbprint(publicJwk);
  const privateJwk = Buffer.from(JSON.stringify(privateKey.export({ format: "jwk" })));
  return { kid, publicJwk, sealed: await vault.seal(identityOf(kid), privateJwk) };
}

const insert = (tx: Tx, { kid, publicJwk, sealed }: Made, inSeconds: number) =>
  sql`
    insert into oauth_keys (kid, public_jwk, private_sealed, signs_from)
    values (${kid}, ${JSON.stringify(publicJwk)}, ${sealed}, now() + make_interval(secs => ${inSeconds}))`.execute(
    tx,
  );

async function load(db: Db, vault: Vault, opened: Map<string, JWK>): Promise<KeySet> {
  const { rows } = await sql<Row>`
    select kid, public_jwk, private_sealed, signs_from <= now() as signs from oauth_keys
    where retired_at is null or retired_at > now() order by signs_from desc, kid`.execute(db);
  const signing = rows.find((row) => row.signs);
  if (signing === undefined) throw new Error("no key signs tokens now");
  const ordered = [signing, ...rows.filter((row) => row !== signing)];
  for (const { kid, private_sealed } of ordered)
    if (!opened.has(kid))
      opened.set(kid, JSON.parse((await vault.open(identityOf(kid), private_sealed)).toString()) as JWK);
  const marked = (kid: string, jwk: JWK): JWK => ({ ...jwk, kid, alg: "RS256", use: "sig" });
  return {
    signing: signing.kid,
    published: new Map(ordered.map(({ kid, public_jwk }) => [kid, marked(kid, public_jwk)])),
    secret: ordered.map(({ kid }) => marked(kid, opened.get(kid)!)),
  };
}

/** A secret that all replicas share, made by whoever asks first. */
export async function sharedSecret(db: Database, vault: Vault, name: string, value: Buffer): Promise<Buffer> {
  const identity = `oauth_secrets/${name}`;
  await sql`insert into oauth_secrets (name, sealed) values (${name}, ${await vault.seal(identity, value)})
    on conflict do nothing`.execute(db.run);
  const { rows } = await sql<{
    sealed: Buffer;
  }>`select sealed from oauth_secrets where name = ${name}`.execute(db.run);
  return vault.open(identity, rows[0]!.sealed);
}
