// SPDX-License-Identifier: Apache-2.0
/**
 * Members. Whoever is taken out is out with the next call, whatever tokens they hold: nothing is kept of a
 * membership but its row. The party's row is locked while its administrators are counted, so that two
 * who take each other out do not leave it to nobody.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/identity/members.ts";
import {
  type Actor,
  acceptInvitation,
  inviteMember,
  type PartyKind,
  requireEmail,
} from "../../core/identity/index.ts";
import { append } from "../../core/journal/index.ts";
import type { Db, Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { IdentityDeps } from "./deps.ts";
import { type Reached, requireOwn, requireParty } from "./reach.ts";

type Needs = Pick<IdentityDeps, "db">;
type Contract = typeof contract.organizationMembers;
type Kind = Exclude<PartyKind, "user">;

const ORDERS = { Email: "email", Name: "name", CreatedAt: "created_at", Role: "role" };

interface Row {
  id: string;
  email: string;
  name: string;
  role: string;
  created_at: Date;
}

const partyOf = (kind: Kind, { params }: { params: { uuid: string } }) => ({
  ...{ kind, id: params.uuid.toLowerCase() },
});

/** Of a partner only its administrators change who belongs to it: an account manager must not promote themselves. */
async function requireManaged(db: Db, actor: Actor, wanted: { kind: Kind; id: string }): Promise<Reached> {
  const party = await requireParty(db, actor, wanted, "organization:write");
  if (wanted.kind === "channel_partner") requireOwn(party);
  return party;
}

const members = (party: string) => sql`
  select u.id, u.email, p.name, m.role, m.created_at from members m
  join users u on u.id = m.user_id join parties p on p.id = u.id and p.deleted_at is null
  where m.party_id = ${party}`;

export async function list(kind: Kind, { db }: Needs, call: Call<Contract["list"]>): Promise<Answer> {
  const party = await requireParty(db.soft, call.actor, partyOf(kind, call), "organization:read");
  const page = pageOf(call.query, ORDERS, "Email", "id");
  const { rows } = await sql<Row>`
    select * from (${members(party.id)}) m order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(
    db.soft,
  );
  const { rows: counted } = await sql<{ records: number }>`
    select count(*)::int as records from (${members(party.id)}) m`.execute(db.soft);
  return paged(rows.map(view), counted[0]!.records);
}

export async function invite(kind: Kind, { db }: Needs, call: Call<Contract["invite"]>): Promise<Answer> {
  const party = await requireManaged(db.run, call.actor, partyOf(kind, call));
  const email = requireEmail(call.body.Email);
  const { Role } = call.body;
  const made = await db.write(async (tx) => {
    const invitation = await inviteMember(tx, { party: party.id, email, role: Role });
    await note(tx, party, call.actor, "member.invited", { invitation: invitation.id, role: Role });
    return invitation;
  });
  const { rows } = await sql<InvitationRow>`${open(party.id)} and id = ${made.id}`.execute(db.run);
  return { status: 201, body: { ...viewInvitation(rows[0]!), Invitation: made.token } };
}

export async function change(kind: Kind, { db }: Needs, call: Call<Contract["change"]>): Promise<Answer> {
  const party = await requireManaged(db.run, call.actor, partyOf(kind, call));
  const user = call.params.user.toLowerCase();
  await db.write(async (tx) => {
    const role = await lockRole(tx, party.id, user);
    if (role === "administrator" && call.body.Role !== "administrator")
      await requireAnother(tx, party.id, user);
    await sql`
      update members set role = ${call.body.Role} where party_id = ${party.id} and user_id = ${user}`.execute(
      tx,
    );
    await note(tx, party, call.actor, "member.changed", { user, role: call.body.Role });
  });
  const { rows } = await sql<Row>`${members(party.id)} and u.id = ${user}`.execute(db.run);
  if (rows[0] === undefined) throw new Fault("member.not-found");
  return { status: 200, body: view(rows[0]) };
}

export async function remove(kind: Kind, { db }: Needs, call: Call<Contract["remove"]>): Promise<Answer> {
  const user = call.params.user.toLowerCase();
  const leaves = call.actor.kind === "user" && call.actor.id === user && !call.actor.service;
  const party = leaves
    ? await requireParty(db.run, call.actor, partyOf(kind, call), "organization:read")
    : await requireManaged(db.run, call.actor, partyOf(kind, call));
  // The operation asks for reading only, so that everybody may leave; what the token allows is asked here.
  if (!leaves && !call.actor.scopes.includes("organization:write"))
    throw new Fault("identity.scope", { scope: "organization:write" });
  await db.write(async (tx) => {
    if ((await lockRole(tx, party.id, user)) === "administrator") await requireAnother(tx, party.id, user);
    await sql`delete from members where party_id = ${party.id} and user_id = ${user}`.execute(tx);
    await note(tx, party, call.actor, "member.removed", { user });
  });
  return { status: 204 };
}

async function lockRole(tx: Tx, party: string, user: string): Promise<string> {
  await sql`select from parties where id = ${party} for update`.execute(tx);
  const { rows } = await sql<{ role: string }>`
    select role from members where party_id = ${party} and user_id = ${user}`.execute(tx);
  if (rows[0] === undefined) throw new Fault("member.not-found", { uuid: user });
  return rows[0].role;
}

async function requireAnother(tx: Tx, party: string, user: string): Promise<void> {
  const { rows } = await sql`
    select from members m join parties p on p.id = m.user_id and p.deleted_at is null
    where m.party_id = ${party} and m.role = 'administrator' and m.user_id <> ${user} limit 1`.execute(tx);
  if (rows.length === 0) throw new Fault("member.last-administrator");
}

interface InvitationRow {
  id: string;
  email: string;
  role: string;
  created_at: Date;
  expires_at: Date;
}

const open = (party: string) => sql`
  select id, email, role, created_at, expires_at from member_invitations
  where party_id = ${party} and accepted_at is null and expires_at > now()`;

export async function invitations(
  kind: Kind,
  { db }: Needs,
  call: Call<Contract["invitations"]>,
): Promise<Answer> {
  const party = await requireManaged(db.soft, call.actor, partyOf(kind, call));
  const { Name: _none, ...orders } = ORDERS;
  const page = pageOf(call.query, orders, "CreatedAt", "id");
  const { rows } = await sql<InvitationRow & { records: number }>`
    select *, (count(*) over ())::int as records from (${open(party.id)}) i
    order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db.soft);
  const all = async () => (await sql`${open(party.id)}`.execute(db.soft)).rows.length;
  return paged(rows.map(viewInvitation), rows[0]?.records ?? (await all()));
}

export async function withdraw(kind: Kind, { db }: Needs, call: Call<Contract["withdraw"]>): Promise<Answer> {
  const party = await requireManaged(db.run, call.actor, partyOf(kind, call));
  const { rows } = await sql`
    delete from member_invitations where id = ${call.params.invitation} and party_id = ${party.id} and accepted_at is null
    returning id`.execute(db.run);
  if (rows.length === 0) throw new Fault("member.not-found");
  return { status: 204 };
}

export async function accept({ db }: Needs, call: Call<typeof contract.acceptInvitation>): Promise<Answer> {
  const { actor } = call;
  if (actor.kind !== "user" || actor.service) throw new Fault("identity.scope", { scope: "of a person" });
  const { party } = await acceptInvitation(db.run, call.body.Invitation, actor.id);
  return { status: 200, body: { UUID: party } };
}

const note = (tx: Tx, party: Reached, actor: Actor, type: string, facts: Record<string, unknown>) =>
  append(tx, { account: party.account_id, type, subject: party.id, payload: { by: actor.id, ...facts } });

const view = (row: Row) => ({
  ...{ UUID: row.id, Email: row.email, Name: row.name, Role: row.role },
  CreatedAt: row.created_at.toISOString(),
});

const viewInvitation = (row: InvitationRow) => ({
  ...{ UUID: row.id, Email: row.email, Role: row.role },
  CreatedAt: row.created_at.toISOString(),
  ExpiresAt: row.expires_at.toISOString(),
});
