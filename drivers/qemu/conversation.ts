// SPDX-License-Identifier: Apache-2.0
/**
 * Everything that one host process has open to one QEMU: the control socket, the console, and the guest's
 * port. It ends with the host process and is opened again by the next; QEMU and guest run on meanwhile.
 */
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { type Guest, greetGuest } from "#guest/client.ts";
import { DriverFault } from "../driver.ts";
import type { Place } from "./place.ts";
import { Qmp } from "./qmp.ts";
import { connectSoon } from "./sockets.ts";

const LINE_MAX = 2_000;
/** A serial line is slower; a QEMU that was taken over need not be one. */
const CONSOLE_BYTES_PER_SECOND_MAX = 256 * 1024;
/** What a line costs beside its bytes: each is an entry of a log, and short ones come by the thousand. */
const LINE_COST_BYTES = 512;

export interface Conversation {
  qmp: Qmp;
  /** Resolves when the guest is up, for the first time. */
  greet(timeoutMs: number): Promise<Guest>;
  guest: Guest | null;
  /** Why QEMU ended, when it said so: `guest-shutdown`, `guest-reset`, … */
  reason: string | null;
  close(): void;
}

export interface ConversationAsk {
  machineId: string;
  place: Place;
  accelerator: "kvm" | "tcg";
  answerMs: number;
  /** Never with none. */
  onConsole(lines: string[]): void;
  signal: AbortSignal;
}

/** Rejects when what is behind the sockets is not the machine that it should be. */
export async function openConversation(ask: ConversationAsk): Promise<Conversation> {
  const { sockets } = ask.place;
  const open: Socket[] = [];
  const reach = async (path: string) => {
    const socket = await connectSoon(path, ask.signal);
    open.push(socket);
    return socket;
  };
  const hangUp = () => {
    for (const socket of open) socket.destroy();
  };
  try {
    readConsole(await reach(sockets.console), ask.onConsole);
    const port = await reach(sockets.guest);
    const greeted = await Qmp.greet(await reach(sockets.qmp), { timeoutMs: ask.answerMs });
    if (!greeted.ok) throw new DriverFault("machine.start-failed", `QEMU: ${greeted.fault.message}`);
    const qmp = greeted.value;
    await requireIdentity(qmp, ask);
    let asked: Promise<Guest> | null = null;
    const conversation: Conversation = {
      qmp,
      guest: null,
      reason: null,
      greet(timeoutMs) {
        asked ??= greetGuest(port, { timeoutMs, signal: ask.signal }).then((guest) => {
          conversation.guest = guest;
          return guest;
        });
        return asked;
      },
      close: () => {
        conversation.guest?.close();
        qmp.close();
        hangUp();
      },
    };
    void listen(conversation);
    return conversation;
  } catch (error) {
    hangUp();
    throw error;
  }
}

async function requireIdentity(qmp: Qmp, ask: ConversationAsk): Promise<void> {
  const { machineId, accelerator, answerMs: timeoutMs } = ask;
  const name = await qmp.execute("query-name", {}, { timeoutMs });
  const kvm = await qmp.execute("query-kvm", {}, { timeoutMs });
  if (!name.ok || name.value.name !== machineId)
    throw new DriverFault("machine.start-failed", "what is behind the control socket is another machine");
  if (!kvm.ok || kvm.value.enabled !== (accelerator === "kvm"))
    throw new DriverFault("machine.start-failed", `QEMU runs without ${accelerator}`);
}

async function listen(conversation: Conversation): Promise<void> {
  for await (const { name, data } of conversation.qmp.events())
    if (name === "SHUTDOWN" && typeof data.reason === "string") conversation.reason = data.reason;
}

/**
 * Lines beyond the budget wait, at most those of one chunk: nothing more is read meanwhile, and the guest's serial
 * line stands still. What waits when the conversation ends is lost.
 */
export function readConsole(console: Readable, onLines: (lines: string[]) => void): void {
  let rest = "";
  let waiting: string[] = [];
  let budget = CONSOLE_BYTES_PER_SECOND_MAX;
  let fullMs = performance.now();
  const give = () => {
    if (performance.now() - fullMs >= 1_000)
      [budget, fullMs] = [CONSOLE_BYTES_PER_SECOND_MAX, performance.now()];
    const count = Math.min(waiting.length, Math.max(0, Math.ceil(budget / LINE_COST_BYTES)));
    const lines = waiting.splice(0, count);
    budget -= count * LINE_COST_BYTES;
    if (count > 0) onLines(lines);
    if (budget > 0) return void console.resume();
    console.pause();
    setTimeout(() => !console.destroyed && give(), 1_000).unref();
  };
  console.on("data", (chunk: Buffer) => {
    const lines = `${rest}${printable(chunk)}`.split("\n");
    rest = lines.pop()!;
    if (rest.length > LINE_MAX) {
      lines.push(rest);
      rest = "";
    }
    budget -= chunk.length;
    const said = lines.filter((line) => line !== "");
    waiting = [...waiting, ...said.map((line) => line.slice(0, LINE_MAX))];
    give();
  });
}

/** An operator reads it in a terminal, and a guest could write that terminal's own commands. */
const printable = (chunk: Buffer) => chunk.toString("latin1").replace(/[^\n\x20-\x7e]/g, "");
