// SPDX-License-Identifier: Apache-2.0
/** A longer life, up to the tier's limit. It can only grow: a shorter one would be a destroy in disguise. */
import { Fault } from "#contract/errors.ts";
import type { extendSession } from "#contract/sessions/read.ts";
import { append } from "../../core/journal/index.ts";
import { requestExpiry } from "../../core/machines/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { requireSession } from "./rows.ts";
import { tierOf } from "./tiers.ts";
import { etagOf, viewSession } from "./view.ts";

export async function extend(
  deps: Pick<Deps, "db" | "tiers" | "converger">,
  call: Call<typeof extendSession>,
): Promise<Answer> {
  const { account, params } = call;
  const ttlSeconds = call.body.ttl_seconds;
  const max = tierOf(deps.tiers, account.tier).ttlSeconds;
  if (max !== null && ttlSeconds > max) throw new Fault("session.ttl-too-long", { max });
  const machine = await deps.db.write(async (tx) => {
    const row = await requireSession(tx, account.id, params.id);
    if (row.ended_at !== null) throw new Fault("session.ended", { status: row.status });
    if (row.ttl_seconds === null) return null;
    if (ttlSeconds < row.ttl_seconds) {
      throw new Fault("request.invalid", { detail: `ttl_seconds can only grow; it is ${row.ttl_seconds}` });
    }
    const expiresAt = new Date(row.expires_at!.getTime() + (ttlSeconds - row.ttl_seconds) * 1000);
    const extended = await requestExpiry(tx, row.machine_id, expiresAt);
    if (extended === null) throw new Fault("session.ended", { status: "ending" });
    await tx
      .updateTable("sessions")
      .set((eb) => ({ ttl_seconds: ttlSeconds, version: eb("version", "+", 1) }))
      .where("id", "=", row.id)
      .execute();
    await append(tx, {
      account: account.id,
      type: "session.extended",
      subject: row.id,
      payload: { ttl_seconds: ttlSeconds },
    });
    return extended;
  });
  if (machine !== null) deps.converger.send(machine, call.now);
  const row = await requireSession(deps.db.soft, account.id, params.id);
  return { status: 200, body: viewSession(row), headers: { etag: etagOf(row) } };
}
