// SPDX-License-Identifier: Apache-2.0
/**
 * The journal of whoever is acted for, as those who act may see it: as it is written, and read back.
 *
 *  A. A type that is not in this table is told to nobody, and of a payload exactly the members that are named:
 *     whoever adds one to the journal publishes nothing by it.
 *  B. Each type asks for the permission that reading its noun asks for. A partner who may only see how servers
 *     are does not learn here what devices run, nor who was made a member.
 */
import { sql } from "kysely";
import type { Static } from "typebox";
import type * as contract from "#contract/devices/events.ts";
import type { Entry } from "#contract/devices/events.ts";
import { Fault } from "#contract/errors.ts";
import { type EventRow, journalRowsAfter, readableAfter } from "../../core/events/index.ts";
import type { Actor, Scope } from "../../core/identity/index.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { followEvents, lastEventId } from "../../http/event-stream.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { DevicesDeps } from "./deps.ts";

interface Told {
  scope: Scope;
  /** What it says besides, by type; the part after the dot. */
  types: Record<string, readonly string[]>;
}

const ROLLOUT = ["stage", "reason"];
const TOLD: Record<string, Told> = {
  site: {
    scope: "devices:health",
    types: {
      ...{ created: ["name"], renamed: ["name"], deleted: [] },
      ...{ server_added: ["server"], server_removed: ["server"] },
      ...{ token_created: ["token", "max_uses"], token_revoked: ["token"] },
    },
  },
  server: {
    scope: "devices:health",
    types: {
      ...{ renamed: ["name"], runtime_selected: ["runtime"] },
      ...{ health_changed: ["health", "before"], came_online: [], went_offline: [] },
    },
  },
  device: {
    scope: "devices:read",
    types: {
      ...{ added: ["server"], changed: ["changed"], removed: ["server"] },
      pipelines_saved: ["version", "note"],
    },
  },
  group: {
    scope: "devices:read",
    types: {
      ...{ created: ["name"], renamed: ["name"], deleted: [] },
      ...{ devices_added: ["count"], device_removed: ["device"] },
    },
  },
  rollout: {
    scope: "devices:read",
    types: {
      ...{ created: ["devices", "stages"], stage_begun: ["stage", "devices"] },
      devices_failed: ["stage", "count", "devices"],
      ...{ running: ROLLOUT, paused: ROLLOUT, rolling_back: ROLLOUT, rolled_back: ROLLOUT },
      ...{ succeeded: ROLLOUT, cancelled: ROLLOUT, aborted: ROLLOUT },
    },
  },
};
/** What is on other surfaces is not followed here, but looked up. */
const LOOKED_UP: Record<string, Told> = {
  ...TOLD,
  model: {
    scope: "models:read",
    types: {
      ...{ uploaded: ["version", "sha256", "size"], changed: ["changed"], deleted: [], withdrawn: [] },
      ...{ alias_set: ["alias", "version"], alias_removed: ["alias"] },
    },
  },
  catalogue: {
    scope: "models:read",
    types: {
      ...{ created: ["name", "visibility"], changed: ["changed", "name", "visibility"], deleted: [] },
      ...{ model_added: ["model"], model_removed: ["model"] },
    },
  },
  service_token: {
    scope: "organization:read",
    types: { created: ["name", "permissions"], revoked: ["name"] },
  },
  organization: { scope: "organization:read", types: { created: ["name"], renamed: ["name"] } },
  member: {
    scope: "organization:read",
    types: { invited: ["role"], changed: ["user", "role"], removed: ["user"] },
  },
  partner: { scope: "organization:read", types: { granted: ["partner", "level"], revoked: ["partner"] } },
};

/** Those that the actor may see, of those that are asked for. */
function typesFor(told: Record<string, Told>, { scopes }: Actor, pattern = "*"): string[] {
  const all = Object.entries(told).flatMap(([noun, { scope, types }]) =>
    scopes.includes(scope) ? Object.keys(types).map((type) => `${noun}.${type}`) : [],
  );
  if (pattern === "*") return all;
  return all.filter((type) => type === pattern || pattern === `${type.split(".")[0]}.*`);
}

/** `max_uses` is MaxUses on the wire, in what is listed too. */
const worded = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(worded);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [
      wordOf(name),
      // As it stands everywhere else on this surface; the store's own names of blobs say how they were made.
      name === "sha256" && typeof one === "string" ? one.replace(/^sha256:/, "") : worded(one),
    ]),
  );
};
const wordOf = (name: string) =>
  name
    .split("_")
    .map((part) => (part === "sha256" ? "SHA256" : part.charAt(0).toUpperCase() + part.slice(1)))
    .join("");

type Shown = Static<typeof Entry>;

async function view(db: Db, rows: readonly EventRow[]): Promise<Shown[]> {
  const payloads = rows.map(({ payload }) => payload as Record<string, unknown>);
  const makers = [...new Set(payloads.map(({ by }) => by).filter((by) => typeof by === "string"))];
  const { rows: people } = await sql<{ id: string; email: string }>`
    select id::text as id, email from users where id::text = any(${makers})`.execute(db);
  const names = new Map(people.map(({ id, email }) => [id, email]));
  return rows.map((row, at) => {
    const [noun, type] = row.type.split(".") as [string, string];
    const { by, ...facts } = payloads[at]!;
    const members = LOOKED_UP[noun]!.types[type]!.filter((member) => facts[member] !== undefined);
    return {
      ...{ Sequence: row.seq, At: row.at.toISOString(), Type: row.type, Subject: row.subject },
      By: typeof by === "string" ? { ID: by, Name: names.get(by) ?? null } : null,
      Details: worded(
        Object.fromEntries(members.map((member) => [member, facts[member]])),
      ) as Shown["Details"],
    };
  });
}

/** Who is put out meanwhile, or loses a permission, is noticed when the stream is resumed. */
const STREAM_MS = 900_000;

export async function stream(
  { db, feed }: Pick<DevicesDeps, "db" | "feed">,
  call: Call<typeof contract.streamEvents>,
): Promise<Answer> {
  const account = call.account.id;
  const types = typesFor(TOLD, call.actor, call.query.Type);
  const subject = call.query.Subject?.toLowerCase() ?? null;
  const resumed = lastEventId(call.headers);
  const { newest, pruned } = await readableAfter(db.soft, account, resumed ?? 0, types);
  if (resumed !== undefined && pruned) throw new Fault("event.pruned", { after: resumed });
  const end = performance.now() + STREAM_MS;
  const read = async (seq: number, limit: number) => {
    const rows = await journalRowsAfter(db, account, { types, subject, seq, limit });
    return (await view(db.soft, rows)).map((shown) => ({ seq: shown.Sequence, shown }));
  };
  const events = followEvents(
    {
      read,
      more: (timeoutMs, signal) => feed.wait(account, timeoutMs, signal),
      show: ({ shown }) => ({ event: shown.Type, data: shown }),
      isLast: () => false,
      isOver: async () => performance.now() > end,
    },
    Math.min(resumed ?? newest, newest),
    call.signal,
  );
  return { status: 200, events };
}

export async function audit(
  { db }: Pick<DevicesDeps, "db">,
  call: Call<typeof contract.listAudit>,
): Promise<Answer> {
  const { Type, Subject, By } = call.query;
  const types = typesFor(LOOKED_UP, call.actor, Type);
  const page = pageOf(call.query, { At: "seq", Sequence: "seq" }, "-At", "seq");
  const condition = sql`account_id = ${call.account.id} and type = any(${types}) and payload is not null
    and (${Subject?.toLowerCase() ?? null}::text is null or subject = ${Subject?.toLowerCase() ?? null}::text)
    and (${By ?? null}::text is null or payload->>'by' = ${By ?? null}::text)`;
  const { rows } = await sql<EventRow>`
    select seq, at, type, subject, payload from journal where ${condition}
    order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db.soft);
  const { rows: counted } = await sql<{ n: number }>`
    select count(*)::int as n from journal where ${condition}`.execute(db.soft);
  return paged(await view(db.soft, rows), counted[0]!.n);
}
