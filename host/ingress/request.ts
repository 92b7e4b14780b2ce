// SPDX-License-Identifier: Apache-2.0
/**
 * Requests as they are written to a machine. What was read of a stranger is written anew, so every part is
 * looked at once more: a line of our own that somebody else could end would be a request of theirs.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { type Framing, trailerFields } from "./fields.ts";

const METHOD = /^[A-Z-]+$/;
const TARGET = /^[\x21-\xff]+$/;
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Null when it cannot be written without doubt. */
export function headOf(method: string, target: string, fields: readonly string[]): string | null {
  if (!METHOD.test(method) || !TARGET.test(target)) return null;
  const text = linesOf(fields);
  return text === null ? null : `${method} ${target} HTTP/1.1\r\n${text}\r\n`;
}

function linesOf(fields: readonly string[]): string | null {
  let text = "";
  for (let at = 0; at < fields.length; at += 2) {
    const [name, value] = [fields[at]!, fields[at + 1]!];
    if (!NAME.test(name) || !VALUE.test(value)) return null;
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

export interface BodyWriter {
  onDrain(): void;
  /** What still comes is the client's to waste. */
  stop(): void;
}

/** Passes the body on as it comes, framed by us. */
export function bodyWriter(request: IncomingMessage, socket: Socket, framing: Framing): BodyWriter {
  const chunked = framing === "chunked";
  let stopped = false;
  const write = (bytes: Buffer): boolean => {
    if (!chunked) return socket.write(bytes);
    socket.cork();
    socket.write(`${bytes.length.toString(16)}\r\n`, "latin1");
    socket.write(bytes);
    const wanted = socket.write("\r\n", "latin1");
    socket.uncork();
    return wanted;
  };
  request.on("data", (bytes: Buffer) => {
    if (!stopped && !write(bytes)) request.pause();
  });
  request.once("end", () => {
    if (stopped || !chunked) return;
    const trailers = linesOf(trailerFields(request.rawTrailers).flat());
    socket.write(`0\r\n${trailers ?? ""}\r\n`, "latin1");
  });
  return {
    onDrain: () => {
      if (!stopped) request.resume();
    },
    stop: () => {
      if (!stopped) request.pause();
      stopped = true;
    },
  };
}
