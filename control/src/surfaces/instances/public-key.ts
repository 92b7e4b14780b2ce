// SPDX-License-Identifier: Apache-2.0
/**
 * The one key that may log in. It becomes a line of `authorized_keys` inside, where options before a key run commands and
 * a second line is a second key: so what is not exactly type, key and comment is refused, and what is kept is written anew.
 */
import ssh2 from "ssh2";
import { Fault } from "#contract/errors.ts";

const TYPES = new Set(["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"]);
const COMMENT_BYTES_MAX = 256;
/** Type, key, and a comment of anything that is no control character. */
const FORM = /^([a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})(?: +([^\p{Cc}]*))?$/u;

/** Of an RSA key that an installation takes: shorter ones can be broken, longer ones keep a server busy. */
const RSA_BYTES = { min: 256, max: 2048 };

/** The key as one line, white space at its end taken away. Throws `instance.public-key`. */
export function requirePublicKey(text: string, sshRsa: "refuse" | "accept"): string {
  const refused = new Fault("instance.public-key");
  const [, type, encoded, comment = ""] = FORM.exec(text.trimEnd()) ?? [];
  if (type === undefined || encoded === undefined) throw refused;
  if (!TYPES.has(type) && !(type === "ssh-rsa" && sshRsa === "accept")) throw refused;
  if (Buffer.byteLength(comment) > COMMENT_BYTES_MAX) throw refused;
  const bytes = Buffer.from(encoded, "base64");
  // One key has one spelling, and nothing after it.
  if (bytes.toString("base64") !== encoded) throw refused;
  const key = ssh2.utils.parseKey(`${type} ${encoded}`);
  if (key instanceof Error || Array.isArray(key)) throw refused;
  if (type === "ssh-rsa" && (bytes.length < RSA_BYTES.min || bytes.length > RSA_BYTES.max)) throw refused;
  if (key.type !== type || !key.getPublicSSH().equals(bytes)) throw refused;
  return comment === "" ? `${type} ${encoded}` : `${type} ${encoded} ${comment}`;
}
