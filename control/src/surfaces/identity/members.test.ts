// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { type Person, type Program, registerProgram } from "#testing/people.ts";

let casemate: Installation;
let program: Program;
let ada: Caller & Person;
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false });
  program = await registerProgram(casemate.url, casemate.adminKey);
  ada = await casemate.person(program);
});
afterAll(() => casemate[Symbol.asyncDispose]());

const as = (id: string, kind = "organization") => ({ "x-act-as-kind": kind, "x-act-as-id": id });
const found = async (who: Caller, Name = "Acme") =>
  (await who("POST", "/cdb/organizations", { Name })).body.UUID as string;
async function join(organization: string, Role: string, by: Caller = ada, root = "organizations") {
  const person = await casemate.person(program);
  const members = `/cdb/${root}/${organization}/members`;
  const { body } = await by("POST", members, { Email: person.email, Role });
  expect((await person("POST", "/cdb/invitations/accept", { Invitation: body.Invitation })).status).toBe(200);
  return person;
}

describe("a member", () => {
  it("who is taken out is out with the next call, with a live token and with tokens made before", async () => {
    const organization = await found(ada);
    const bob = await join(organization, "operator");
    const made = await bob(
      "POST",
      "/cdb/tokens",
      { Name: "back door", Permissions: ["models:read"] },
      as(organization),
    );
    expect(made.status).toBe(201);
    const service = callerOf(casemate.url, made.body.Token);
    expect((await service("GET", "/cdb/users/me")).body.ActingFor.UUID).toBe(organization);
    expect((await bob("GET", "/cdb/users/me", undefined, as(organization))).status).toBe(200);

    expect((await ada("DELETE", `/cdb/organizations/${organization}/members/${bob.userId}`)).status).toBe(
      204,
    );
    expect((await bob("GET", "/cdb/users/me", undefined, as(organization))).body.Code).toBe(
      "identity.not-a-member",
    );
    expect((await service("GET", "/cdb/users/me")).body.Code).toBe("identity.not-a-member");
    expect((await bob("GET", `/cdb/organizations/${organization}/members`)).status).toBe(404);
    expect((await bob("GET", "/cdb/users/me")).status).toBe(200);
  });

  it("may leave, but not leave it to nobody; of two who take each other out one stays", async () => {
    const organization = await found(ada);
    const members = `/cdb/organizations/${organization}/members`;
    const last = await ada("DELETE", `${members}/${ada.userId}`);
    expect([last.status, last.body.Code]).toEqual([409, "member.last-administrator"]);
    expect((await ada("PATCH", `${members}/${ada.userId}`, { Role: "viewer" })).status).toBe(409);
    const bob = await join(organization, "administrator");
    const replies = await Promise.all([
      ada("DELETE", `${members}/${bob.userId}`),
      bob("DELETE", `${members}/${ada.userId}`),
    ]);
    expect(replies.filter(({ status }) => status === 204)).toHaveLength(1);
    const viewer = await (async () => {
      const own = await found(ada);
      const person = await join(own, "viewer");
      expect((await person("DELETE", `/cdb/organizations/${own}/members/${ada.userId}`)).status).toBe(403);
      return { person, own };
    })();
    const leave = `/cdb/organizations/${viewer.own}/members/${viewer.person.userId}`;
    expect((await viewer.person("DELETE", leave)).status).toBe(204);
  });

  it("comes in by an invitation once, not by a withdrawn one, and keeps the better role", async () => {
    const organization = await found(ada);
    const root = `/cdb/organizations/${organization}`;
    const bob = await casemate.person(program);
    const ask = { Email: bob.email, Role: "viewer" };
    const { body } = await ada("POST", `${root}/members`, ask);
    expect(body.Invitation).toMatch(/^cm_inv_/);
    const listed = await ada("GET", `${root}/invitations`);
    expect([listed.headers.get("x-pagination-records"), listed.text.includes(body.Invitation)]).toEqual([
      "1",
      false,
    ]);
    const accept = (who: Caller, Invitation: string) =>
      who("POST", "/cdb/invitations/accept", { Invitation });
    expect((await accept(bob, body.Invitation)).body.UUID).toBe(organization);
    expect((await accept(ada, body.Invitation)).body.Code).toBe("identity.invitation");
    const other = (await ada("POST", `${root}/members`, ask)).body;
    expect((await ada("DELETE", `${root}/invitations/${other.UUID}`)).status).toBe(204);
    expect((await accept(bob, other.Invitation)).status).toBe(403);
    // An invitation as viewer does not make an administrator one.
    const third = (await ada("POST", `${root}/members`, { ...ask, Email: ada.email })).body;
    await accept(ada, third.Invitation);
    const all = await ada("GET", `${root}/members?OrderBy=Role`);
    expect(all.body.map(({ UUID, Role }: { UUID: string; Role: string }) => [UUID, Role])).toEqual([
      ...[
        [ada.userId, "administrator"],
        [bob.userId, "viewer"],
      ],
    ]);
  });

  it("is renamed with the organization's version in hand, or not at all", async () => {
    const organization = await found(ada);
    const path = `/cdb/organizations/${organization}`;
    const { headers } = await ada("GET", path);
    const etag = headers.get("etag")!;
    expect((await ada("GET", path, undefined, { "if-none-match": etag })).status).toBe(304);
    expect((await ada("PATCH", path, { Name: "Acme 2" }, { "if-match": etag })).status).toBe(200);
    expect((await ada("PATCH", path, { Name: "Acme 3" }, { "if-match": etag })).status).toBe(412);
    expect((await ada("PATCH", path, { Name: "Acme 4" })).body.Name).toBe("Acme 4");
    for (const Name of ["", " ", "x".repeat(201), "a\u0000b"])
      expect([Name.slice(0, 5), (await ada("PATCH", path, { Name })).status]).toEqual([
        Name.slice(0, 5),
        400,
      ]);
  });
});

describe("a channel partner", () => {
  const admin = () => callerOf(casemate.url, casemate.adminKey);
  async function partner() {
    const ask = { name: "Integrator", administrator_email: "p@example.com" };
    const { body } = await admin()("POST", "/platform/v1/channel-partners", ask);
    const head = await casemate.person(program);
    await head("POST", "/cdb/invitations/accept", { Invitation: body.invitation });
    return { id: body.channel_partner_id as string, head };
  }

  it("does not widen its own access, however wide that is, and loses it with the next call", async () => {
    const organization = await found(ada);
    const { id, head } = await partner();
    const path = `/cdb/organizations/${organization}/channel_partners/${id}`;
    expect((await ada("PUT", path, { AccessLevel: "organization_administrator" })).status).toBe(200);
    const own = { AccessLevel: "subscription_service_manager" };
    for (const headers of [{}, as(organization), as(id, "channel_partner")] as Record<string, string>[]) {
      expect((await head("PUT", path, own, headers)).status).toBe(403);
      expect((await head("DELETE", path, undefined, headers)).status).toBe(403);
    }
    expect((await head("GET", "/cdb/users/me", undefined, as(organization))).body.Permissions).toHaveLength(
      9,
    );
    expect((await ada("DELETE", path)).status).toBe(204);
    expect((await head("GET", "/cdb/users/me", undefined, as(organization))).status).toBe(403);
    expect((await ada("PUT", path, { AccessLevel: "owner" })).status).toBe(400);
    const nobody = `/cdb/organizations/${organization}/channel_partners/${organization}`;
    expect((await ada("PUT", nobody, own)).body.Code).toBe("partner.not-found");
  });

  it("is changed by its administrators alone: an account manager does not promote themselves", async () => {
    const { id, head } = await partner();
    const manager = await join(id, "account_manager", head, "channel_partners");
    const path = `/cdb/channel_partners/${id}/members/${manager.userId}`;
    for (const headers of [{}, as(id, "channel_partner")] as Record<string, string>[])
      expect((await manager("PATCH", path, { Role: "administrator" }, headers)).status).toBe(403);
    expect((await head("PATCH", path, { Role: "viewer" })).status).toBe(400);
    expect((await head("PATCH", path, { Role: "accountant" })).body.Role).toBe("accountant");
  });

  it("founds organizations under itself, whose founder is their administrator", async () => {
    const { id, head } = await partner();
    const made = await head("POST", "/cdb/organizations", { Name: "Under" }, as(id, "channel_partner"));
    expect([made.status, made.body.ChannelPartner.UUID, made.body.Role]).toEqual([201, id, "administrator"]);
    expect((await ada("GET", `/cdb/organizations/${made.body.UUID}`)).status).toBe(404);
  });
});

describe("a service token", () => {
  it("has at most what it was given and what its maker has, makes no other, and ends when it is told", async () => {
    const organization = await found(ada);
    const viewer = await join(organization, "viewer");
    const ask = (Permissions: string[]) => ({ Name: "job", Permissions });
    const beyond = await viewer("POST", "/cdb/tokens", ask(["models:write"]), as(organization));
    expect([beyond.status, beyond.body.Code]).toEqual([403, "identity.scope"]);
    expect((await ada("POST", "/cdb/tokens", ask(["organization:write"]), as(organization))).status).toBe(
      400,
    );
    const made = await ada(
      "POST",
      "/cdb/tokens",
      ask(["models:write", "organization:read"]),
      as(organization),
    );
    const service = callerOf(casemate.url, made.body.Token);
    expect((await service("GET", "/cdb/users/me")).body).toMatchObject({
      ...{ ActingFor: { UUID: organization }, Permissions: ["organization:read", "models:write"] },
    });
    // Bound to its organization: not to its maker, and not to another of theirs.
    expect((await service("GET", "/cdb/users/me", undefined, as(ada.userId, "user"))).status).toBe(403);
    expect((await service("GET", "/cdb/users/me", undefined, as(await found(ada)))).status).toBe(403);
    for (const [method, path, body] of [
      ["POST", "/cdb/tokens", ask(["models:write"])],
      ["POST", "/cdb/users/me/sign-out", undefined],
      ["POST", "/cdb/users/me/password", { Current: "x", Password: "another horse battery" }],
      ["DELETE", `/cdb/tokens/${made.body.UUID}`, undefined],
      ["POST", "/cdb/invitations/accept", { Invitation: `cm_inv_${"A".repeat(32)}` }],
    ] as const)
      expect([path, (await service(method, path, body)).status]).toEqual([path, 403]);
    const listed = await ada("GET", "/cdb/tokens", undefined, as(organization));
    expect([listed.headers.get("x-pagination-records"), listed.text.includes(made.body.Token)]).toEqual([
      "1",
      false,
    ]);
    expect(
      (await viewer("DELETE", `/cdb/tokens/${made.body.UUID}`, undefined, as(organization))).status,
    ).toBe(404);
    expect((await ada("DELETE", `/cdb/tokens/${made.body.UUID}`, undefined, as(organization))).status).toBe(
      204,
    );
    expect((await service("GET", "/cdb/users/me")).status).toBe(401);
    expect((await callerOf(casemate.url, `cm_st_${"A".repeat(32)}`)("GET", "/cdb/users/me")).status).toBe(
      401,
    );
  });
});
