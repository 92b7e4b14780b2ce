// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Residues } from "#contract/link/residues.ts";
import { verifyProof } from "#evidence/proofs/verify.ts";
import type { RecordingControl } from "#testing/recording-control.ts";
import { residueDesk } from "./residues.ts";
import { cdpOf, control, host, runMachine, scratch } from "./testing.ts";

const ROWS = "rows holding bodies";

async function endWith(residues: RecordingControl["residues"]) {
  const folder = scratch();
  const recording = await control(folder);
  await host(folder);
  const { end } = await runMachine(recording, await recording.joined());
  recording.residues = residues;
  const observation = await end();
  expect(verifyProof(Buffer.from(observation.ended!.proof)).checks.signature).toBe(true);
  const { evidence } = cdpOf(observation);
  const named = (list: { name: string }[]) => list.find(({ name }) => name === ROWS);
  return {
    failed: evidence[7].measured.failed_steps,
    probe: named(evidence[5].measured.probes),
    skipped: [...evidence[4].skipped, ...evidence[5].skipped].map(({ name }: { name: string }) => name),
  };
}

test("rows that control found fail step 6, keys step 5, and nothing is said to be unasked", async () => {
  const clean = await endWith(async () => ({ rows: 0, keys: 0 }));
  expect(clean).toEqual({
    failed: [],
    probe: { name: ROWS, expected: "0 found", observed: "0 found", ok: true },
    skipped: [],
  });
  expect(await endWith(async () => ({ rows: 3, keys: 0 }))).toMatchObject({
    failed: [6],
    probe: { observed: "3 found", ok: false },
  });
  expect(await endWith(async () => ({ rows: 0, keys: 1 }))).toMatchObject({ failed: [5] });
});

test.each([
  ["refuses", () => Promise.reject(new Error("the rows are locked"))],
  ["never answers", () => new Promise<Residues>(() => {})],
  ["answers nonsense", async () => ({ rows: -1, keys: 0 })],
])(
  "a control that %s keeps no machine from its proof, which says what was not looked for",
  async (_how, residues) => {
    expect(await endWith(residues)).toEqual({ failed: [], probe: undefined, skipped: ["tokens", ROWS] });
  },
);

test("control is asked for few machines at once, and each question has its answer", async () => {
  let open = 0;
  let most = 0;
  const ask = residueDesk(async ({ machineId }) => {
    most = Math.max(most, ++open);
    await sleep(1);
    open--;
    if (machineId === "7") throw new Error("unknown");
    return { rows: Number(machineId), keys: 0 };
  });
  const answers = await Promise.all(Array.from({ length: 200 }, (_, at) => ask(String(at))));
  expect(answers).toEqual(answers.map((_, at) => (at === 7 ? null : { rows: at, keys: 0 })));
  expect(most).toBe(32);
});
