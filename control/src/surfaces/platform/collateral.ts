// SPDX-License-Identifier: Apache-2.0
/** Collateral as the makers' own services answer it, from the cache: paths are put together from what was judged, never passed on. */
import { Fault } from "#contract/errors.ts";
import type { kdsShared, pcsCrl, pcsTcb } from "#contract/platform/collateral.ts";
import type { CollateralPath } from "#evidence/collateral-paths.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { PlatformDeps } from "./deps.ts";

type Needs = Pick<PlatformDeps, "collateral">;
type Asking = Pick<Call<typeof pcsTcb>, "account">;

const PARTS = ["fmcSPL", "blSPL", "teeSPL", "snpSPL", "ucodeSPL"] as const;

export function kds(deps: Needs, { params, query, account }: Call<typeof kdsShared>): Promise<Answer> {
  const { kind, line, what } = params;
  const parts = PARTS.flatMap((part) => (query[part] === undefined ? [] : [`${part}=${query[part]}`]));
  const path = `/${kind}/v1/${line}/${what.toLowerCase()}${parts.length === 0 ? "" : `?${parts.join("&")}`}`;
  return answer(deps, account.id, { service: "kds", path });
}

export const tcb = (deps: Needs, call: Call<typeof pcsTcb>): Promise<Answer> =>
  pcs(deps, call, `/tdx/certification/v4/tcb?fmspc=${call.query.fmspc.toLowerCase()}`);

export const identity = (deps: Needs, call: Asking): Promise<Answer> =>
  pcs(deps, call, "/tdx/certification/v4/qe/identity");

export const crl = (deps: Needs, call: Call<typeof pcsCrl>): Promise<Answer> =>
  pcs(deps, call, `/sgx/certification/v4/pckcrl?ca=${call.query.ca}&encoding=der`);

export const rootCrl = (deps: Needs, call: Asking): Promise<Answer> =>
  pcs(deps, call, "/sgx/certification/v4/rootcacrl");

const pcs = (deps: Needs, { account }: Asking, path: string) =>
  answer(deps, account.id, { service: "pcs", path });

async function answer({ collateral }: Needs, who: string, ask: CollateralPath): Promise<Answer> {
  const file = await collateral.get(ask, who);
  if (file === "busy") throw new Fault("limits.rate", { seconds: 5 });
  if (file === null) throw new Fault("collateral.not-found");
  return {
    ...{ status: 200, bytes: file.bytes, mediaType: "application/octet-stream" },
    ...(file.chain !== null && { headers: { [file.chain.name]: file.chain.value } }),
  };
}
