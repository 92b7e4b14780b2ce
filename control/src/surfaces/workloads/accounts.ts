// SPDX-License-Identifier: Apache-2.0
/** Accounts of this surface: the operator opens and credits them; a key sees its own. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type {
  addBalance,
  addCredits,
  createAccount,
  getAccount,
  getMe,
  listAccounts,
  listPayments,
  updateAccount,
} from "#contract/workloads/accounts.ts";
import { openNamedAccount } from "../../core/identity/index.ts";
import {
  credit,
  creditClauses,
  listCredits,
  MICROS_PER_USD,
  toMicros,
  toUnits,
} from "../../core/ledger/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps, WorkloadsConfig } from "./deps.ts";

type Needs = Pick<Deps, "db" | "workloads">;

interface AccountRow {
  id: string;
  name: string | null;
  email: string | null;
  wallet_address: string | null;
  created_at: Date;
  isolation: string | null;
  launch_approval: string;
  balance: number;
  burn: number;
}

const SELECT = sql`
  select a.id, a.name, a.email, a.wallet_address, a.created_at, a.isolation, a.launch_approval, coalesce(b.balance_micros, 0) as balance,
    (select coalesce(sum(m.rate_micros_per_min), 0)::bigint from meters m
      where m.account_id = a.id and m.state = 'running') as burn
  from accounts a left join balances b on b.account_id = a.id`;

export async function create(deps: Needs, call: Call<typeof createAccount>): Promise<Answer> {
  const { name, credits = 0, balance = 0, walletAddress } = call.body;
  const micros =
    microsOf(credits, deps.workloads.microsPerCredit, "credits") +
    microsOf(balance, MICROS_PER_USD, "balance");
  const { accountId, key } = await openNamedAccount(deps.db.run, {
    name,
    jurisdiction: deps.workloads.jurisdiction,
    walletAddress: walletAddress ?? null,
  });
  if (micros > 0)
    await credit(deps.db.run, { account: accountId, kind: "credit", amountMicros: micros, reference: null });
  return { status: 201, body: { ...(await show(deps, accountId)), apiToken: key } };
}

export async function list(deps: Needs, _call: Call<typeof listAccounts>): Promise<Answer> {
  const { rows } = await sql<AccountRow>`${SELECT} order by a.created_at, a.id limit 1000`.execute(
    deps.db.soft,
  );
  return { status: 200, body: rows.map((row) => view(row, deps.workloads)) };
}

export async function get(deps: Needs, call: Call<typeof getAccount>): Promise<Answer> {
  return { status: 200, body: await show(deps, ownOrAny(call, call.params.id)) };
}

export async function update(deps: Needs, call: Call<typeof updateAccount>): Promise<Answer> {
  const id = ownOrAny(call, call.body.accountId);
  const { isolation, launchApproval } = call.body;
  if (isolation !== undefined || launchApproval !== undefined) requireMaySetRules(call);
  const { rows } = await sql`
    update accounts set name = ${call.body.name}, isolation = ${isolation === undefined ? sql`isolation` : sql`${isolation}::text`},
      launch_approval = coalesce(${launchApproval ?? null}, launch_approval), wallet_address = coalesce(${call.body.walletAddress ?? null}, wallet_address)
    where id = ${id} returning id`.execute(deps.db.run);
  if (rows.length === 0) throw new Fault("account.not-found");
  return { status: 200, body: await show(deps, id) };
}

/** A narrow key that was stolen changes what runs, and not by which rule that gets the old disk. */
function requireMaySetRules({ principal }: Call<typeof updateAccount>): void {
  const { account, scopes } = principal!;
  const may = account === null || scopes.includes("workloads:*") || scopes.includes("workloads:approve");
  if (!may) throw new Fault("identity.scope", { scope: "workloads:approve" });
}

export const creditAccount = (deps: Needs, call: Call<typeof addCredits>): Promise<Answer> =>
  add(deps, call, microsOf(call.body.credits, deps.workloads.microsPerCredit, "credits"));
export const payAccount = (deps: Needs, call: Call<typeof addBalance>): Promise<Answer> =>
  add(deps, call, microsOf(call.body.balance, MICROS_PER_USD, "balance"));

/** Counted in the statement that remembers the Idempotency-Key: a repeat after a crash credits nothing again. */
async function add(
  deps: Needs,
  { body: { accountId: account }, once }: Call<typeof addCredits> | Call<typeof addBalance>,
  amountMicros: number,
): Promise<Answer> {
  if (amountMicros <= 0) throw new Fault("request.invalid", { detail: "less than a micro-dollar" });
  await show(deps, account);
  const gain = { account, kind: "credit", amountMicros, reference: null } as const;
  await sql`
    with ${once}, ${creditClauses(gain, sql`exists (select from once)`)} select from credited`.execute(
    deps.db.run,
  );
  return { status: 200, body: await show(deps, account) };
}

export async function me(deps: Needs & Pick<Deps, "fleet">, call: Call<typeof getMe>): Promise<Answer> {
  const account = await show(deps, call.account.id);
  const { rows } = await sql<Record<"workloads" | "cpus" | "memoryMb" | "diskGb" | "gpus", number>>`
    select count(*)::int as workloads,
      coalesce(sum(w.cpus) filter (where m.holds_compute), 0)::int as cpus,
      coalesce(sum(w.memory_mb) filter (where m.holds_compute), 0)::int as "memoryMb",
      coalesce(sum(w.disk_gb), 0)::int as "diskGb",
      coalesce(sum(w.gpus) filter (where m.holds_compute), 0)::int as gpus
    from workloads w join machines m on m.id = w.machine_id
    where w.account_id = ${call.account.id} and w.deleted_at is null`.execute(deps.db.soft);
  // But for the disk no limit of an account's own is set: it can have what the hosts have, and its money covers.
  const room = deps.fleet.facts().flatMap(({ kept }) => (kept === undefined ? [] : [kept]));
  const sum = (of: (one: (typeof room)[number]) => number) => room.reduce((total, one) => total + of(one), 0);
  return {
    status: 200,
    body: {
      ...account,
      usage: rows[0]!,
      limits: {
        workloads: Math.floor(sum(({ cpuMillis }) => cpuMillis) / 1000),
        cpus: Math.floor(sum(({ cpuMillis }) => cpuMillis) / 1000),
        memoryMb: sum(({ memoryMiB }) => memoryMiB),
        diskGb: Math.min(
          Math.floor(sum(({ diskMiB }) => diskMiB) / 1024),
          deps.workloads.diskGbPerAccount ?? Number.MAX_SAFE_INTEGER,
        ),
        gpus: 0,
        requestsPerMinute: deps.workloads.requestsPerMinute,
      },
    },
  };
}

export async function payments(deps: Needs, call: Call<typeof listPayments>): Promise<Answer> {
  const rows = await listCredits(deps.db.soft, call.account.id, { limit: 1000 });
  return {
    status: 200,
    body: rows.map((row) => ({
      paymentId: String(row.id),
      credits: toUnits(row.amountMicros, deps.workloads.microsPerCredit),
      balance: toUnits(row.amountMicros, MICROS_PER_USD),
      reference: row.reference,
      createdAt: row.at.toISOString(),
    })),
  };
}

/** The operator may name any account; a key only its own, and hears of no other. */
export function ownOrAny(call: Call, id: string): string {
  if (call.principal!.account === null || call.principal!.account.id === id) return id;
  throw new Fault("account.not-found");
}

async function show(deps: Needs, id: string) {
  const { rows } = await sql<AccountRow>`${SELECT} where a.id = ${id}`.execute(deps.db.run);
  if (rows[0] === undefined) throw new Fault("account.not-found");
  return view(rows[0], deps.workloads);
}

function microsOf(units: number, microsPerUnit: number, member: string): number {
  const micros = toMicros(units, microsPerUnit);
  if (micros === null)
    throw new Fault("request.invalid", { detail: `${member} is no amount of micro-dollars` });
  return micros;
}

const view = (row: AccountRow, { microsPerCredit }: WorkloadsConfig) => ({
  accountId: row.id,
  name: row.name ?? row.email ?? "",
  createdAt: row.created_at.toISOString(),
  credits: toUnits(row.balance, microsPerCredit),
  balance: toUnits(row.balance, MICROS_PER_USD),
  creditRate: toUnits(row.burn, microsPerCredit),
  burnRatePerMin: toUnits(row.burn, MICROS_PER_USD),
  ...(row.wallet_address === null ? {} : { walletAddress: row.wallet_address }),
  ...{ isolation: row.isolation, launchApproval: row.launch_approval },
});
