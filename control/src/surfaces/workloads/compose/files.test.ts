// SPDX-License-Identifier: Apache-2.0
import { assert, property, uint8Array } from "fast-check";
import { describe, expect, test } from "vitest";
import { checkFileName, decodeBase64, FILE_NAME_MAX } from "./files.ts";

describe("a file's name", () => {
  test.each(["a", "foo/bar.txt", "a/b/c", ".env", "a-b_c.D9", "..a", "a..", "...", "a/.b"])(
    "%s is taken",
    (name) => {
      expect(checkFileName(name)).toBeNull();
    },
  );

  test.each([
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/..",
    "a/../b",
    "./a",
    "a/./b",
    "a b",
    "a\\b",
    "a:b",
    "a\n",
    "a\0",
    "é",
    "a$b",
    "~",
    "*",
    "a".repeat(FILE_NAME_MAX + 1),
    "a".repeat(256),
  ])("%j is refused", (name) => {
    expect(checkFileName(name)).not.toBeNull();
  });
});

describe("base64", () => {
  test("the placeholder of the API's documentation passes", () => {
    expect(decodeBase64("BASE64_ENCODED_CONTENT")).toHaveLength(16);
  });

  test("either alphabet and optional padding give the same bytes", () => {
    assert(
      property(uint8Array({ maxLength: 100 }), (bytes) => {
        const sent = Buffer.from(bytes);
        const padded = sent.toString("base64");
        const url = sent.toString("base64url");
        const paddedUrl = padded.replaceAll("+", "-").replaceAll("/", "_");
        for (const text of [padded, url, paddedUrl, padded.replaceAll("=", "")]) {
          expect(decodeBase64(text)).toEqual(sent);
        }
      }),
    );
  });

  test.each([
    "A",
    "AAAAA",
    "A===",
    "AA=",
    "AAA==",
    "AAAA=",
    "=",
    "==",
    "AA==AA",
    "A A=",
    "AAAA\n",
    "AA%3D",
    "é",
    "AA.A",
    "\0AAA",
  ])("%j is refused", (text) => {
    expect(decodeBase64(text)).toBeNull();
  });
});
