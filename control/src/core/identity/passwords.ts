// SPDX-License-Identifier: Apache-2.0
/**
 * Passwords, kept as argon2id in the PHC string form. Each hash takes 19 MiB and some 50 ms by design, so
 * few are made at a time and few may wait: whoever floods the login page makes others come again, and
 * takes neither our memory nor the threads that everything else needs.
 */
import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { Fault } from "#contract/errors.ts";

const hashOf = promisify(argon2);
/** OWASP's least for argon2id: 19 MiB, two passes, one lane. */
const COST = { memory: 19_456, passes: 2, parallelism: 1 };
const TAG_LENGTH = 32;
const AT_ONCE = 2;
const WAITING_MAX = 30;
const PASSWORD_LENGTH_MIN = 10;
const PASSWORD_LENGTH_MAX = 256;
const FORM = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([\w+/]{22})\$([\w+/]{43})$/;
/** Of no password that anybody has; checked when there is no user, so that both take as long. */
const NOBODY = `$argon2id$v=19$m=${COST.memory},t=${COST.passes},p=1$${"A".repeat(22)}$${"A".repeat(43)}`;

export interface Passwords {
  hash(password: string): Promise<string>;
  /** `kept` null: there is nobody, and it takes as long to say so. */
  matches(password: string, kept: string | null): Promise<boolean>;
}

export function openPasswords(): Passwords {
  let running = 0;
  const waiting: (() => void)[] = [];
  const turn = async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= AT_ONCE) {
      if (waiting.length >= WAITING_MAX) throw new Fault("platform.overloaded", {}, { retryAfterSeconds: 2 });
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else running++;
    try {
      return await work();
    } finally {
      // The place goes on to whoever waits; it is free only when nobody does.
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };
  const derive = (password: string, nonce: Buffer, cost: typeof COST) =>
    turn(() =>
      hashOf("argon2id", { message: password.normalize("NFC"), nonce, tagLength: TAG_LENGTH, ...cost }),
    );
  return {
    async hash(password) {
      const nonce = randomBytes(16);
      const tag = await derive(password, nonce, COST);
      const { memory, passes, parallelism } = COST;
      return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${bare(nonce)}$${bare(tag)}`;
    },
    async matches(password, kept) {
      const match = FORM.exec(kept ?? NOBODY);
      if (match === null) throw new Error("not a password hash");
      const [, memory, passes, parallelism, nonce, tag] = match;
      const cost = { memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism) };
      // What is longer than any password costs nothing to refuse, and tells nothing.
      const given = password.length > PASSWORD_LENGTH_MAX ? "" : password;
      const made = await derive(given, Buffer.from(nonce!, "base64"), cost);
      return timingSafeEqual(made, Buffer.from(tag!, "base64")) && kept !== null && given !== "";
    },
  };
}

const bare = (bytes: Buffer): string => bytes.toString("base64").replaceAll("=", "");

/** Throws when it is one of those that are guessed first. */
export function requirePassword(password: string, email: string): void {
  const refuse = (detail: string) => {
    throw new Fault("request.invalid", { detail, field: "Password" });
  };
  if (password.length < PASSWORD_LENGTH_MIN || password.length > PASSWORD_LENGTH_MAX)
    refuse(`Password must have ${PASSWORD_LENGTH_MIN} to ${PASSWORD_LENGTH_MAX} characters`);
  if (new Set(password).size < 5) refuse("Password has too few different characters");
  const folded = password.toLowerCase();
  const [local = ""] = email.toLowerCase().split("@");
  if (folded === email.toLowerCase() || (local.length > 3 && folded.replaceAll(/[\d\W_]/g, "") === local))
    refuse("Password is the e-mail address");
}
