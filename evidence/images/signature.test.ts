// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync, sign } from "node:crypto";
import { expect, test } from "vitest";
import { toBase64Text, utf8 } from "../proofs/encoding.ts";
import { type ImageSignature, imageMessage, imageSignatureFault } from "./signature.ts";

const HASH = "12".repeat(32);
function issuer(issuerId: string) {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const trusted = { issuerId, publicKey: toBase64Text(publicKey.export({ format: "der", type: "spki" })) };
  const signs = (message: Uint8Array): ImageSignature => ({
    ...{ v: 1, metadata_sha256: HASH, issuer_id: issuerId },
    sig: toBase64Text(sign(null, message, privateKey)),
  });
  return { trusted, signs };
}
const ours = issuer("iss_ours");
const signature = ours.signs(imageMessage(HASH));

test("an issuer's signature holds for the metadata it was made for, also after the issuer has a new key", () => {
  expect(imageSignatureFault(signature, HASH, [ours.trusted])).toBeNull();
  const again = { ...issuer("iss_ours").trusted };
  expect(imageSignatureFault(signature, HASH, [again, ours.trusted])).toBeNull();
});

test.each([
  ["of nobody that is trusted", signature, [issuer("iss_other").trusted], /not one of those/],
  ["of another key under a trusted name", signature, [issuer("iss_ours").trusted], /does not hold/],
  ["for another image", { ...signature, metadata_sha256: "34".repeat(32) }, [ours.trusted], /another image/],
  ["for a message that is no image's", ours.signs(utf8(HASH)), [ours.trusted], /does not hold/],
  ["that is none", null, [ours.trusted], /no signature/],
  ["of another version", { ...signature, v: 2 }, [ours.trusted], /no signature/],
  ["that is cut off", { ...signature, sig: signature.sig.slice(0, -4) }, [ours.trusted], /malformed/],
])("a signature %s is refused", (_, given, issuers, complaint) => {
  expect(imageSignatureFault(given, HASH, issuers)).toMatch(complaint);
});

test.each(["", "12", "AB".repeat(32), `${HASH}\n`])("%j is no hash to sign", (text) => {
  expect(() => imageMessage(text)).toThrow(/64 lower-case/);
});
