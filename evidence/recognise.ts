// SPDX-License-Identifier: Apache-2.0
/**
 * What a file of evidence is, by its content: a bundle, or a report or quote by itself with the certificates,
 * lists and collateral beside it. Whoever made the file is the attacker, and it is read before anything
 * was verified: so it is one kind or none, and a bundle's members are those of its kind and no others.
 */
import { fromHex, utf8Of } from "./bytes.ts";
import { findLeaf } from "./snp/find-leaf.ts";
import { REPORT_BYTES } from "./snp/report.ts";
import type { SnpEvidence } from "./snp/verify.ts";
import { QUOTE_BYTES_MAX } from "./tdx/quote.ts";
import type { TdxEvidence } from "./tdx/verify.ts";
import type { TpmEvidence } from "./tpm/verify.ts";
import { parseCrl } from "./x509/crl.ts";
import { derOf, FILE_BYTES_MAX, readableCertificatesOf } from "./x509/files.ts";

export type Evidence =
  | { platform: "sev-snp"; evidence: SnpEvidence }
  | { platform: "tdx"; evidence: TdxEvidence }
  | { platform: "tpm"; evidence: TpmEvidence };
export type Platform = Evidence["platform"];

/** The file is no evidence that is known here. The message names the rule, never the bytes. */
export class EvidenceFault extends Error {}

const LIST_MAX = 256;
const REPORT_VERSIONS = [2, 3, 4, 5];
const QUOTE_VERSIONS = [4, 5];
const TEE_TDX = 0x81;

/**
 * @param beside Certificates, lists and collateral that are not in the file itself.
 * Throws `EvidenceFault`.
 */
export function recogniseEvidence(file: Uint8Array, beside: readonly Uint8Array[] = []): Evidence {
  const text = utf8Of(file)?.trim() ?? "";
  if (text.startsWith("{")) return fromJson(text, beside);
  return fromRaw((text.length > 0 ? fromHex(text) : null) ?? file, beside);
}

/** The report or quote alone, whatever is or is not beside it; null when there is none. */
export function recogniseReport(file: Uint8Array): { platform: "sev-snp" | "tdx"; bytes: Uint8Array } | null {
  const text = utf8Of(file)?.trim() ?? "";
  let bytes = (text.length > 0 ? fromHex(text) : null) ?? file;
  if (text.startsWith("{"))
    try {
      const members = bundleIn(JSON.parse(text) as Record<string, unknown>);
      if (members.has("raw_report")) bytes = fromHex(members.text("raw_report")) ?? new Uint8Array();
      else bytes = members.bytes(members.text("platform") === "tdx" ? "quote" : "report");
    } catch {
      return null;
    }
  const platform = platformOf(bytes);
  return platform === null ? null : { platform, bytes };
}

function fromRaw(bytes: Uint8Array, beside: readonly Uint8Array[]): Evidence {
  const platform = platformOf(bytes);
  if (platform === "tdx") return { platform, evidence: { quote: bytes, collateral: beside } };
  if (platform === "sev-snp") return { platform, evidence: snpWith(bytes, beside) };
  throw new EvidenceFault("it is no report of SEV-SNP, no quote of TDX and no bundle of evidence");
}

function platformOf(bytes: Uint8Array): "sev-snp" | "tdx" | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes.length >= 8 ? view.getUint16(0, true) : 0;
  if (
    QUOTE_VERSIONS.includes(version) &&
    bytes.length <= QUOTE_BYTES_MAX &&
    view.getUint32(4, true) === TEE_TDX
  )
    return "tdx";
  return bytes.length === REPORT_BYTES && REPORT_VERSIONS.includes(view.getUint32(0, true))
    ? "sev-snp"
    : null;
}

function snpWith(report: Uint8Array, beside: readonly Uint8Array[]): SnpEvidence {
  const leaf = findLeaf(report, beside.slice(0, LIST_MAX).flatMap(readableCertificatesOf));
  if (leaf === null)
    throw new EvidenceFault(
      "beside a report there must be the one certificate of its key, and there is none",
    );
  return { report, leaf: leaf.der, chain: beside, crls: listsAmong(beside) };
}

/** Revocation lists among other files. */
function listsAmong(files: readonly Uint8Array[]): Uint8Array[] {
  return files.slice(0, LIST_MAX).filter((file) => {
    try {
      return derOf(file, "X509 CRL").map(parseCrl).length > 0;
    } catch {
      return false;
    }
  });
}

function fromJson(text: string, beside: readonly Uint8Array[]): Evidence {
  let whole: unknown;
  try {
    whole = JSON.parse(text);
  } catch {
    throw new EvidenceFault("it is no JSON");
  }
  const members = bundleIn(whole as Record<string, unknown>);
  if (members.has("raw_report"))
    return fromRaw(fromHex(members.text("raw_report")) ?? new Uint8Array(), beside);
  if (members.take("v") !== 1) throw new EvidenceFault("its member v must be 1");
  const platform = members.text("platform");
  const evidence = readBundle(platform, members, beside);
  members.refuseOthers();
  return evidence;
}

/**
 * What a confidential workload answers about itself: the report's bytes, beside fields that were read from them; on other
 * platforms than SEV-SNP no such bytes, and a bundle, which is taken out.
 */
function bundleIn(whole: Record<string, unknown>): Bundle {
  const members = new Bundle(whole);
  if (!members.has("raw_report") || members.take("raw_report") !== null) return members;
  const bundle = members.take("evidence");
  const isObject = typeof bundle === "object" && bundle !== null;
  const within = isObject ? new Bundle(bundle as Record<string, unknown>) : members;
  return within.has("raw_report") ? members : within;
}

function readBundle(platform: string, members: Bundle, beside: readonly Uint8Array[]): Evidence {
  if (platform === "sev-snp") {
    const report = members.bytes("report");
    const chain = [...members.list("chain"), ...beside];
    const crls = members.list("crls");
    // A guest has no certificates but those that its host gave it.
    if (!members.has("leaf")) return { platform, evidence: snpWith(report, [...chain, ...crls]) };
    const leaf = members.bytes("leaf");
    return { platform, evidence: { report, leaf, chain, crls: [...crls, ...listsAmong(beside)] } };
  }
  if (platform === "tdx")
    return {
      platform,
      evidence: { quote: members.bytes("quote"), collateral: [...members.list("collateral"), ...beside] },
    };
  if (platform !== "tpm") throw new EvidenceFault("its platform is none of sev-snp, tdx and tpm");
  return {
    platform,
    evidence: {
      quote: members.bytes("quote"),
      signature: members.bytes("signature"),
      key: members.bytes("key"),
      endorsement: [...members.list("endorsement"), ...beside],
      ...(members.has("pcrs") && { pcrs: members.registers("pcrs") }),
      ...(members.has("eventLog") && { eventLog: members.bytes("eventLog") }),
    },
  };
}

/** Members of a bundle: bytes in base64, registers in hex. */
class Bundle {
  readonly #from: Record<string, unknown>;
  readonly #known = new Set<string>();

  constructor(from: Record<string, unknown>) {
    this.#from = from;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#from, name);
  }

  take(name: string): unknown {
    this.#known.add(name);
    return this.has(name) ? this.#from[name] : undefined;
  }

  text(name: string): string {
    const value = this.take(name);
    if (typeof value !== "string") throw new EvidenceFault(`its member ${name} is missing or no text`);
    return value;
  }

  bytes(name: string): Uint8Array {
    return decoded(this.text(name), name);
  }

  list(name: string): Uint8Array[] {
    const value = this.take(name) ?? [];
    if (!Array.isArray(value) || value.length > LIST_MAX || !value.every((one) => typeof one === "string"))
      throw new EvidenceFault(`its member ${name} is no list of texts`);
    return value.map((one: string) => decoded(one, name));
  }

  registers(name: string): Map<number, Uint8Array> {
    const value = this.take(name);
    const registers = new Map<number, Uint8Array>();
    const entries = typeof value === "object" && value !== null ? Object.entries(value) : [];
    for (const [pcr, hex] of entries) {
      const bytes = typeof hex === "string" ? fromHex(hex) : null;
      if (!/^(\d|1\d|2[0-3])$/.test(pcr) || bytes?.length !== 32)
        throw new EvidenceFault(`its member ${name} has what is no register`);
      registers.set(Number(pcr), bytes);
    }
    return registers;
  }

  refuseOthers(): void {
    if (Object.keys(this.#from).some((name) => !this.#known.has(name)))
      throw new EvidenceFault("it has a member that its kind has not");
  }
}

function decoded(text: string, name: string): Uint8Array {
  if (text.length > FILE_BYTES_MAX * 2) throw new EvidenceFault(`its member ${name} is too large`);
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0)
    throw new EvidenceFault(`its member ${name} is no base64`);
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
