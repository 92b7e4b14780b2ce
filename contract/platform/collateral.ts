// SPDX-License-Identifier: Apache-2.0
/**
 * What the makers of processors say of their processors, from this installation's cache: under this prefix each path is that of
 * their own services (AMD KDS, Intel PCS version 4), so a tool that knows those is told another address and nothing else.
 */
import { Type } from "typebox";
import { operation } from "../operation.ts";

const base = {
  surface: "platform",
  method: "GET",
  access: "account",
  tag: "Collateral",
  responses: {
    200: { description: "As the maker's service answers", mediaType: "application/octet-stream" },
  },
  errors: ["identity.unauthorized", "request.invalid", "collateral.not-found", "limits.rate"],
} as const;
const Spl = Type.Optional(Type.Integer({ minimum: 0, maximum: 255 }));

export const kdsShared = operation({
  ...base,
  id: "platform.collateral.kds-shared",
  path: "/platform/v1/collateral/:kind/v1/:line/:what",
  summary:
    "AMD: certificates above a key, the revocation list, or (by the chip's identity) a key's certificate",
  params: Type.Object({
    kind: Type.String({ maxLength: 8, examples: ["vcek"] }),
    line: Type.String({ maxLength: 16, examples: ["Milan"] }),
    what: Type.String({ maxLength: 128, description: "cert_chain, crl, or the chip's identity in hex" }),
  }),
  query: Type.Object({ fmcSPL: Spl, blSPL: Spl, teeSPL: Spl, snpSPL: Spl, ucodeSPL: Spl }),
});

export const pcsTcb = operation({
  ...base,
  id: "platform.collateral.pcs-tcb",
  path: "/platform/v1/collateral/tdx/certification/v4/tcb",
  summary: "Intel: levels of a kind of platform",
  query: Type.Object({ fmspc: Type.String({ pattern: "^[0-9a-fA-F]{12}$" }) }),
});

export const pcsIdentity = operation({
  ...base,
  id: "platform.collateral.pcs-identity",
  path: "/platform/v1/collateral/tdx/certification/v4/qe/identity",
  summary: "Intel: the quoting enclave",
});

export const pcsCrl = operation({
  ...base,
  id: "platform.collateral.pcs-crl",
  path: "/platform/v1/collateral/sgx/certification/v4/pckcrl",
  summary: "Intel: revocation list of an authority of platforms",
  query: Type.Object({
    ca: Type.Enum(["platform", "processor"]),
    encoding: Type.Optional(Type.Enum(["der"])),
  }),
});

export const pcsRootCrl = operation({
  ...base,
  id: "platform.collateral.pcs-root-crl",
  path: "/platform/v1/collateral/sgx/certification/v4/rootcacrl",
  summary: "Intel: revocation list of the root",
});
