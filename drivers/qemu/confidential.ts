// SPDX-License-Identifier: Apache-2.0
/**
 * What QEMU is told of a confidential guest. The operator of the host writes these words and is the one who
 * is not trusted: nothing here protects by itself. What protects is that processor and firmware measure the
 * policy, the manifest's hash and the kernel's hashes into the evidence, which somebody else verifies.
 *
 * Never run by us: no machine that we have can. The names were checked against the programs themselves:
 * PROPERTIES is what they took, and each refused a name that is not there.
 */

/** By object, the names we use and how QEMU takes each. What is not in here cannot be written below. */
export const PROPERTIES = {
  /**
   * Debian 13's QEMU 10.0.13 (1:10.0.13+ds-0+deb13u1): `-object sev-snp-guest,help`, and one object made with
   * all of them by `-machine none -S`. Meaning: QEMU's qapi/qom.json, SevCommonProperties and
   * SevSnpGuestProperties, since 9.1. `reduced-phys-bits` must be given; `host-data` must be 32 bytes.
   */
  "sev-snp-guest": {
    cbitpos: "uint32",
    "reduced-phys-bits": "uint32",
    "kernel-hashes": "bool",
    policy: "uint64",
    "host-data": "base64 of 32 bytes",
  },
  /**
   * Not in QEMU 10.0. Debian 13 backports' QEMU 11.1.3 (1:11.1.3+ds-1~bpo13+1): JSON of all of them passes the
   * schema, an unknown name does not. Meaning: qapi/qom.json, TdxGuestProperties, since 10.1.
   */
  "tdx-guest": {
    "sept-ve-disable": "bool",
    mrconfigid: "base64 of 48 bytes",
    "quote-generation-socket": "SocketAddress",
  },
} as const;

export const OBJECT_ID = "confidential0";

type Written<Type extends keyof typeof PROPERTIES> = { "qom-type": Type; id: typeof OBJECT_ID } & Partial<
  Record<keyof (typeof PROPERTIES)[Type], string | number | boolean | object>
>;

export interface SnpGuest {
  kind: "snp";
  cBitPosition: number;
  reducedPhysBits: number;
  manifestSha256: Uint8Array;
}

export interface TdxGuest {
  kind: "tdx";
  manifestSha256: Uint8Array;
  /** Port of the quoting service at the host's end of vsock. Without one there is a guest and no evidence of it. */
  quotePort: number;
}

/** Bits of the SNP policy. 17 must be set. Not set: 18, migration by an agent, and 19, debugging by the host. */
const SNP_POLICY_SMT = 1 << 16;
const SNP_POLICY_ONE = 1 << 17;
export const SNP_POLICY = SNP_POLICY_ONE | SNP_POLICY_SMT;

const SHA256_BYTES = 32;
const MRCONFIGID_BYTES = 48;
/** The host, as vsock calls it. */
const HOST_CID = "2";

export function snpObject(guest: SnpGuest): Written<"sev-snp-guest"> {
  return {
    "qom-type": "sev-snp-guest",
    id: OBJECT_ID,
    cbitpos: guest.cBitPosition,
    "reduced-phys-bits": guest.reducedPhysBits,
    // Kernel, initrd and command line are part of what is measured; the firmware must be one that checks them.
    "kernel-hashes": true,
    policy: SNP_POLICY,
    "host-data": digest(guest.manifestSha256).toString("base64"),
  };
}

/** The raw `attributes` are left alone: bit 0 of them is debugging by the host. */
export function tdxObject(guest: TdxGuest): Written<"tdx-guest"> {
  const padded = Buffer.alloc(MRCONFIGID_BYTES);
  digest(guest.manifestSha256).copy(padded);
  return {
    "qom-type": "tdx-guest",
    id: OBJECT_ID,
    // Linux refuses to run as a TDX guest without.
    "sept-ve-disable": true,
    // The digest and 16 zero bytes: the register is as wide as SHA-384.
    mrconfigid: padded.toString("base64"),
    "quote-generation-socket": { type: "vsock", cid: HOST_CID, port: String(guest.quotePort) },
  };
}

function digest(bytes: Uint8Array): Buffer {
  if (bytes.length !== SHA256_BYTES) throw new RangeError("the manifest's hash is not 32 bytes");
  return Buffer.from(bytes);
}
