// SPDX-License-Identifier: Apache-2.0
/**
 * Who × as what × which operation, over every operation that takes a token and names a permission. What is
 * expected stands here once more, by hand: a slip in levels.ts must not move the expectation with it.
 */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DEVICES } from "#contract/devices/index.ts";
import { IDENTITY } from "#contract/identity/index.ts";
import { MODELS } from "#contract/models/index.ts";
import type { Operation } from "#contract/operation.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { type Person, registerProgram } from "#testing/people.ts";

const EVERYTHING = [
  ...["organization:read", "organization:write", "models:read", "models:write", "devices:health"],
  ...["devices:read", "devices:write", "subscriptions:read", "subscriptions:write"],
];
const LOOKING = ["organization:read", "models:read", "devices:health", "devices:read"];
const MONEY = ["organization:read", "subscriptions:read", "subscriptions:write"];
/** Who they are to the organization → what they may do acting for it; null: they are nobody. */
const EXPECTED: Record<string, string[] | null> = {
  administrator: EVERYTHING,
  operator: [...LOOKING, "models:write", "devices:write", "subscriptions:read"],
  viewer: LOOKING,
  stranger: null,
  "another tenant's client": null,
  "partner's administrator, organization administrator": EVERYTHING,
  "partner's administrator, health monitor": ["organization:read", "devices:health"],
  "partner's administrator, subscriptions": MONEY,
  "partner's accountant, organization administrator": MONEY,
  "partner's accountant, health monitor": ["organization:read"],
  "partner's account manager, health monitor": ["organization:read", "devices:health"],
  "administrator of a partner without access": null,
};

let casemate: Installation;
let organization: string;
const callers = new Map<string, Caller>();
const people = new Map<string, Caller & Person>();
beforeAll(async () => {
  casemate = await startInstallation({
    ...{ withHost: false, config: { identity: { requestsPerMinute: null } } },
  });
  const admin = callerOf(casemate.url, casemate.adminKey);
  const program = await registerProgram(casemate.url, casemate.adminKey);
  const founder = await casemate.person(program);
  organization = (await founder("POST", "/cdb/organizations", { Name: "Acme" })).body.UUID;
  const name = (who: string, person: Caller & Person) => {
    callers.set(who, person);
    people.set(who, person);
  };
  name("administrator", founder);
  for (const Role of ["operator", "viewer"]) {
    const person = await casemate.person(program);
    const ask = { Email: person.email, Role };
    const { body } = await founder("POST", `/cdb/organizations/${organization}/members`, ask);
    await person("POST", "/cdb/invitations/accept", { Invitation: body.Invitation });
    name(Role, person);
  }
  name("stranger", await casemate.person(program));
  callers.set("another tenant's client", await casemate.tenant("other"));
  const LEVELS = {
    "organization administrator": "organization_administrator",
    "health monitor": "system_health_monitor",
    subscriptions: "subscription_service_manager",
  };
  for (const [level, AccessLevel] of [...Object.entries(LEVELS), [null, null]] as const) {
    const ask = { name: `Partner ${level}`, administrator_email: "p@example.com" };
    const made = (await admin("POST", "/platform/v1/channel-partners", ask)).body;
    const head = await casemate.person(program);
    await head("POST", "/cdb/invitations/accept", { Invitation: made.invitation });
    if (level === null) {
      name("administrator of a partner without access", head);
      continue;
    }
    const path = `/cdb/organizations/${organization}/channel_partners/${made.channel_partner_id}`;
    expect((await founder("PUT", path, { AccessLevel })).status).toBe(200);
    name(`partner's administrator, ${level}`, head);
    for (const [Role, called] of [
      ["accountant", "accountant"],
      ["account_manager", "account manager"],
    ]) {
      const who = `partner's ${called}, ${level}`;
      if (EXPECTED[who] === undefined) continue;
      const person = await casemate.person(program);
      const members = `/cdb/channel_partners/${made.channel_partner_id}/members`;
      const { body } = await head("POST", members, { Email: person.email, Role });
      await person("POST", "/cdb/invitations/accept", { Invitation: body.Invitation });
      name(who, person);
    }
  }
}, 60_000);
afterAll(() => casemate[Symbol.asyncDispose]());

// Founding is for nobody who acts for an organization, whatever they may do in it.
const SCOPED = [...IDENTITY, ...MODELS, ...DEVICES].filter(
  ({ access, scope, id }) =>
    access === "bearer" && scope !== undefined && id !== "identity.organizations.create",
);

/** Status and code; a stream that begins is let go. */
async function outcome(caller: Caller, operation: Operation, headers: Record<string, string>) {
  const stop = new AbortController();
  const body = operation.example?.body;
  const reply = await fetch(casemate.url + operation.path.replaceAll(/:\w+/g, () => randomUUID()), {
    ...{ method: operation.method, signal: stop.signal },
    headers: {
      ...{ authorization: `Bearer ${caller.key}`, "content-type": "application/json" },
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  // The answer to HEAD has no body to read a code from.
  const told = reply.status === 403 && operation.method !== "HEAD";
  const code = told ? ((await reply.json()) as { Code: string }).Code : "";
  stop.abort();
  return { status: reply.status, code };
}

it("knows every operation's permission", () => {
  for (const { id, scope } of SCOPED) expect([id, EVERYTHING.includes(scope!)]).toEqual([id, true]);
});

describe.each(Object.entries(EXPECTED))("%s", (who, expected) => {
  it.each(SCOPED.map((operation) => [operation.id, operation] as const))("%s", async (_id, operation) => {
    const headers = { "x-act-as-kind": "organization", "x-act-as-id": organization };
    const { status, code } = await outcome(callers.get(who)!, operation, headers);
    const allowed = expected?.includes(operation.scope!) ?? false;
    expect(status === 403).toBe(!allowed);
    if (!allowed && operation.method !== "HEAD")
      expect(code).toBe(expected === null ? "identity.not-a-member" : "identity.scope");
    expect(status).not.toBe(401);
    expect(status).toBeLessThan(500);
  });
});

describe("in their own name", () => {
  it.each(["stranger", "administrator of a partner without access", "another tenant's client"])(
    "a %s finds nothing of an organization that is not theirs, by any operation",
    async (who) => {
      const caller = callers.get(who)!;
      const stranger = people.get("viewer")!.userId;
      for (const operation of IDENTITY.filter(({ path }) => path.startsWith("/cdb/organizations/:uuid"))) {
        const path = operation.path.replace(":uuid", organization).replaceAll(/:\w+/g, () => stranger);
        const { status, body } = await caller(operation.method, path, operation.example?.body);
        expect([operation.id, status, body.Code]).toEqual([operation.id, 404, "organization.not-found"]);
      }
      for (const path of ["/cdb/organizations", "/cdb/channel_partners", "/cdb/tokens"])
        expect((await caller("GET", path)).text).not.toContain(organization);
    },
  );

  it("nobody acts as another person, or as a partner of which they are nobody", async () => {
    const { userId } = people.get("administrator")!;
    for (const [who, caller] of callers) {
      if (who === "administrator") continue;
      const headers = { "x-act-as-kind": "user", "x-act-as-id": userId };
      const { status, body } = await caller("GET", "/cdb/users/me", undefined, headers);
      expect([who, status, body.Code]).toEqual([who, 403, "identity.not-a-member"]);
    }
  });
});
