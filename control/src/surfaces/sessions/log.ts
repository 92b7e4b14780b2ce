// SPDX-License-Identifier: Apache-2.0
/** The transparency log as anybody reads it, and where in it a proof is. */
import { Fault } from "#contract/errors.ts";
import type { getLogCheckpoint, getLogKeys, getLogTile, getTransparency } from "#contract/sessions/log.ts";
import { countAt, readTilePath } from "#evidence/log/tiles.ts";
import { findInclusion, listLogKeys, newestCheckpoint, readTile } from "../../core/log/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { inclusionAnswer } from "../../http/inclusion.ts";
import type { Deps } from "./deps.ts";
import { requireWithProof } from "./rows.ts";

type Needs = Pick<Deps, "db">;

/** What has a name in the log never changes; for how long a proxy may keep it, in seconds. */
const FOR_GOOD = "public, max-age=31536000, immutable";

export async function transparency({ db }: Needs, call: Call<typeof getTransparency>): Promise<Answer> {
  const session = await requireWithProof(db.soft, call.account.id, call.params.session_id);
  if (session.document === null)
    throw new Fault(session.ended_at === null ? "session.proof-pending" : "session.no-proof");
  return inclusionAnswer(await findInclusion(db.soft, { machine: session.machine_id }, call.query));
}

export async function checkpoint({ db }: Needs, _call: Call<typeof getLogCheckpoint>): Promise<Answer> {
  const newest = await newestCheckpoint(db.soft);
  if (newest === null) throw new Fault("log.empty");
  return {
    status: 200,
    bytes: Buffer.from(newest.note),
    mediaType: "text/plain; charset=utf-8",
    headers: { "cache-control": "no-cache" },
  };
}

export async function tile({ db }: Needs, call: Call<typeof getLogTile>): Promise<Answer> {
  const asked = readTilePath(call.params["*"]);
  const newest = asked === null ? null : await newestCheckpoint(db.soft);
  // Not what waits for a checkpoint: nothing is shown that nobody has signed.
  const most = asked === null || newest === null ? 0 : countAt(asked.level, newest.size);
  const bytes =
    asked === null || asked.index * 256 + asked.width > most ? null : await readTile(db.soft, asked);
  if (bytes === null) throw new Fault("log.no-such-tile");
  return {
    status: 200,
    bytes,
    mediaType: "application/octet-stream",
    headers: { "cache-control": FOR_GOOD },
  };
}

export async function keys({ db }: Needs, _call: Call<typeof getLogKeys>): Promise<Answer> {
  return { status: 200, body: await listLogKeys(db.soft) };
}
