// SPDX-License-Identifier: Apache-2.0
/** What happened, as it happens and looked up, to those who may see it. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { detector } from "#models/testing.ts";
import {
  type Caller,
  callerOf,
  type Installation,
  startInstallation,
  type Tenant,
} from "#testing/installation.ts";
import { type Person, registerProgram } from "#testing/people.ts";
import { append } from "../../core/journal/index.ts";
import { upload } from "../models/testing.ts";
import { standingsTurn } from "./standing.ts";

let casemate: Installation;
let acme: Caller & Tenant;
let stranger: Caller & Tenant;
/** Of an organization: its founder, a viewer of it, and a partner's person who may see how servers are. */
let organization: string;
let founder: Caller & Person;
let viewer: Caller & Person;
let monitor: Caller & Person;
beforeAll(async () => {
  casemate = await startInstallation({
    ...{ withHost: false, config: { identity: { requestsPerMinute: null } } },
  });
  [acme, stranger] = await Promise.all([casemate.tenant("acme"), casemate.tenant("stranger")]);
  const program = await registerProgram(casemate.url, casemate.adminKey);
  founder = await casemate.person(program);
  organization = (await founder("POST", "/cdb/organizations", { Name: "Acme" })).body.UUID;
  viewer = await casemate.person(program);
  const ask = { Email: viewer.email, Role: "viewer" };
  const invited = await founder("POST", `/cdb/organizations/${organization}/members`, ask);
  await viewer("POST", "/cdb/invitations/accept", { Invitation: invited.body.Invitation });
  const admin = callerOf(casemate.url, casemate.adminKey);
  const partner = { name: "Partner", administrator_email: "p@example.com" };
  const made = (await admin("POST", "/platform/v1/channel-partners", partner)).body;
  monitor = await casemate.person(program);
  await monitor("POST", "/cdb/invitations/accept", { Invitation: made.invitation });
  const path = `/cdb/organizations/${organization}/channel_partners/${made.channel_partner_id}`;
  await founder("PUT", path, { AccessLevel: "system_health_monitor" });
});
afterAll(() => casemate[Symbol.asyncDispose]());

const asOrganization = () => ({ "x-act-as-kind": "organization", "x-act-as-id": organization });

interface Event {
  id: string | undefined;
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it.
  data: any;
}

/** Follows until `count` events that are no heartbeat were there; then goes. */
async function follow(caller: Caller, count: number, query = "", headers: Record<string, string> = {}) {
  const gone = new AbortController();
  const response = await fetch(`${casemate.url}/dev/events${query}`, {
    ...{ signal: gone.signal, headers: { authorization: `Bearer ${caller.key}`, ...headers } },
  });
  expect([response.status, response.headers.get("content-type")]).toEqual([
    200,
    "text/event-stream; charset=utf-8",
  ]);
  const events: Event[] = [];
  const reading = (async () => {
    let rest = "";
    for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
      const blocks = (rest + part).split("\n\n");
      rest = blocks.pop()!;
      for (const block of blocks) {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
        const event = { id: field("id"), event: field("event")!, data: JSON.parse(field("data")!) };
        if (event.event !== "heartbeat") events.push(event);
        if (events.length >= count) return gone.abort();
      }
    }
  })().catch((error: Error) => {
    if (!gone.signal.aborted) throw error;
  });
  return { events, ended: reading.then(() => events) };
}

it("tells what happens as it happens, and who comes again where they were misses and repeats nothing", async () => {
  const { ended } = await follow(acme, 2);
  const site = (await acme("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
  await acme("PATCH", `/dev/system/${site}`, { Name: "Quay" });
  const [created, renamed] = await ended;
  expect(created).toMatchObject({
    event: "site.created",
    data: { Subject: site, Details: { Name: "Harbour" } },
  });
  expect(renamed).toMatchObject({ event: "site.renamed", data: { By: { ID: acme.clientId, Name: null } } });
  await acme("POST", "/dev/registration-tokens", { SystemId: site, MaxUses: 3 });
  await acme("DELETE", `/dev/system/${site}`);
  const again = await (await follow(acme, 3, "", { "last-event-id": created!.id! })).ended;
  expect(again.map(({ event }) => event)).toEqual(["site.renamed", "site.token_created", "site.deleted"]);
  expect(again[1]!.data.Details).toEqual({ Token: expect.any(String), MaxUses: 3 });
  expect(again[0]).toEqual(renamed);
});

it("can be narrowed to a noun, a type, or one thing", async () => {
  const from = { "last-event-id": "0" };
  const site = (await acme("POST", "/dev/systems", { Name: "Narrow" })).body.ID;
  const group = (await acme("POST", "/dev/groups", { Name: "Gates" })).body.UUID;
  await acme("PATCH", `/dev/group/${group}`, { Name: "Doors" });
  expect((await (await follow(acme, 2, "?Type=group.*", from)).ended).map(({ event }) => event)).toEqual([
    "group.created",
    "group.renamed",
  ]);
  expect((await (await follow(acme, 1, "?Type=group.renamed", from)).ended)[0]!.data.Details).toEqual({
    Name: "Doors",
  });
  expect((await (await follow(acme, 1, `?Subject=${site}`, from)).ended)[0]!.data.Subject).toBe(site);
  for (const query of ["?Type=GROUP", "?Type=a.b.c", "?Subject=x"])
    expect([query, (await acme("GET", `/dev/events${query}`)).status]).toEqual([query, 400]);
  expect((await acme("GET", "/dev/events", undefined, { "last-event-id": "x" })).status).toBe(400);
});

it("says that something was missed when it can be read no more", async () => {
  const me = await casemate.tenant("pruned");
  await me("POST", "/dev/systems", { Name: "Old" });
  await sql`update journal set payload = null, salt = null where account_id = ${me.accountId}`.execute(
    casemate.control.db.run,
  );
  const reply = await me("GET", "/dev/events", undefined, { "last-event-id": "0" });
  expect([reply.status, reply.body.Code]).toEqual([410, "event.pruned"]);
});

it("shows who changed what, newest first, and nothing of another tenant's", async () => {
  const site = (await founder("POST", "/dev/systems", { Name: "Ours" }, asOrganization())).body.ID;
  await founder("PATCH", `/dev/system/${site}`, { Name: "Ours still" }, asOrganization());
  const audit = (caller: Caller, query = "") =>
    caller("GET", `/dev/audit${query}`, undefined, asOrganization());
  const { body, headers } = await audit(viewer, `?Subject=${site}`);
  expect(body).toMatchObject([
    {
      Type: "site.renamed",
      Details: { Name: "Ours still" },
      By: { ID: founder.userId, Name: founder.email },
    },
    { Type: "site.created", Subject: site },
  ]);
  expect(headers.get("x-pagination-records")).toBe("2");
  expect((await audit(viewer, `?By=${founder.userId}&Type=member.*`)).body).toMatchObject([
    { Type: "member.invited", Details: { Role: "viewer" } },
  ]);
  expect((await audit(viewer, "?limit=1&offset=1&OrderBy=At")).body).toHaveLength(1);
  expect((await stranger("GET", `/dev/audit?Subject=${site}`)).body).toEqual([]);
  expect((await stranger("GET", "/dev/audit", undefined, asOrganization())).status).toBe(403);
});

it("of each noun only who may read it learns, here as there", async () => {
  await founder("POST", "/dev/groups", { Name: "Secret gates" }, asOrganization());
  await founder("POST", "/dev/systems", { Name: "Open" }, asOrganization());
  const nouns = async (caller: Caller) => {
    const { body } = await caller("GET", "/dev/audit?limit=500", undefined, asOrganization());
    return [...new Set(body.map(({ Type }: { Type: string }) => Type.split(".")[0]))].sort();
  };
  expect(await nouns(viewer)).toEqual(["group", "member", "organization", "partner", "site"]);
  expect(await nouns(monitor)).toEqual(["member", "organization", "partner", "site"]);
  const { events, ended } = await follow(monitor, 1, "", asOrganization());
  await founder("POST", "/dev/groups", { Name: "More" }, asOrganization());
  await founder("POST", "/dev/systems", { Name: "Seen" }, asOrganization());
  await ended;
  expect(events.map(({ event }) => event)).toEqual(["site.created"]);
});

it("tells no type that is not in its table, and of a payload nothing that is not named there", async () => {
  const me = await casemate.tenant("closed");
  const write = (type: string, payload: Record<string, unknown>) =>
    casemate.control.db.write((tx) =>
      append(tx, { account: me.accountId, type, subject: randomUUID(), payload }),
    );
  await write("site.exploded", { by: "x" });
  await write("constructor.name", { by: "x" });
  await write("site.created", { by: "x", name: "Harbour", password: "hunter2" });
  const told = await me("GET", "/dev/audit");
  expect(told.body).toMatchObject([{ Type: "site.created", Details: { Name: "Harbour" } }, {}]);
  expect(told.text).not.toContain("hunter2");
  const [first] = await (await follow(me, 1, "?Type=site.*", { "last-event-id": "0" })).ended;
  expect(first!.data.Details).toEqual({ Name: "Harbour" });
});

/** Oldest first: what was said of it, without who and when. */
const toldOf = async (caller: Caller, query: string): Promise<[string, object][]> => {
  const { body } = await caller("GET", `/dev/audit?OrderBy=At&limit=500&${query}`);
  return body.map(({ Type, Details }: { Type: string; Details: object }) => [Type, Details]);
};

it("how a server is, is told when it changes, once, and not as often as its key could change it", async () => {
  const me = await casemate.tenant("standing");
  const { db } = casemate.control;
  const site = (await me("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
  const RegistrationToken = (await me("POST", "/dev/registration-tokens", { SystemId: site })).body.Token;
  const ServerId = randomUUID();
  const { Key } = (await casemate.anyone("POST", "/dev/plugin/register", { ServerId, RegistrationToken }))
    .body;
  const edge = callerOf(casemate.url, Key);
  const say = (Health: string) =>
    edge("PUT", `/dev/server/${ServerId}/reported`, { Version: 0, Health, Errors: ["hunter2"] });
  const told = () => toldOf(me, `Subject=${ServerId}`);
  /** As if it were later: nothing waits for the clock. */
  const later = (column: string, seconds: number) =>
    sql`update servers set ${sql.ref(column)} = now() - make_interval(secs => ${seconds}) where id = ${ServerId}`.execute(
      db.run,
    );
  const turns = () => Promise.all([standingsTurn({ db }), standingsTurn({ db }), standingsTurn({ db })]);
  await turns();
  expect(await told()).toEqual([]);
  await say("ok");
  const begun: [string, object][] = [
    ["server.came_online", {}],
    ["server.health_changed", { Health: "ok", Before: "unknown" }],
  ];
  await expect.poll(told).toEqual(begun);
  await later("health_told_at", -3600);
  for (const health of ["failed", "ok", "degraded"]) await say(health);
  await turns();
  expect(await told()).toEqual(begun);
  await later("health_told_at", 11);
  await turns();
  begun.push(["server.health_changed", { Health: "degraded", Before: "ok" }]);
  await expect.poll(told).toEqual(begun);
  await later("last_seen", 76);
  await turns();
  begun.push(["server.went_offline", {}]);
  await expect.poll(told).toEqual(begun);
  expect((await edge("GET", `/dev/server/${ServerId}/state`)).status).toBe(200);
  begun.push(["server.came_online", {}]);
  await expect.poll(told).toEqual(begun);
  await turns();
  const events = await (await follow(me, 5, "?Type=server.*", { "last-event-id": "0" })).ended;
  expect(events.map(({ event, data }) => [event, data.Details])).toEqual(begun);
  expect((await me("GET", "/dev/audit")).text).not.toContain("hunter2");
});

it("of aliases, catalogues and service tokens it can be looked up who changed what; what changed nothing is not there", async () => {
  const me = await casemate.tenant("publisher");
  const { UUID } = await upload(casemate.url, me, detector(), { Name: "Things", EnableConversions: [] });
  const path = `/cpt/function/${UUID}`;
  for (const alias of ["stable", "stable"]) await me("PUT", `${path}/alias/${alias}`, { Version: 1 });
  for (const _ of [1, 2]) expect((await me("DELETE", `${path}/alias/stable`)).status).toBe(200);
  expect(await toldOf(me, "Type=model.*")).toEqual([
    [
      "model.uploaded",
      { Version: 1, SHA256: expect.stringMatching(/^[0-9a-f]{64}$/), Size: expect.any(Number) },
    ],
    ["model.alias_set", { Alias: "stable", Version: 1 }],
    ["model.alias_removed", { Alias: "stable" }],
  ]);
  const made = (await me("POST", "/cpt/catalogues", { Name: "Traffic" })).body.UUID;
  const catalogue = `/cpt/catalogue/${made}`;
  for (const _ of [1, 2]) await me("PUT", `${catalogue}/function/${UUID}`);
  await me("PATCH", catalogue, { Visibility: "public" });
  expect((await me("DELETE", catalogue)).status).toBe(409);
  for (const _ of [1, 2]) await me("DELETE", `${catalogue}/function/${UUID}`);
  expect((await me("DELETE", catalogue)).status).toBe(200);
  expect(await toldOf(me, `Subject=${made}`)).toEqual([
    ["catalogue.created", { Name: "Traffic", Visibility: "private" }],
    ["catalogue.model_added", { Model: UUID }],
    ["catalogue.changed", { Changed: ["Visibility"], Visibility: "public" }],
    ["catalogue.model_removed", { Model: UUID }],
    ["catalogue.deleted", {}],
  ]);
  const asked = { Name: "nightly", Permissions: ["devices:health"] };
  const token = (await me("POST", "/cdb/tokens", asked)).body;
  expect((await me("DELETE", `/cdb/tokens/${token.UUID}`)).status).toBe(204);
  expect((await me("DELETE", `/cdb/tokens/${token.UUID}`)).status).toBe(404);
  expect(await toldOf(me, `Subject=${token.UUID}&By=${me.clientId}`)).toEqual([
    ["service_token.created", { Name: "nightly", Permissions: ["devices:health"] }],
    ["service_token.revoked", { Name: "nightly" }],
  ]);
  const all = await me("GET", "/dev/audit?limit=500");
  expect(all.text).not.toContain(token.Token);
  expect(all.text).not.toContain(token.Prefix);
});

it("a model that is put into other catalogues is told to have left those and come into these", async () => {
  const me = await casemate.tenant("mover");
  const [from, kept, to] = await Promise.all(
    ["From", "Kept", "To"].map(async (Name) => (await me("POST", "/cpt/catalogues", { Name })).body.UUID),
  );
  const asked = { Name: "Things", EnableConversions: [], Catalogues: [from, kept] };
  const { UUID } = await upload(casemate.url, me, detector(), asked);
  const moved = { Name: "Other things", Catalogues: [kept, to] };
  expect((await me("PATCH", `/cpt/function/${UUID}`, moved)).status).toBe(200);
  const kinds = async (id: string) => (await toldOf(me, `Subject=${id}`)).map(([type]) => type.split(".")[1]);
  expect(await kinds(from)).toEqual(["created", "model_added", "model_removed"]);
  expect(await kinds(kept)).toEqual(["created", "model_added"]);
  expect(await kinds(to)).toEqual(["created", "model_added"]);
  expect(await toldOf(me, `Subject=${UUID}&Type=model.changed`)).toEqual([
    ["model.changed", { Changed: ["Name"] }],
  ]);
});
