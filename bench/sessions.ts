// SPDX-License-Identifier: Apache-2.0
/**
 * What a session costs, as ratios to what the machine itself asks for. The samples of a ratio are
 * taken in turns (one of ours, one bare), so a busy neighbour slows both, and medians are compared.
 * Durations are for reading; only the ratios have goals, because only they mean the same elsewhere.
 */

import { settledExcess, takeInventory, takeRested, weighTree } from "./inventory.ts";
import { type Bare, type Live, startBare, startLive } from "./live.ts";
import { benchVerify } from "./verify.ts";

export interface Line {
  name: string;
  ratio: number;
  goal: number;
  /** `most`: good is at or below the goal; `least`: at or above. */
  sense: "most" | "least";
  ok: boolean;
  /** The durations or sizes behind the ratio. */
  detail: string;
}

interface Effort {
  samples: number;
  many: number;
  samplesMany: number;
  cycles: number;
  weighed: number;
}

const WHOLE: Effort = { samples: 150, many: 1000, samplesMany: 60, cycles: 500, weighed: 200 };
const QUICK: Effort = { samples: 50, many: 200, samplesMany: 25, cycles: 60, weighed: 60 };
const FEW = 10;
const AT_ONCE = 8;

export async function benchSessions(options: { quick: boolean; onLine(line: Line): void }): Promise<Line[]> {
  const effort = options.quick ? QUICK : WHOLE;
  const lines: Line[] = [];
  const say = (line: Line) => {
    lines.push(line);
    options.onLine(line);
  };
  await using bare = startBare();
  await using live = await startLive();
  await cycles(live, 20);

  for (const line of await oneSession(live, bare, effort)) say(line);
  say(await nothingLeft(live, effort));
  say(await weight(live, bare, effort));
  say(await manyLive(live, effort));
  say(await verifying());
  return lines;
}

async function oneSession(live: Live, bare: Bare, { samples }: Effort): Promise<Line[]> {
  const [sandbox, entry, create, exec, destroy, whole] = Array.from({ length: 6 }, (): number[] => []) as [
    ...Array<number[]>,
  ] as [number[], number[], number[], number[], number[], number[]];
  for (let index = 0; index < samples; index++) {
    // Both before the session: what a host does behind a create (a spare for the next) then falls on our own samples.
    sandbox.push(await bare.ask({ kind: "sandbox" }));
    entry.push(await bare.ask({ kind: "entry" }));
    const made = await live.create();
    const ran = await live.exec(made.value, "true");
    if (ran.value.exit_code !== 0) throw new Error(`exec answered ${JSON.stringify(ran.value)}`);
    const ended = await live.destroy(made.value);
    requireProof(ended.value);
    create.push(made.ms);
    exec.push(ran.ms);
    destroy.push(ended.ms);
    whole.push(made.ms + ran.ms + ended.ms);
  }
  const told = (ours: number[], theirs: number[]) => `${both(ours)} over ${both(theirs)}`;
  return [
    most("create / bare bwrap", p50(create) / p50(sandbox), 2, told(create, sandbox)),
    most("exec true / cold hardened entry", p50(exec) / p50(entry), 2, told(exec, entry)),
    most(
      "create + exec + destroy + proof / bare bwrap",
      p50(whole) / p50(sandbox),
      5,
      `${told(whole, sandbox)}; destroy ${both(destroy)}`,
    ),
  ];
}

/** The few are sampled before and after the many, so that a drift of the machine falls on both. */
async function manyLive(live: Live, { many, samplesMany }: Effort): Promise<Line> {
  const few = await open(live, FEW);
  const withFew = await creates(live, samplesMany);
  const rest = await open(live, many - FEW);
  const { creates: made, destroys } = await creates(live, samplesMany);
  await close(live, rest);
  const after = await creates(live, samplesMany);
  await close(live, few);
  const base = [...withFew.creates, ...after.creates];
  const baseEnd = [...withFew.destroys, ...after.destroys];
  return most(
    `create with ${many} live / with ${FEW}`,
    p50(made) / p50(base),
    1.3,
    `${both(made)} over ${both(base)}; destroy ${both(destroys)} over ${both(baseEnd)}`,
  );
}

async function creates(live: Live, samples: number): Promise<{ creates: number[]; destroys: number[] }> {
  const made: number[] = [];
  const ended: number[] = [];
  for (let index = 0; index < samples; index++) {
    const { ms, value } = await live.create();
    made.push(ms);
    ended.push((await live.destroy(value)).ms);
  }
  return { creates: made, destroys: ended };
}

async function nothingLeft(live: Live, { cycles: count }: Effort): Promise<Line> {
  const take = () => takeInventory(live.pid, live.state);
  const before = await takeRested(take);
  const from = performance.now();
  await cycles(live, count);
  const perSecond = count / ((performance.now() - from) / 1000);
  const found = await settledExcess(before, take);
  const left = found.reduce((sum, each) => sum + Number(each.split(" ")[0]), 0);
  const detail = found.length === 0 ? "nothing left" : found.join(", ");
  return most(
    `left behind by ${count} cycles`,
    left,
    0,
    `${detail}; ${perSecond.toFixed(0)} cycles/s, ${AT_ONCE} at once`,
  );
}

/** All of ours (every part and sandbox) grown by the sessions, against the same sandboxes held bare. */
async function weight(live: Live, bare: Bare, { weighed }: Effort): Promise<Line> {
  const bareBefore = weighTree(bare.pid);
  await bare.ask({ kind: "hold", count: weighed });
  // Programs that were just started have not mapped everything they will.
  await new Promise((resolve) => setTimeout(resolve, 500));
  const bareEach = (weighTree(bare.pid) - bareBefore) / weighed;
  await bare.ask({ kind: "hold", count: 0 });
  const before = weighTree(live.pid);
  const sessions = await open(live, weighed);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const each = (weighTree(live.pid) - before) / weighed;
  await close(live, sessions);
  const beyond = Math.max(0, each - bareEach);
  const detail = `${each.toFixed(2)} MiB a session, ${bareEach.toFixed(2)} MiB a bare sandbox (PSS)`;
  return most(`MiB a session beyond the bare sandbox, ${weighed} live`, beyond, 2, detail);
}

async function verifying(): Promise<Line> {
  const { ratio, lines } = await benchVerify();
  return {
    name: "verify / its cryptography",
    ratio,
    goal: 0.7,
    sense: "least",
    ok: ratio >= 0.7,
    detail: lines.slice(1, 3).join("; "),
  };
}

/** Sessions made and destroyed, a few at a time. */
export async function cycles(live: Live, count: number): Promise<void> {
  await atOnce(count, async () => {
    const { value } = await live.create();
    requireProof((await live.destroy(value)).value);
  });
}

export async function open(live: Live, count: number): Promise<string[]> {
  const sessions: string[] = [];
  await atOnce(count, async () => {
    sessions.push((await live.create()).value);
  });
  return sessions;
}

export async function close(live: Live, sessions: readonly string[]): Promise<void> {
  const left = [...sessions];
  await atOnce(sessions.length, async () => {
    requireProof((await live.destroy(left.pop()!)).value);
  });
}

async function atOnce(count: number, work: () => Promise<void>): Promise<void> {
  let left = count;
  const worker = async () => {
    while (left-- > 0) await work();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** A fast answer that is not a whole proof of a whole teardown would be no answer. */
function requireProof(body: Record<string, unknown>): void {
  const cdp = body.cdp as
    | { evidence?: { measured: { outcome?: string } }[]; attestation?: object }
    | undefined;
  const outcome = cdp?.evidence?.[7]?.measured.outcome;
  if (outcome !== "complete" || cdp?.attestation === undefined)
    throw new Error(`the destroy answered with ${outcome ?? "no proof"}`);
}

const most = (name: string, ratio: number, goal: number, detail: string): Line => ({
  name,
  ratio,
  goal,
  sense: "most",
  ok: ratio <= goal,
  detail,
});

const quantile = (values: number[], at: number) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * at))]!;
const p50 = (values: number[]) => quantile(values, 0.5);
const both = (values: number[]) => `${p50(values).toFixed(1)} ms (p95 ${quantile(values, 0.95).toFixed(1)})`;
