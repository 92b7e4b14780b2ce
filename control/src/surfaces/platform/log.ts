// SPDX-License-Identifier: Apache-2.0
import { Fault } from "#contract/errors.ts";
import type { restartLog as restartOperation } from "#contract/platform/log.ts";
import { restartLog, rotateLogKey } from "../../core/log/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { PlatformDeps } from "./deps.ts";

type Needs = Pick<PlatformDeps, "db" | "vault">;

export async function rotate({ db, vault }: Needs): Promise<Answer> {
  return { status: 200, body: { key: await rotateLogKey(db, vault) } };
}

export async function restart({ db, vault }: Needs, call: Call<typeof restartOperation>): Promise<Answer> {
  const key = await restartLog(db, vault, call.body.abandon);
  if (key === null) throw new Fault("log.another-name");
  return { status: 200, body: { key } };
}
