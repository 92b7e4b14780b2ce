// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { expect, test } from "vitest";
import { toBase64Text } from "../proofs/encoding.ts";
import { checkpointText, isOfLog, openCheckpoint, readCheckpointText, seenAt } from "./checkpoint.ts";
import {
  COSIGNATURE,
  ED25519,
  type KeyType,
  type NoteKey,
  readNote,
  readNoteKey,
  signedBy,
  signNote,
  writeNote,
  writeNoteKey,
} from "./note.ts";

/** The example in the documentation of Go's `note` package: somebody else's key, text and signature. */
const GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_TEXT =
  "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_SIGNATURE =
  "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
/** The key of Go's public checksum database, which has a `+` in its base64. */
const SUMDB_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

function made(name: string, type: KeyType): NoteKey & { sign: (message: Uint8Array) => Uint8Array } {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from((publicKey as KeyObject).export({ format: "jwk" }).x!, "base64url");
  return { name, type, raw, sign: (message) => sign(null, message, privateKey) };
}
const log = made("example.org/log", ED25519);
const witness = made("witness.example", COSIGNATURE);
const checkpoint = { origin: log.name, size: 7, root: Buffer.alloc(32, 5) };
const text = checkpointText(checkpoint);
const signed = writeNote({
  text,
  signatures: [signNote(text, log, log.sign), signNote(text, witness, witness.sign, 1_700_000_000)],
});

test("a note that other software signed is read, and its signature holds", () => {
  const note = readNote(`${GO_TEXT}\n${GO_SIGNATURE}`)!;
  expect(note.text).toBe(GO_TEXT);
  expect(signedBy(note, readNoteKey(GO_KEY)!)).toEqual({ atSeconds: null });
  expect(writeNote(note)).toBe(`${GO_TEXT}\n${GO_SIGNATURE}`);
  const changed = readNote(`${GO_TEXT.replace("answer", "Answer")}\n${GO_SIGNATURE}`)!;
  expect(signedBy(changed, readNoteKey(GO_KEY)!)).toBeNull();
});

test("keys are read as others write them, and none whose id is not its own", () => {
  for (const key of [GO_KEY, SUMDB_KEY]) expect(writeNoteKey(readNoteKey(key)!)).toBe(key);
  for (const bad of [
    GO_KEY.replace("c74f20a3", "c74f20a4"),
    GO_KEY.replace("PeterNeumann", "Peter"),
    GO_KEY.slice(0, -4),
    `${GO_KEY} `,
    ` ${GO_KEY}`,
    "",
    "a+b",
    "a+b+c",
  ])
    expect(readNoteKey(bad), bad).toBeNull();
  const weak = { ...log, raw: new Uint8Array(32) };
  expect(readNoteKey(writeNoteKey(weak))).toBeNull();
});

test("a signature counts for the key that made it, under its name, and as what it was made", () => {
  const opened = openCheckpoint(signed)!;
  expect(opened).toMatchObject({ origin: log.name, size: 7 });
  expect(isOfLog(opened, [made(log.name, ED25519), log])).toBe(true);
  expect(isOfLog(opened, [made(log.name, ED25519)])).toBe(false);
  expect(isOfLog(opened, [])).toBe(false);
  // A witness vouches for having seen it, never for it being the log's.
  expect(isOfLog(opened, [witness])).toBe(false);
  expect(seenAt(opened, [witness])).toBe(1_700_000_000);
  expect(seenAt(opened, [made(witness.name, COSIGNATURE)])).toBeNull();
  // The same 32 bytes as the other type of key are another key.
  expect(signedBy(opened.note, { ...log, type: COSIGNATURE })).toBeNull();
  expect(signedBy(opened.note, { ...witness, type: ED25519 })).toBeNull();
  expect(() => signNote(text, log, log.sign, 5)).toThrow(TypeError);
  expect(() => signNote(text, witness, witness.sign)).toThrow(TypeError);
});

test("a cosignature with another time does not hold", () => {
  const note = readNote(signed)!;
  const bytes = Buffer.from(note.signatures[1]!.bytes);
  bytes[11]! ^= 1;
  expect(signedBy({ ...note, signatures: [{ name: witness.name, bytes }] }, witness)).toBeNull();
});

test("no byte of a signed checkpoint can be changed without losing a signature or the note", () => {
  const bytes = Buffer.from(signed);
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at]! ^= 1;
    const opened = openCheckpoint(changed);
    if (opened === null) continue;
    expect(isOfLog(opened, [log]) && seenAt(opened, [witness]) !== null, `byte ${at}`).toBe(false);
  }
});

test.each([
  ["nothing", ""],
  ["no signatures", text],
  ["an empty signature block", `${text}\n`],
  ["a signature without its line feed", signed.slice(0, -1)],
  ["a control character", signed.replace("7\n", "7\r\n")],
  ["half of a surrogate pair", `\ud800${signed}`],
  ["a hyphen for the dash", signed.replaceAll("\u2014", "-")],
  ["two spaces", signed.replace("\u2014 ", "\u2014  ")],
  ["base64 that is none", signed.replace(/=\n$/, "*\n")],
  ["more signatures than anybody needs", signed + signed.slice(signed.lastIndexOf("\u2014")).repeat(64)],
  ["more bytes than anybody needs", `${"x".repeat(70_000)}\n${signed}`],
])("a note with %s is none", (_name, bad) => {
  expect(readNote(bad)).toBeNull();
  if (bad.isWellFormed()) expect(readNote(Buffer.from(bad))).toBeNull();
});

test("bytes that are no UTF-8 are no note", () => {
  expect(readNote(Buffer.concat([Buffer.of(0xff), Buffer.from(signed)]))).toBeNull();
});

test.each([
  ["no origin", "\n7\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\n"],
  ["a leading zero", text.replace("\n7\n", "\n07\n")],
  ["a sign", text.replace("\n7\n", "\n+7\n")],
  ["no number", text.replace("\n7\n", "\n7.5\n")],
  ["a size beyond what is counted exactly", text.replace("\n7\n", "\n9007199254740993\n")],
  ["a short root", text.replace("BQUF", "")],
  ["no root", "o\n7\n"],
  ["an empty extension line", `${text}\n`],
  ["no last line feed", text.slice(0, -1)],
])("a checkpoint with %s is none", (_name, bad) => {
  expect(readCheckpointText(bad)).toBeNull();
});

test("a checkpoint may have extension lines, which its signature covers", () => {
  expect(readCheckpointText(`${text}something else\n`)).toEqual({ ...checkpoint, root: expect.anything() });
  expect(toBase64Text(readCheckpointText(text)!.root)).toBe(toBase64Text(checkpoint.root));
});
