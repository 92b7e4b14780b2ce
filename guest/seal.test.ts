// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from "node:crypto";
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from "hpke";
import { expect, it } from "vitest";
import { boxInfo, sealBox } from "./seal.ts";

const suite = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
const launchSha256 = randomBytes(32);

it("a box is opened by the key it was sealed to, for its kind and launch, and by nothing else", async () => {
  const { publicKey, privateKey } = await suite.GenerateKeyPair();
  const sealingKey = await suite.SerializePublicKey(publicKey);
  const box = await sealBox("secrets", { sealingKey, launchSha256 }, Buffer.from("K=v"));
  const open = (info: Uint8Array, key = privateKey, of = box) =>
    suite.Open(key, of.subarray(0, 32), of.subarray(32), { info });
  expect(Buffer.from(await open(boxInfo("secrets", launchSha256))).toString()).toBe("K=v");
  await expect(open(boxInfo("env", launchSha256))).rejects.toThrow();
  await expect(open(boxInfo("secrets", randomBytes(32)))).rejects.toThrow();
  const { privateKey: other } = await suite.GenerateKeyPair();
  await expect(open(boxInfo("secrets", launchSha256), other)).rejects.toThrow();
  for (const at of [0, 31, 32, box.length - 1]) {
    const changed = box.slice();
    changed[at]! ^= 1;
    await expect(open(boxInfo("secrets", launchSha256), privateKey, changed)).rejects.toThrow();
  }
});

it("what is no key and no launch is refused before anything is sealed", async () => {
  await expect(
    sealBox("env", { sealingKey: randomBytes(31), launchSha256 }, new Uint8Array()),
  ).rejects.toThrow(RangeError);
  expect(() => boxInfo("env", randomBytes(20))).toThrow(RangeError);
});
