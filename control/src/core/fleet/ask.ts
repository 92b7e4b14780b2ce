// SPDX-License-Identifier: Apache-2.0
/** What is asked of a host about a machine that runs there: an answer, or lines as they come. */
import { Fault, isErrorCode } from "#contract/errors.ts";
import type { StreamRequest } from "#contract/link/machine.ts";
import type { LinkStream } from "#link/port.ts";
import type { Fleet } from "./fleet.ts";

/** Throws `host.away`, `link.lost`, or what the host says. */
export async function askHost<T>(
  fleet: Pick<Fleet, "open">,
  hostId: string | null,
  request: StreamRequest,
): Promise<T> {
  const stream = fleet.open(hostId ?? "", request);
  stream.finish();
  for await (const _ of stream.chunks());
  return (await concluded(stream)) as T;
}

/** All of them; ends when the host has no more. */
export async function readLines(stream: LinkStream): Promise<string[]> {
  const all: string[] = [];
  for await (const line of linesOf(stream)) all.push(line);
  await concluded(stream);
  return all;
}

/** As events, until the host has no more or whoever reads goes. */
export async function* followLines(
  stream: LinkStream,
): AsyncGenerator<{ event: "line" | "end"; data: object }> {
  try {
    for await (const line of linesOf(stream)) yield { event: "line", data: { line } };
    const end = await stream.ended;
    yield { event: "end", data: end.kind === "failed" ? { code: end.code } : {} };
  } finally {
    stream.cancel();
  }
}

async function* linesOf(stream: LinkStream): AsyncGenerator<string> {
  // A line of many bytes may come in pieces, and a character in two of them.
  const decoder = new TextDecoder();
  let rest = "";
  for await (const { bytes } of stream.chunks()) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest !== "") yield rest;
}

async function concluded(stream: LinkStream): Promise<unknown> {
  const end = await stream.ended;
  if (end.kind === "done") return end.trailer;
  if (end.kind === "failed")
    throw new Fault(isErrorCode(end.code) ? end.code : "host.away", { detail: end.detail });
  throw new Fault("link.lost");
}
