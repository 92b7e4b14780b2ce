// SPDX-License-Identifier: Apache-2.0
/**
 * Server-sent events of a model's server, on their way to a client: whole events, however the bytes came, unchanged but for what we had
 * asked for and the client had not. The upstream is asked to say at the end what was used; a client that did not ask for that
 * may not know the piece that says it (its list of choices is empty).
 */
import { guessTokens, readUsage, type Tokens } from "./tokens.ts";

const EVENT_BYTES_MAX = 4 * 1024 * 1024;
const NEWLINE = 10;

/** Bytes → events with the empty line that ends them. Throws for one that has no end. */
export async function* eventsOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const part of bytes) {
    // Nothing before the last two bytes can be an end that was not seen.
    let from = Math.max(0, rest.length - 2);
    rest = rest.length === 0 ? Buffer.from(part) : Buffer.concat([rest, part]);
    for (let end = endOfEvent(rest, from); end !== -1; end = endOfEvent(rest, from)) {
      yield rest.toString("utf8", 0, end);
      rest = rest.subarray(end);
      from = 0;
    }
    if (rest.length > EVENT_BYTES_MAX) throw new Error("an event is too large");
  }
  if (rest.length > 0) yield `${rest.toString("utf8").replace(/[\r\n]+$/, "")}\n\n`;
}

/** Behind the first empty line; -1: there is none yet. */
function endOfEvent(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(NEWLINE, from); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) {
    if (bytes[at + 1] === NEWLINE) return at + 2;
    if (bytes[at + 1] === 13 && bytes[at + 2] === NEWLINE) return at + 3;
  }
  return -1;
}

/** What was seen of one stream. */
export interface Seen {
  usage: Tokens | null;
  /** Guessed from what came. */
  output: number;
  done: boolean;
}

/** The event as the client is to have it; null: it is not for the client. */
export function passEvent(event: string, seen: Seen, usageWanted: boolean): string | null {
  const data = dataOf(event);
  if (data === null) return event;
  if (data === "[DONE]") {
    seen.done = true;
    return event;
  }
  const chunk = parse(data);
  if (chunk === null) return event;
  const { usage, ...rest } = chunk;
  seen.usage = readUsage(usage) ?? seen.usage;
  seen.output += guessTokens(contentOf(chunk));
  if (usageWanted || usage === undefined) return event;
  const { choices } = rest;
  return Array.isArray(choices) && choices.length === 0 && usage !== null
    ? null
    : `data: ${JSON.stringify(rest)}\n\n`;
}

/** Null: it has none, as a comment that keeps the line open. */
function dataOf(event: string): string | null {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.length === 0 ? null : lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
}

function parse(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** What a model said: the text of choices, whole or in pieces, without their names and reasons. */
export const contentOf = ({ choices }: Record<string, unknown>): unknown[] =>
  Array.isArray(choices)
    ? choices.map((choice: unknown) => {
        const { message, delta, text } = (choice ?? {}) as Record<string, unknown>;
        const said = (message ?? delta ?? {}) as Record<string, unknown>;
        return [text, said.content, said.reasoning_content, said.tool_calls];
      })
    : [];
