// SPDX-License-Identifier: Apache-2.0
/** What happened, as it happens and looked up, to those who may see it. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  type Caller,
  callerOf,
  type Installation,
  startInstallation,
  type Tenant,
} from "#testing/installation.ts";
import { type Person, registerProgram } from "#testing/people.ts";
import { append } from "../../core/journal/index.ts";

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
