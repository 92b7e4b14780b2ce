// SPDX-License-Identifier: Apache-2.0
/**
 * Keys of people and servers in tests. ssh2 makes an Ed25519 key short when its first byte is zero, one of 256, and neither itself nor
 * anybody else can read it then.
 */
import ssh2 from "ssh2";

export function ed25519Pair(comment = ""): { public: string; private: string } {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync("ed25519", { comment });
    if (!(ssh2.utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}
