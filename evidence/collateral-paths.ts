// SPDX-License-Identifier: Apache-2.0
/**
 * What a maker's service has to be asked for to judge a piece of evidence, as paths of that service: AMD's key distribution service
 * (57230, "VCEK Certificate and KDS Interface Specification") and Intel's provisioning certification service, version 4. Of bytes
 * that anybody may have made, so every part of a path is written from numbers.
 */
import { hexOf } from "./bytes.ts";
import { recogniseReport } from "./recognise.ts";
import { type Product, productOfCpuid } from "./snp/products.ts";
import { parseSnpReport } from "./snp/report.ts";
import { readTcb, type TcbPart } from "./snp/tcb.ts";
import { readPck } from "./tdx/pck.ts";
import { parseTdxQuote } from "./tdx/quote.ts";
import { certificatesOf } from "./x509/files.ts";

export interface CollateralPath {
  service: "kds" | "pcs";
  /** With its query. */
  path: string;
}

/** Empty for what has none, as evidence of a TPM. */
export function collateralPathsOf(file: Uint8Array): CollateralPath[] {
  const known = recogniseReport(file);
  if (known?.platform === "sev-snp") return pathsOfReport(known.bytes);
  return known?.platform === "tdx" ? pathsOfQuote(known.bytes) : [];
}

const QUERY: readonly [TcbPart, string][] = [
  ["fmc", "fmcSPL"],
  ["bootloader", "blSPL"],
  ["tee", "teeSPL"],
  ["snp", "snpSPL"],
  ["microcode", "ucodeSPL"],
];
/** On Turin an identity has 8 bytes, and the report 56 zeros behind it. */
const TURIN_ID_BYTES = 8;

function pathsOfReport(bytes: Uint8Array): CollateralPath[] {
  const { report } = parseSnpReport(bytes);
  if (report === null) return [];
  const { cpuid, chipId, reportedTcb, signingKey } = report;
  // Reports of version 2 do not say their line, and Turin has none of those.
  const product = cpuid === null ? null : productOfCpuid(cpuid.family, cpuid.model);
  const products: Product[] = cpuid === null ? ["Milan", "Genoa"] : product === null ? [] : [product];
  const kds = (path: string): CollateralPath => ({ service: "kds", path });
  return products.flatMap((line) => {
    const kind = signingKey === "VLEK" ? "vlek" : "vcek";
    const tcb = readTcb(reportedTcb, line);
    const of = `/${kind}/v1/${line}`;
    const shared = [kds(`${of}/cert_chain`), kds(`${of}/crl`)];
    if (kind === "vlek" || tcb === null) return shared;
    const id = hexOf(line === "Turin" ? chipId.subarray(0, TURIN_ID_BYTES) : chipId);
    const query = QUERY.flatMap(([part, name]) => (tcb[part] === undefined ? [] : [`${name}=${tcb[part]}`]));
    return [kds(`${of}/${id}?${query.join("&")}`), ...shared];
  });
}

function pathsOfQuote(bytes: Uint8Array): CollateralPath[] {
  const { quote } = parseTdxQuote(bytes);
  if (quote === null) return [];
  const pcs = (path: string): CollateralPath => ({ service: "pcs", path });
  try {
    const [certificate] = certificatesOf(quote.certificates);
    const { fmspc } = readPck(certificate!);
    const ca = certificate!.issuerName.includes("Platform") ? "platform" : "processor";
    return [
      pcs(`/tdx/certification/v4/tcb?fmspc=${hexOf(fmspc)}`),
      pcs("/tdx/certification/v4/qe/identity"),
      pcs(`/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`),
      pcs("/sgx/certification/v4/rootcacrl"),
    ];
  } catch {
    return [];
  }
}
