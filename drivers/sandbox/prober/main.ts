// SPDX-License-Identifier: Apache-2.0
/**
 * The prober: one resident process for all machines of a host, with a uid of its own and two
 * capabilities (to look into /proc, to read folders). It changes nothing and is asked over its own
 * standard input; whoever clears a session's files is not the one who says that they are clear.
 */
import { createInterface } from "node:readline";
import { listPids, mountLines } from "../process-table.ts";
import { readFirst } from "./first.ts";
import type { Question, ScanAnswer, ScanQuestion, WatchQuestion } from "./question.ts";
import { readBack } from "./read-back.ts";
import { scan } from "./scan.ts";
import { Watches } from "./watches.ts";

type Asked<Q extends Question> = Q & { id: number };

const say = (id: number, answer: unknown) => process.stdout.write(`${JSON.stringify({ id, answer })}\n`);
const fail = (id: number, error: unknown) =>
  process.stdout.write(`${JSON.stringify({ id, error: (error as Error).message })}\n`);

// A process that ends under a look is an error caught, many in each pass; nobody reads where it was thrown.
Error.stackTraceLimit = 0;

const watches = new Watches();
let waiting: Asked<ScanQuestion>[] = [];
let scanning = false;

async function scanWaiting(): Promise<void> {
  if (scanning) return;
  scanning = true;
  while (waiting.length > 0) {
    const batch = waiting.filter(({ watched }) => watched === null || watches.knows(watched));
    for (const lost of waiting.filter((each) => !batch.includes(each)))
      fail(lost.id, new Error("the watches died with who set them"));
    waiting = [];
    try {
      const answers: ScanAnswer[] = await scan(batch, watches);
      for (const [index, { id }] of batch.entries()) say(id, answers[index]);
    } catch (error) {
      for (const { id } of batch) fail(id, error);
    }
    // Lets the lines that came meanwhile be read, so that they join the next pass.
    await new Promise((resolve) => setImmediate(resolve));
  }
  scanning = false;
}

const watch = async ({ pid, fds }: WatchQuestion) => ({ watched: await watches.watch(pid, fds) });

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const asked = JSON.parse(line) as Asked<Question>;
  if (asked.kind === "scan") {
    waiting.push(asked);
    setImmediate(() => void scanWaiting());
  } else if (asked.kind === "first") {
    try {
      say(asked.id, readFirst(asked));
    } catch (error) {
      fail(asked.id, error);
    }
  } else if (asked.kind === "read-back" || asked.kind === "watch") {
    const answered = asked.kind === "watch" ? watch(asked) : readBack(asked);
    answered.then(
      (answer) => say(asked.id, answer),
      (error) => fail(asked.id, error),
    );
  } else say(asked.id, { processes: listPids().length, mounts: mountLines("self")?.length ?? 0 });
});
// The driver is gone.
lines.on("close", () => process.exit(0));
