// SPDX-License-Identifier: Apache-2.0
/**
 * The ingress process: a uid of its own, no capability but for low ports, and nothing to read but its
 * program. It takes orders on its standard input, and ends when that does: what is under way may finish,
 * and nothing new is taken.
 *
 * The attacker is anybody who can connect, and takes this process over by a flaw in what reads their
 * bytes. They then have the keys of the names that were asked for, and the traffic of all of them; not
 * the authority's key, not the engine, not the host's records.
 */
import { closeInherited } from "#confine/inherited.ts";
import { type Ingress, startIngress } from "./ingress.ts";
import { readLines } from "./lines.ts";
import type { AttesterAnswer, IngressEvent, Order, ServedLeaf, Word } from "./messages.ts";

/** Every route of a host in one order. */
const ORDER_BYTES_MAX = 64 * 1024 * 1024;
/** The host makes a key in milliseconds; it may have much to do. */
const ANSWER_MS = 20_000;

/** Of each kind. */
const QUESTIONS_A_SECOND_MAX = 250;
const EVENTS_A_SECOND_MAX = 50;

closeInherited();
const say = (word: Word) => void process.stdout.write(`${JSON.stringify(word)}\n`);
const inShort = (text: string) => text.slice(0, 1_000);

/** What strangers have us say: the host ends a process that says too much (life.ts, A), which they must not cause. */
class Budget {
  readonly #aSecondMax: number;
  #second = 0;
  #spent = 0;

  constructor(aSecondMax: number) {
    this.#aSecondMax = aSecondMax;
  }

  get isSpent(): boolean {
    const second = Math.floor(performance.now() / 1_000);
    if (second !== this.#second) [this.#second, this.#spent] = [second, 0];
    return ++this.#spent > this.#aSecondMax;
  }
}

/** Questions under way, by number. */
class Questions<T> {
  readonly #waiting = new Map<number, (answer: T | null) => void>();
  readonly #budget = new Budget(QUESTIONS_A_SECOND_MAX);
  #last = 0;

  ask(put: (id: number) => void): Promise<T | null> {
    if (this.#budget.isSpent) return Promise.resolve(null);
    const id = ++this.#last;
    const { promise, resolve } = Promise.withResolvers<T | null>();
    const late = setTimeout(() => this.answered(id, null), ANSWER_MS);
    this.#waiting.set(id, (answer) => {
      clearTimeout(late);
      resolve(answer);
    });
    put(id);
    return promise;
  }

  answered(id: number, answer: T | null): void {
    this.#waiting.get(id)?.(answer);
    this.#waiting.delete(id);
  }
}

const events = new Budget(EVENTS_A_SECOND_MAX);
const leaves = new Questions<ServedLeaf>();
const attested = new Questions<AttesterAnswer>();
const proved = new Questions<string>();
let ingress: Promise<Ingress> | undefined;

async function open({ routes, ...where }: Extract<Order, { op: "open" }>): Promise<Ingress> {
  const started = await startIngress({
    ...where,
    routes,
    log: (event: IngressEvent, facts) => {
      if (events.isSpent) return;
      const short = Object.fromEntries(Object.entries(facts).map(([name, fact]) => [name, inShort(fact)]));
      say({ said: "event", event, facts: short });
    },
    findLeaf: (domain) => leaves.ask((id) => say({ said: "leaf", id, domain })),
    prove: (domain, token) => proved.ask((id) => say({ said: "prove", id, domain, token })),
    attester: async (ask) => {
      const answer = await attested.ask((id) => say({ said: "attest", id, ask }));
      if (answer === null) throw new Error("the host did not answer");
      return answer;
    },
  });
  say({ said: "listening", httpPort: started.httpPort, httpsPort: started.httpsPort });
  return started;
}

async function obey(order: Order): Promise<void> {
  if (order.op === "leaf") return leaves.answered(order.id, order.leaf);
  if (order.op === "attested") return attested.answered(order.id, order.answer);
  if (order.op === "proved") return proved.answered(order.id, order.proof);
  if (order.op === "renewed") return (await ingress)?.renewed(order.domain);
  if (order.op === "open") {
    ingress = open(order);
    await ingress;
    return;
  }
  (await ingress)?.setRoutes(order.routes);
  say({ said: "routes", id: order.id });
}

const end = (why: unknown) => {
  say({ said: "deaf", why: inShort(why instanceof Error ? why.message : String(why)) });
  process.stdin.pause();
  process.exitCode = 1;
  setImmediate(() => process.exit());
};

// The host is gone; its end of our input says so too.
process.stdout.on("error", () => {});
for (const signal of ["SIGINT", "SIGHUP", "SIGUSR2"] as const) process.on(signal, () => {});
readLines(
  process.stdin,
  ORDER_BYTES_MAX,
  (line) => void obey(JSON.parse(line) as Order).catch(end),
  () => end("an order that is too long"),
);
process.stdin.on("end", async () => {
  await (await ingress)?.close();
  process.exit(0);
});
