// SPDX-License-Identifier: Apache-2.0
/**
 * Our own certificate authority, for domains that no public authority signs for.
 *
 *  A. It is made once. `ca.key` is written before `ca.pem`, so that a start that was cut between the two
 *     goes on with the same key; afterwards neither is ever replaced: people installed this certificate,
 *     and an anchor that changes by itself is one they learn to click away.
 *  B. The key file is for its owner alone, and a key that others could read is refused and not mended:
 *     whoever has it can pretend to be any site to everybody who installed the certificate.
 *  C. It signs no other authority (path length 0), only servers, and each for exact names.
 *
 * There are no name constraints: customers bring domains of their own, so the names are not known when
 * the certificate is made, and only what a constraint names is kept from a thief.
 */
import "./reflect-metadata.ts";
import { createHash, createPublicKey, KeyObject, webcrypto, X509Certificate } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { replaceFile } from "../durable-file.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const AUTHORITY_DAYS = 3650;
export const LEAF_DAYS = 30;
/** A client whose clock is behind by less than this takes a certificate made just now. */
const CLOCKS_APART_MS = 60 * 60 * 1000;

const CURVE = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNATURE = { name: "ECDSA", hash: "SHA-256" } as const;

export interface LeafKey {
  publicKey: webcrypto.CryptoKey;
  keyPem: string;
  /** SHA-256 of the public key's SubjectPublicKeyInfo, hex. */
  spkiSha256: string;
}

export interface SignedLeaf {
  certificatePem: string;
  notAfter: Date;
}

export interface Authority {
  readonly caPem: string;
  sign(domain: string, key: LeafKey, at: Date): Promise<SignedLeaf>;
  /** For a key that somebody else holds. */
  signKey(domains: readonly string[], key: webcrypto.CryptoKey, at: Date): Promise<SignedLeaf>;
}

/** Opens the authority in `folder`, or makes it there; `made` says which. */
export async function openAuthority(
  folder: string,
  at: Date,
): Promise<{ authority: Authority; made: boolean }> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  const keys = await openKeys(join(folder, "ca.key"));
  const path = join(folder, "ca.pem");
  const found = tryRead(path);
  const caPem = found ?? (await selfSign(keys, at));
  if (found === null) await replaceFile(path, Buffer.from(caPem), "name");
  requireFit(new X509Certificate(caPem), keys.publicKey, at, path);
  return { authority: new LocalAuthority(caPem, keys.privateKey), made: found === null };
}

export async function newLeafKey(): Promise<LeafKey> {
  const pair = await webcrypto.subtle.generateKey(CURVE, true, ["sign", "verify"]);
  return leafKeyOf(await privatePem(pair.privateKey));
}

/** A leaf's key as it was kept. */
export async function leafKeyOf(keyPem: string): Promise<LeafKey> {
  const spki = createPublicKey(keyPem).export({ type: "spki", format: "der" });
  return {
    publicKey: await webcrypto.subtle.importKey("spki", Buffer.from(spki), CURVE, true, ["verify"]),
    keyPem,
    spkiSha256: createHash("sha256").update(spki).digest("hex"),
  };
}

class LocalAuthority implements Authority {
  readonly caPem: string;
  readonly #certificate: x509.X509Certificate;
  readonly #signingKey: webcrypto.CryptoKey;

  constructor(caPem: string, signingKey: webcrypto.CryptoKey) {
    this.caPem = caPem;
    this.#certificate = new x509.X509Certificate(caPem);
    this.#signingKey = signingKey;
  }

  sign(domain: string, { publicKey }: LeafKey, at: Date): Promise<SignedLeaf> {
    return this.signKey([domain], publicKey, at);
  }

  async signKey(domains: readonly string[], key: webcrypto.CryptoKey, at: Date): Promise<SignedLeaf> {
    // A leaf that outlives its authority is a promise nobody can check.
    const notAfter = new Date(
      Math.min(at.getTime() + LEAF_DAYS * DAY_MS, this.#certificate.notAfter.getTime()),
    );
    const leaf = await x509.X509CertificateGenerator.create(
      {
        // The name is in the alternative names, where clients look for it; a common name holds 64 characters.
        subject: [{ O: ["Casemate"] }],
        issuer: this.#certificate.subjectName,
        notBefore: new Date(at.getTime() - CLOCKS_APART_MS),
        notAfter,
        publicKey: key,
        signingKey: this.#signingKey,
        signingAlgorithm: SIGNATURE,
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
          new x509.SubjectAlternativeNameExtension(domains.map((value) => ({ type: "dns", value }))),
          await x509.SubjectKeyIdentifierExtension.create(key, false, webcrypto),
          await x509.AuthorityKeyIdentifierExtension.create(
            await this.#certificate.publicKey.export(webcrypto),
            false,
            webcrypto,
          ),
        ],
      },
      webcrypto,
    );
    return { certificatePem: leaf.toString("pem"), notAfter: leaf.notAfter };
  }
}

async function selfSign(keys: webcrypto.CryptoKeyPair, at: Date): Promise<string> {
  const spki = Buffer.from(await webcrypto.subtle.exportKey("spki", keys.publicKey));
  // Two installations have two names: clients that trust both must not try one's key for the other's.
  const mark = createHash("sha256").update(spki).digest("hex").slice(0, 8);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      name: [{ CN: [`Casemate local CA ${mark}`] }],
      notBefore: new Date(at.getTime() - CLOCKS_APART_MS),
      notAfter: new Date(at.getTime() + AUTHORITY_DAYS * DAY_MS),
      keys,
      signingAlgorithm: SIGNATURE,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return `${certificate.toString("pem")}\n`;
}

async function openKeys(path: string): Promise<webcrypto.CryptoKeyPair> {
  const found = tryRead(path);
  if (found === null) {
    const made = await webcrypto.subtle.generateKey(CURVE, true, ["sign", "verify"]);
    await replaceFile(path, Buffer.from(await privatePem(made.privateKey)), "name");
    return made;
  }
  if ((statSync(path).mode & 0o077) !== 0)
    throw new Error(
      `${path} can be read by others: remove it and ca.pem, and have a new authority installed`,
    );
  const [der] = x509.PemConverter.decode(found);
  const privateKey = await webcrypto.subtle.importKey("pkcs8", der!, CURVE, false, ["sign"]);
  return { privateKey, publicKey: (await leafKeyOf(found)).publicKey };
}

/** A certificate put beside another's key would sign leaves that nobody can verify. */
function requireFit(
  certificate: X509Certificate,
  publicKey: webcrypto.CryptoKey,
  at: Date,
  path: string,
): void {
  if (!certificate.publicKey.equals(KeyObject.from(publicKey)))
    throw new Error(`${path} does not belong to ca.key`);
  if (certificate.validToDate <= at)
    throw new Error(`${path} has expired: remove it and ca.key, and have the new authority installed`);
}

async function privatePem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey("pkcs8", key);
  return `${x509.PemConverter.encode(der, x509.PemConverter.PrivateKeyTag)}\n`;
}

function tryRead(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}
