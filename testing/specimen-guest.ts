// SPDX-License-Identifier: Apache-2.0
/**
 * A guest as whoever asks it sees one: keys of its own, quotes of a TPM with a certificate, credentials opened, boxes opened. Its
 * registers are those of whatever it is told that it was booted from.
 */
import {
  constants,
  createDecipheriv,
  createHash,
  createHmac,
  generateKeyPairSync,
  type KeyObject,
  privateDecrypt,
} from "node:crypto";
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from "hpke";
import type { AttestedMachine } from "#drivers/kept-driver.ts";
import { concatBytes, hexOf } from "#evidence/bytes.ts";
import {
  type LoginBinding,
  loginReportDataOf,
  qualifyingDataOf,
  reportDataOf,
} from "#evidence/launch/report-data.ts";
import { expectedRtmrs } from "#evidence/tdx/expected.ts";
import { type IntelSpecimen, makeIntel } from "#evidence/tdx/specimen.ts";
import { expectedPcrs } from "#evidence/tpm/expected.ts";
import { nameOf, parseSigningKey } from "#evidence/tpm/public.ts";
import { makeTpm } from "#evidence/tpm/specimen.ts";
import { u32 } from "#evidence/tpm/wire.ts";
import {
  ECDSA_SHA256,
  extension,
  issuing,
  oid,
  sequence,
  signCertificate,
  spkiOf,
  usage,
} from "#evidence/x509/specimen.ts";
import type { GuestSecrets, InstanceSecrets } from "#guest/protocol.ts";
import { boxInfo } from "#guest/seal.ts";
import { commandLine, type ImageMetadata } from "#images/metadata.ts";

const suite = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const bytesOf = (text: string) => Buffer.from(text, "base64");

/** Of a host: its root, and the certificates of its machines' TPMs. */
export class SpecimenAuthority {
  readonly #key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  /** DER. */
  readonly root = this.certify(this.#key, true);

  certify(of: KeyObject, isRoot = false): Uint8Array {
    const forEndorsement = extension("2.5.29.37", sequence(oid("2.23.133.8.1")));
    return signCertificate(
      {
        ...{ serial: 1, issuer: "a host's authority", subject: isRoot ? "a host's authority" : "a TPM" },
        ...{ notBefore: "20200101000000Z", notAfter: "20990101000000Z", spki: spkiOf(of) },
        ...{ algorithm: ECDSA_SHA256, outerAlgorithm: ECDSA_SHA256 },
        extensions: isRoot ? [issuing(true), usage(0x04)] : [issuing(false), forEndorsement],
      },
      this.#key,
    );
  }
}

export interface SpecimenGuest {
  machine: AttestedMachine;
  tlsKey: KeyObject;
  open(box: Uint8Array): Promise<GuestSecrets>;
  /** From now on its evidence for `login` binds this. */
  letIn(binding: Omit<LoginBinding, "nonce">): void;
  /** The same of a machine that one logs in to. */
  openInstance(box: Uint8Array): Promise<InstanceSecrets>;
  /** Base64. */
  openEnv(box: string): Promise<Record<string, string>>;
}

export interface SpecimenBoot {
  image: ImageMetadata;
  manifest: Uint8Array;
  authority: SpecimenAuthority;
  /** Words after the command line. */
  appended?: string;
  /** Its key opens no credential. */
  withoutTpm?: boolean;
  /** It is a guest on TDX, under a root that is not Intel's: its quote's registers by their offset in the body, in hex. */
  tdx?: Readonly<Record<number, string>>;
}

export async function bootSpecimenGuest(boot: SpecimenBoot): Promise<SpecimenGuest> {
  const { image, manifest, authority, appended = "", withoutTpm = false } = boot;
  const launch = createHash("sha256").update(manifest).digest();
  const pcrs = await expectedPcrs(image.boot, commandLine(image, launch.toString("hex")) + appended);
  const tdx = boot.tdx === undefined ? null : await tdxOf(image, launch, appended, boot.tdx);
  const sealing = await suite.GenerateKeyPair();
  const sealingKey = await suite.SerializePublicKey(sealing.publicKey);
  const tlsKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const tls = spkiOf(tlsKey);
  const tpm = makeTpm();
  const endorsement = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const certificate = authority.certify(endorsement);
  let login: Omit<LoginBinding, "nonce"> | null = null;
  const machine: AttestedMachine = {
    keys: { sealing: base64(sealingKey), tls: base64(tls) },
    evidence: async (purpose, nonceHex) => {
      const nonce = Buffer.from(nonceHex, "hex");
      const reportData =
        purpose === "login"
          ? await loginReportDataOf({ ...login!, nonce })
          : await reportDataOf(
              tls,
              purpose === "seal" ? { form: "seal", nonce, sealingKey } : { form: "report", nonce },
            );
      const { quote, signature } = tpm.quote({
        extraData: await qualifyingDataOf(reportData),
        values: Object.values(pcrs).map((hex) => Buffer.from(hex, "hex")),
      });
      if (tdx !== null) {
        const { quote, collateral } = tdx(reportData);
        const bundle = { v: 1, platform: "tdx", quote: base64(quote), collateral: collateral.map(base64) };
        return { platform: "tdx", bundle, reportData: hexOf(reportData) };
      }
      const bundle = {
        ...{
          v: 1,
          platform: "tpm",
          quote: base64(quote),
          signature: base64(signature),
          key: base64(tpm.key),
        },
        ...{ pcrs, endorsement: [base64(certificate), base64(authority.root)] },
      };
      return { platform: "tpm", bundle, reportData: hexOf(reportData) };
    },
    activate: async (credential, secret) => {
      const name = await nameOf(parseSigningKey(tpm.key));
      const held = withoutTpm ? name.toReversed() : name;
      return base64(openCredential(endorsement, held, bytesOf(credential), bytesOf(secret)));
    },
  };
  const open = async (kind: "secrets" | "env", box: Uint8Array): Promise<unknown> => {
    const info = boxInfo(kind, launch);
    const text = await suite.Open(sealing.privateKey, box.subarray(0, 32), box.subarray(32), { info });
    return JSON.parse(Buffer.from(text).toString());
  };
  return {
    ...{ machine, tlsKey },
    open: (box) => open("secrets", box) as Promise<GuestSecrets>,
    letIn: (binding) => {
      login = binding;
    },
    openInstance: (box) => open("secrets", box) as Promise<InstanceSecrets>,
    openEnv: (box) => open("env", bytesOf(box)) as Promise<Record<string, string>>,
  };
}

/** As a TPM does (TPM 2.0 part 1, "Credential Protection"): the seed, then the mark over the name, then the secret. Of another name it answers nothing of use. */
function openCredential(key: KeyObject, name: Uint8Array, blob: Buffer, encrypted: Buffer): Uint8Array {
  const label = Buffer.from("IDENTITY\0");
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const seed = privateDecrypt({ key, padding, oaepHash: "sha256", oaepLabel: label }, encrypted.subarray(2));
  const hmac = (by: Uint8Array, of: Uint8Array) => createHmac("sha256", by).update(of).digest();
  const derive = (words: string, context: Uint8Array, bits: number) =>
    hmac(seed, concatBytes(u32(1), Buffer.from(`${words}\0`), context, u32(bits))).subarray(0, bits / 8);
  const inner = blob.subarray(2);
  const markBytes = inner.readUInt16BE(0);
  const mark = inner.subarray(2, 2 + markBytes);
  const identity = inner.subarray(2 + markBytes);
  if (!hmac(derive("INTEGRITY", new Uint8Array(), 256), concatBytes(identity, name)).equals(mark))
    return new Uint8Array(32);
  const cipher = createDecipheriv("aes-128-cfb", derive("STORAGE", name, 128), Buffer.alloc(16));
  const plain = Buffer.concat([cipher.update(identity), cipher.final()]);
  return plain.subarray(2, 2 + plain.readUInt16BE(0));
}

const NEXT_UPDATE = "2099-01-01T00:00:00Z";
/** In the body of a quote: Intel, "TDX DCAP Quoting Library API", A.3.2. */
const AT = { mrConfigId: 184, rtmrs: { 1: 376, 2: 424, 3: 472 }, reportData: 520 } as const;

/** Quotes of an honest boot on TDX, but for what `change` says; whoever trusts the root finds them current. */
async function tdxOf(
  image: ImageMetadata,
  launch: Uint8Array,
  appended: string,
  change: Readonly<Record<number, string>>,
): Promise<(reportData: Uint8Array) => IntelSpecimen> {
  const rtmrs = (await expectedRtmrs(image.boot, commandLine(image, hexOf(launch)) + appended))!;
  const registers = { [AT.rtmrs[1]]: rtmrs[1], [AT.rtmrs[2]]: rtmrs[2], [AT.rtmrs[3]]: rtmrs[3] };
  const body = { [AT.mrConfigId]: hexOf(launch).padEnd(96, "0"), ...registers, ...change };
  const intel = makeIntel();
  return (reportData) =>
    intel({
      ...{ tcbInfo: { nextUpdate: NEXT_UPDATE }, qeIdentity: { nextUpdate: NEXT_UPDATE } },
      crls: { root: { nextUpdate: "20490101000000Z" }, pck: { nextUpdate: "20490101000000Z" } },
      quote: {
        body: Object.fromEntries(
          Object.entries({ ...body, [AT.reportData]: hexOf(reportData) }).map(([at, hex]) => [
            at,
            [...Buffer.from(hex, "hex")],
          ]),
        ),
      },
    });
}
