// SPDX-License-Identifier: Apache-2.0
/**
 * A conversation with one QEMU over its control socket. Who may be at the other end: a QEMU of ours, one that
 * a guest has taken over, or, where a folder was left open, anybody. So:
 *
 *  A. Every line is bounded, is JSON, and is one of four messages; an answer fits its command's schema.
 *     Anything else ends the conversation, and everything that waits is told `gone`.
 *  B. A command has a time. An answer that comes after it is known by its id and dropped.
 *  C. Faults are values: a caller that ends a machine goes on whatever QEMU says. Nothing here throws.
 *  D. Events are kept for each reader, EVENTS_MAX at most. Who tells more than is read is ended.
 */
import type { Socket } from "node:net";
import type { Static, TSchema } from "typebox";
import { Compile } from "typebox/compile";
import { LineDecoder } from "#guest/lines.ts";
import {
  COMMANDS,
  type CommandAnswer,
  type CommandName,
  MESSAGES,
  type QmpAnswer,
  type QmpEvent,
  type QmpFault,
} from "./qmp-schema.ts";

const ANSWER_MS = 5_000;
const EVENTS_MAX = 64;
/** Under way at once. We ask one after the other; more is a fault of ours. */
const WAITING_MAX = 32;
const WORDS_MAX = 500;

interface Reader {
  events: QmpEvent[];
  wake(): void;
}

interface Asked {
  settle(answer: QmpAnswer<never>): void;
  fits(value: unknown): boolean;
}

const compile = <S extends TSchema>(schema: S) => {
  const check = Compile(schema);
  return (value: unknown): value is Static<S> => check.Check(value);
};
const isGreeting = compile(MESSAGES.greeting);
const isEvent = compile(MESSAGES.event);
const isRefusal = compile(MESSAGES.refusal);
const isReturn = compile(MESSAGES.return);
const answerChecks = new Map(Object.entries(COMMANDS).map(([name, schema]) => [name, compile(schema)]));

export class Qmp {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Asked>();
  readonly #late = new Set<number>();
  readonly #readers = new Set<Reader>();
  readonly #ended = Promise.withResolvers<string>();
  readonly #greeted = Promise.withResolvers<QmpFault | null>();
  #greeting = false;
  #why: string | null = null;
  #lastId = 0;

  /** Resolves when QEMU takes commands, or with why it does not. The socket is ours from here on. */
  static async greet(socket: Socket, { timeoutMs = ANSWER_MS } = {}): Promise<QmpAnswer<Qmp>> {
    const qmp = new Qmp(socket);
    const timer = setTimeout(() => qmp.#greeted.resolve(late("greeting", timeoutMs)), timeoutMs);
    const fault = await qmp.#greeted.promise.finally(() => clearTimeout(timer));
    const ready = fault ?? faultOf(await qmp.execute("qmp_capabilities", {}, { timeoutMs }));
    if (ready === null) return { ok: true, value: qmp };
    qmp.close();
    return { ok: false, fault: ready };
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    const decoder = new LineDecoder();
    socket.on("data", (chunk: Buffer) => {
      try {
        for (const line of decoder.push(chunk)) if (this.#why === null) this.#hear(line);
      } catch {
        this.#end("QEMU sent a line that does not end");
      }
    });
    socket.on("error", (error: NodeJS.ErrnoException) => this.#end(`the socket failed: ${error.code}`));
    socket.on("close", () => this.#end("QEMU closed the conversation"));
  }

  execute<Name extends CommandName>(
    name: Name,
    args: Record<string, unknown> = {},
    { timeoutMs = ANSWER_MS } = {},
  ): Promise<QmpAnswer<CommandAnswer<Name>>> {
    if (this.#why !== null) return Promise.resolve(gone(this.#why));
    if (this.#waiting.size >= WAITING_MAX) throw new RangeError("too many commands wait for this QEMU");
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        this.#late.add(id);
        resolve({ ok: false, fault: late(name, timeoutMs) });
      }, timeoutMs);
      this.#waiting.set(id, {
        settle: (answer) => {
          clearTimeout(timer);
          resolve(answer);
        },
        fits: answerChecks.get(name)!,
      });
      const given = Object.keys(args).length === 0 ? {} : { arguments: args };
      this.#socket.write(`${JSON.stringify({ execute: name, ...given, id })}\n`);
    });
  }

  /** Events from the moment of the call on, until the conversation is over or `signal` is aborted. */
  events(signal?: AbortSignal): AsyncIterable<QmpEvent> {
    let wake = () => {};
    const reader: Reader = { events: [], wake: () => wake() };
    this.#readers.add(reader);
    const over = () => this.#why !== null || signal?.aborted === true;
    signal?.addEventListener("abort", reader.wake, { once: true });
    const leave = () => {
      this.#readers.delete(reader);
      signal?.removeEventListener("abort", reader.wake);
    };
    async function* read() {
      try {
        for (;;) {
          const event = reader.events.shift();
          if (event !== undefined) yield event;
          else if (over()) return;
          else
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
        }
      } finally {
        leave();
      }
    }
    return read();
  }

  /** Settles with the reason when the conversation is over; never rejects. */
  get ended(): Promise<string> {
    return this.#ended.promise;
  }

  close(): void {
    this.#end("closed by us");
  }

  /** A */
  #hear(line: Uint8Array): void {
    const message = parse(line);
    if (!this.#greeting) this.#greet(message);
    else if (isEvent(message)) this.#tell(message);
    else if (isRefusal(message) || isReturn(message)) this.#settle(message);
    else this.#end("QEMU said what is no answer");
  }

  #greet(message: unknown): void {
    if (isGreeting(message)) {
      this.#greeting = true;
      this.#greeted.resolve(null);
    } else this.#end("what is at the socket does not greet as QEMU does");
  }

  #settle(message: Static<typeof MESSAGES.refusal> | Static<typeof MESSAGES.return>): void {
    // B
    if (this.#late.delete(message.id)) return;
    const asked = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (asked === undefined) this.#end("QEMU answered what it was not asked");
    else if ("error" in message) {
      const { class: errorClass, desc } = message.error;
      const words = desc.slice(0, WORDS_MAX);
      asked.settle({ ok: false, fault: { kind: "refused", errorClass, message: words } });
    } else if (asked.fits(message.return)) asked.settle({ ok: true, value: message.return as never });
    else {
      const why = "QEMU's answer is of another kind than its command";
      asked.settle(gone(why));
      this.#end(why);
    }
  }

  #tell({ event, data = {}, timestamp }: Static<typeof MESSAGES.event>): void {
    const atMs = timestamp.seconds * 1000 + Math.floor(timestamp.microseconds / 1000);
    for (const reader of [...this.#readers]) {
      // D
      if (reader.events.length >= EVENTS_MAX) this.#end("QEMU told more events than were read");
      else reader.events.push({ name: event, data, atMs });
      reader.wake();
    }
  }

  #end(why: string): void {
    if (this.#why !== null) return;
    this.#why = why;
    this.#socket.destroy();
    this.#greeted.resolve({ kind: "gone", message: why });
    for (const { settle } of this.#waiting.values()) settle(gone(why));
    this.#waiting.clear();
    for (const { wake } of this.#readers) wake();
    this.#ended.resolve(why);
  }
}

function parse(line: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(line));
  } catch {
    return undefined;
  }
}

const gone = (message: string): { ok: false; fault: QmpFault } => ({
  ok: false,
  fault: { kind: "gone", message },
});
const late = (what: string, timeoutMs: number): QmpFault => ({
  kind: "late",
  message: `${what}: no answer within ${timeoutMs} ms`,
});
const faultOf = (answer: QmpAnswer<unknown>): QmpFault | null => (answer.ok ? null : answer.fault);
