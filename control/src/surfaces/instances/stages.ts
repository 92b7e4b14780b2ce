// SPDX-License-Identifier: Apache-2.0
/**
 * When the last start of an instance passed each stage, by the database's clock. A stage is noted once a start: what is asked again, as
 * secrets are, passed it the first time. They are shown when the start is through, so that a record changes with its version alone.
 *
 *   wished ─▶ placed (its host began) ─▶ booted (its machine waits for its claim) ─▶ attested ─▶ claimed (its claim is sealed) ─▶ ready (confirm.ts)
 */
import { type RawBuilder, sql } from "kysely";
import type { Db } from "../../database/open.ts";

const STAGES = ["wished", "placed", "booted", "attested", "claimed", "ready"] as const;
export type Stage = (typeof STAGES)[number];
/** Milliseconds since 1970; those that nobody saw are not there. */
export type Stages = Partial<Record<Stage, number>>;

const AT = sql`floor(extract(epoch from clock_timestamp()) * 1000)::bigint`;

/** Of a row `i`: a new start was wished for. */
export const WISHED = sql`stages = jsonb_build_object('wished', ${AT})`;

/** Of a row `i`, where it was not passed yet. */
export const passed = (stage: Stage): RawBuilder<unknown> =>
  sql`stages = jsonb_build_object(${stage}::text, ${AT}) || i.stages`;

export async function pass(db: Db, instance: string, stage: Stage): Promise<void> {
  await sql`update instances i set ${passed(stage)} where id = ${instance} and not i.stages ? ${stage}`.execute(
    db,
  );
}

const NAMES = {
  ...{
    placed: "queued_ms",
    booted: "booted_ms",
    attested: "attested_ms",
    claimed: "claimed_ms",
    ready: "ready_ms",
  },
} as const;

export interface Timings {
  queued_ms: number | null;
  booted_ms: number | null;
  attested_ms: number | null;
  claimed_ms: number | null;
  ready_ms: number | null;
  total_ms: number | null;
}

/** How long each stage took. Null: none of it is known yet. */
export function timingsOf({ stages, created_at }: { stages: Stages; created_at: Date }): Timings | null {
  if (stages.ready === undefined) return null;
  const all: Stages = { ...stages, wished: stages.wished ?? created_at.getTime() };
  const between = (from: Stage, to: Stage) => {
    const [start, end] = [all[from], all[to]];
    // A clock that was set back has measured nothing.
    return start === undefined || end === undefined || end < start ? null : end - start;
  };
  const steps = STAGES.slice(1).map((stage, n) => [
    NAMES[stage as keyof typeof NAMES],
    between(STAGES[n]!, stage),
  ]);
  return { ...Object.fromEntries(steps), total_ms: between("wished", "ready") } as Timings;
}
