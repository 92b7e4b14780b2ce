// SPDX-License-Identifier: Apache-2.0
/**
 * TCB info and the quoting enclave's identity: JSON that Intel signed. It is read before and beside its
 * signature, so whoever made the file is the attacker: a value that is missing or of another kind ends
 * the reading, since `undefined` compares as neither older nor newer and would pass.
 */
import { fromHex } from "../bytes.ts";
import { StepFault } from "../steps.ts";
import { isTcbStatus, type TcbStatus } from "./tcb-status.ts";

export interface Dated {
  issuedMs: number;
  nextUpdateMs: number;
  /** Rises with each of Intel's recoveries. */
  evaluation: number;
}

export interface TcbInfo extends Dated {
  fmspc: Uint8Array;
  pceId: Uint8Array;
  /** Of modules of TDX 1.0. */
  module: ModuleIdentity;
  /** Of later ones, by their major version. */
  modules: readonly (ModuleIdentity & { id: string; levels: readonly SvnLevel[] })[];
  levels: readonly PlatformLevel[];
}

export interface ModuleIdentity {
  mrSigner: Uint8Array;
  attributes: Uint8Array;
  attributesMask: Uint8Array;
}

export interface Level {
  status: TcbStatus;
  advisories: readonly string[];
}

export interface SvnLevel extends Level {
  isvSvn: number;
}

export interface PlatformLevel extends Level {
  sgx: readonly number[];
  tdx: readonly number[];
  pceSvn: number;
}

export interface QeIdentity extends Dated {
  miscSelect: number;
  miscSelectMask: number;
  attributes: Uint8Array;
  attributesMask: Uint8Array;
  mrSigner: Uint8Array;
  isvProdId: number;
  levels: readonly SvnLevel[];
}

const LEVELS_MAX = 256;
const ADVISORIES_MAX = 256;

/** Throws `StepFault`. */
export function parseTcbInfo(text: string): TcbInfo {
  const from = new Members("the TCB info", text);
  from.requireValue("id", "TDX");
  from.requireValue("version", 3);
  from.requireValue("tcbType", 0);
  const modules = from.has("tdxModuleIdentities") ? from.list("tdxModuleIdentities", 64) : [];
  return {
    ...datedOf(from),
    fmspc: from.hex("fmspc", 6),
    pceId: from.hex("pceId", 2),
    module: moduleOf(from.object("tdxModule")),
    modules: modules.map((one) => ({
      ...moduleOf(one),
      id: one.text("id"),
      levels: one.list("tcbLevels", LEVELS_MAX).map(svnLevelOf),
    })),
    levels: from.list("tcbLevels", LEVELS_MAX).map((level) => {
      const tcb = level.object("tcb");
      const svns = (name: string) => {
        const parts = tcb.list(name, 16);
        if (parts.length !== 16) throw new StepFault("The TCB info has a level without 16 components.");
        return parts.map((part) => part.number("svn", 255));
      };
      return {
        ...levelOf(level),
        sgx: svns("sgxtcbcomponents"),
        tdx: svns("tdxtcbcomponents"),
        pceSvn: tcb.number("pcesvn", 0xffff),
      };
    }),
  };
}

/** Throws `StepFault`. */
export function parseQeIdentity(text: string): QeIdentity {
  const from = new Members("the quoting enclave's identity", text);
  from.requireValue("id", "TD_QE");
  from.requireValue("version", 2);
  const word = (name: string) => {
    const bytes = from.hex(name, 4);
    return new DataView(bytes.buffer).getUint32(0, true);
  };
  return {
    ...datedOf(from),
    miscSelect: word("miscselect"),
    miscSelectMask: word("miscselectMask"),
    attributes: from.hex("attributes", 16),
    attributesMask: from.hex("attributesMask", 16),
    mrSigner: from.hex("mrsigner", 32),
    isvProdId: from.number("isvprodid", 0xffff),
    levels: from.list("tcbLevels", LEVELS_MAX).map(svnLevelOf),
  };
}

function datedOf(from: Members): Dated {
  return {
    issuedMs: from.time("issueDate"),
    nextUpdateMs: from.time("nextUpdate"),
    evaluation: from.number("tcbEvaluationDataNumber", 0xffff_ffff),
  };
}

function moduleOf(from: Members): ModuleIdentity {
  return {
    mrSigner: from.hex("mrsigner", 48),
    attributes: from.hex("attributes", 8),
    attributesMask: from.hex("attributesMask", 8),
  };
}

function svnLevelOf(from: Members): SvnLevel {
  return { ...levelOf(from), isvSvn: from.object("tcb").number("isvsvn", 0xffff) };
}

function levelOf(from: Members): Level {
  const status = from.text("tcbStatus");
  if (!isTcbStatus(status)) throw from.fault("tcbStatus");
  return { status, advisories: from.has("advisoryIDs") ? from.texts("advisoryIDs", ADVISORIES_MAX) : [] };
}

/** Members of a JSON object, each taken by the kind that it must have. */
class Members {
  readonly #what: string;
  readonly #from: Record<string, unknown>;

  constructor(what: string, value: unknown) {
    this.#what = what;
    let parsed = value;
    if (typeof value === "string")
      try {
        parsed = JSON.parse(value);
      } catch {
        parsed = null;
      }
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed))
      throw new StepFault(`A part of ${what} is no JSON object.`);
    this.#from = parsed as Record<string, unknown>;
  }

  fault(name: string): StepFault {
    return new StepFault(`The member ${name} of ${this.#what} is missing, or none that is known here.`);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#from, name);
  }

  #take(name: string): unknown {
    if (!this.has(name)) throw this.fault(name);
    return this.#from[name];
  }

  requireValue(name: string, value: string | number): void {
    if (this.#take(name) !== value) throw this.fault(name);
  }

  number(name: string, max: number): number {
    const value = this.#take(name);
    if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > max) throw this.fault(name);
    return value as number;
  }

  hex(name: string, bytes: number): Uint8Array {
    const value = this.#take(name);
    const read = typeof value === "string" ? fromHex(value) : null;
    if (read === null || read.length !== bytes) throw this.fault(name);
    return read;
  }

  /** It will be printed. */
  text(name: string): string {
    const value = this.#take(name);
    if (typeof value !== "string" || !/^[\w .-]{1,64}$/.test(value)) throw this.fault(name);
    return value;
  }

  texts(name: string, countMax: number): string[] {
    const value = this.#take(name);
    if (!Array.isArray(value) || value.length > countMax) throw this.fault(name);
    if (!value.every((one) => typeof one === "string" && /^[\w .-]{1,64}$/.test(one))) throw this.fault(name);
    return value;
  }

  time(name: string): number {
    const value = this.#take(name);
    const ms =
      typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(value)
        ? Date.parse(value)
        : Number.NaN;
    if (Number.isNaN(ms)) throw this.fault(name);
    return ms;
  }

  object(name: string): Members {
    return new Members(this.#what, this.#take(name) ?? null);
  }

  list(name: string, countMax: number): Members[] {
    const value = this.#take(name);
    if (!Array.isArray(value) || value.length > countMax) throw this.fault(name);
    return value.map((one) => new Members(this.#what, typeof one === "string" ? null : one));
  }
}
