// SPDX-License-Identifier: Apache-2.0
/**
 * How old a platform is, by Intel's own rules ("Intel SGX and TDX: Get TCB Info", matching). Levels
 * are searched from the first to the last, and the first that no part of the platform is below counts.
 */
import { equalBytes, hexOf } from "../bytes.ts";
import { requireStep, StepFault } from "../steps.ts";
import type { Pck } from "./pck.ts";
import type { QuotingEnclave, TdxQuote } from "./quote.ts";
import type { Level, ModuleIdentity, QeIdentity, SvnLevel, TcbInfo } from "./signed-json.ts";

/** The level of the processor and its provisioning enclave; throws `StepFault` when it is below all. */
export function platformLevel({ levels }: TcbInfo, pck: Pck, quote: TdxQuote): Level {
  // From version 1.5 on, the first two say the module's own version, which has levels of its own.
  const from = quote.teeTcbSvn[1]! > 0 ? 2 : 0;
  const reaches = (svns: ArrayLike<number>, floors: readonly number[], first: number) =>
    floors.every((floor, index) => index < first || svns[index]! >= floor);
  const found = levels.find(
    (level) =>
      pck.pceSvn >= level.pceSvn &&
      reaches(pck.svns, level.sgx, 0) &&
      reaches(quote.teeTcbSvn, level.tdx, from),
  );
  if (found === undefined) throw new StepFault("No TCB level matches: the platform is below every one.");
  return found;
}

/** Which of Intel's TDX modules the quote's is, and its level; null for one of TDX 1.0, which has none. */
export function moduleLevel(info: TcbInfo, quote: TdxQuote): Level | null {
  const [svn, major] = quote.teeTcbSvn as unknown as [number, number];
  const id = `TDX_${hexOf(Uint8Array.of(major)).toUpperCase()}`;
  const identity = major === 0 ? info.module : info.modules.find((one) => one.id.toUpperCase() === id);
  requireStep(identity !== undefined, `The TCB info knows no TDX module ${id}.`);
  requireModule(identity, quote);
  if (!("levels" in identity)) return null;
  return requireSvn((identity as { levels: readonly SvnLevel[] }).levels, svn, `The TDX module ${id}`);
}

function requireModule({ mrSigner, attributes, attributesMask }: ModuleIdentity, quote: TdxQuote): void {
  requireStep(equalBytes(quote.mrSignerSeam, mrSigner), "The TDX module is signed by somebody else.");
  requireStep(
    sameWhereMasked(quote.seamAttributes, attributes, attributesMask),
    "The TDX module has other attributes, as one for debugging has.",
  );
}

/** Whether the quoting enclave is Intel's, and its level. */
export function enclaveLevel(identity: QeIdentity, qe: QuotingEnclave): Level {
  requireStep(equalBytes(qe.mrSigner, identity.mrSigner), "The quoting enclave is signed by somebody else.");
  requireStep(qe.isvProdId === identity.isvProdId, "The enclave is signed by Intel, but for something else.");
  // Bit 1 of an enclave's attributes is DEBUG, whatever the identity's mask leaves out.
  requireStep((qe.attributes[0]! & 2) === 0, "The quoting enclave may be debugged.");
  const { attributes, attributesMask, miscSelect, miscSelectMask } = identity;
  const sameAttributes = sameWhereMasked(qe.attributes, attributes, attributesMask);
  const sameMisc = ((qe.miscSelect ^ miscSelect) & miscSelectMask) === 0;
  requireStep(sameAttributes && sameMisc, "The quoting enclave runs with other attributes.");
  return requireSvn(identity.levels, qe.isvSvn, "The quoting enclave");
}

function sameWhereMasked(a: Uint8Array, b: Uint8Array, mask: Uint8Array): boolean {
  return mask.every((bits, index) => ((a[index]! ^ b[index]!) & bits) === 0);
}

function requireSvn(levels: readonly SvnLevel[], svn: number, what: string): Level {
  const found = levels.find(({ isvSvn }) => svn >= isvSvn);
  if (found === undefined)
    throw new StepFault(`${what} has version ${svn}, which is below every level of Intel's.`);
  return found;
}
