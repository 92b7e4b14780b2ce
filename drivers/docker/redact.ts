// SPDX-License-Identifier: Apache-2.0
/**
 * Words that go into a log or an answer, without the payload's secrets: what a program prints when it
 * fails may well be the password that it failed with.
 */
import type { Payload } from "#contract/link/payload.ts";

/** Shorter values (`1`, `true`) are no secrets, and a text without them could not be read. */
const CHARACTERS_MIN = 6;
const FILE_BYTES_MAX = 8 * 1024;

export function redactor(payload: Payload): (text: string) => string {
  const files = Object.values(payload.files)
    .filter((each) => each.length < FILE_BYTES_MAX)
    .flatMap((each) => Buffer.from(each, "base64").toString().split("\n"));
  const secrets = [
    ...Object.values(payload.env),
    ...payload.registries.map(({ password }) => password),
    ...files,
  ]
    .flatMap((each) => each.split("\n"))
    .map((each) => each.trim())
    .filter((each) => each.length >= CHARACTERS_MIN)
    .sort((a, b) => b.length - a.length);
  return (text) => secrets.reduce((clean, secret) => clean.replaceAll(secret, "***"), text);
}
