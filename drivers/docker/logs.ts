// SPDX-License-Identifier: Apache-2.0
/**
 * Lines of a container's log, or of the machine's own.
 *
 * The engine is always asked for times. With them every frame of its stream is one entry, `since` can be
 * exact, and history and following are two questions without a gap: the second begins at the last time
 * of the first. `tail` is counted here when one stream is asked for, since the engine counts both.
 */
import type Docker from "dockerode";
import { DriverFault } from "../driver.ts";
import type { LogsAsk } from "../kept-driver.ts";
import { listContainers } from "./engine.ts";
import { namesOf } from "./facts.ts";
import type { LogEntry, Notes } from "./notes.ts";

const LINE_BYTES_MAX = 64 * 1024;
const FRAME_BYTES_MAX = 1024 * 1024;
const LINES_MAX = 100_000;
const QUEUE_MAX = 10_000;

interface Line {
  time: string;
  text: string;
}

export async function* containerLines(
  engine: Docker,
  owner: string,
  machineId: string,
  ask: LogsAsk,
): AsyncGenerator<string> {
  const wanted = ask.container!.replace(/^\//, "");
  const containers = await listContainers(engine, owner, machineId);
  const found = containers.find((each) => namesOf(each).includes(wanted) || each.id === wanted);
  if (found === undefined)
    throw new DriverFault("machine.no-container", "the machine has no container of that name");
  const container = engine.getContainer(found.id);
  const { Config } = await container.inspect();
  const read = (follow: boolean, since: string | undefined, tail: number | undefined) =>
    linesFrom(container, Config.Tty, { ...ask, follow, since, tail });
  const linesMax = Math.min(ask.linesMax, LINES_MAX);

  let last = ask.since === undefined ? undefined : timeKey(ask.since);
  if (ask.tail) {
    const newest: Line[] = [];
    for await (const line of read(false, last, ask.stream === "both" ? linesMax : undefined)) {
      newest.push(line);
      if (newest.length > linesMax * 2) newest.splice(0, newest.length - linesMax);
    }
    for (const line of newest.slice(-linesMax)) {
      yield shown(line, ask);
      last = timeKey(line.time);
    }
  } else {
    let count = 0;
    for await (const line of read(false, last, undefined)) {
      yield shown(line, ask);
      last = timeKey(line.time);
      if (++count >= linesMax) return;
    }
  }
  if (ask.follow && !ask.signal.aborted)
    for await (const line of read(true, last, undefined)) yield shown(line, ask);
}

export async function* machineLines(
  notes: Pick<Notes, "onLog" | "readLog">,
  machineId: string,
  ask: LogsAsk,
): AsyncGenerator<string> {
  const after = ask.since === undefined ? "" : timeKey(ask.since);
  // Heard before it is read, so that nothing falls between.
  const queue: LogEntry[] = [];
  let wake = () => {};
  const quiet = notes.onLog(machineId, (entry) => {
    if (queue.length < QUEUE_MAX) queue.push(entry);
    wake();
  });
  const stop = () => wake();
  ask.signal.addEventListener("abort", stop);
  try {
    const history = notes.readLog(machineId).filter((entry) => timeKey(entry.time) > after);
    queue.splice(0);
    for (const entry of ask.tail ? history.slice(-ask.linesMax) : history.slice(0, ask.linesMax))
      yield shown(entry, ask);
    while (ask.follow && !ask.signal.aborted) {
      const entry = queue.shift();
      if (entry !== undefined) yield shown(entry, ask);
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    quiet();
    ask.signal.removeEventListener("abort", stop);
  }
}

const shown = (line: Line, { timestamps }: LogsAsk) => (timestamps ? `${line.time} ${line.text}` : line.text);

/** Times of any precision, comparable as text: the engine writes as many decimals as there are. */
export function timeKey(time: string): string {
  const [, day, decimals = "", zone = "Z"] =
    /^(.{19})(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)?$/.exec(time) ?? [];
  const seconds = day === undefined ? Number.NaN : Math.floor(Date.parse(day + zone) / 1000);
  if (!Number.isFinite(seconds)) throw new DriverFault("request.invalid", "since is not a time");
  return `${String(seconds).padStart(12, "0")}.${decimals.padEnd(9, "0")}`;
}

interface Read {
  stream: LogsAsk["stream"];
  follow: boolean;
  since: string | undefined;
  tail: number | undefined;
  signal: AbortSignal;
}

async function* linesFrom(container: Docker.Container, tty: boolean, read: Read): AsyncGenerator<Line> {
  const end = new AbortController();
  const options = {
    stdout: read.stream !== "stderr",
    stderr: read.stream !== "stdout",
    timestamps: true,
    ...(read.since === undefined ? {} : { since: read.since.replace(/^0+(?=\d)/, "") as never }),
    ...(read.tail === undefined ? {} : { tail: read.tail }),
    abortSignal: AbortSignal.any([read.signal, end.signal]),
  };
  try {
    // Always as a stream: the other way the whole log would come as one buffer.
    const stream = read.follow
      ? await container.logs({ ...options, follow: true })
      : ((await container.logs({
          ...options,
          follow: false,
          stream: true,
        } as never)) as unknown as AsyncIterable<Buffer>);
    const chunks = Buffer.isBuffer(stream) ? [stream] : (stream as AsyncIterable<Buffer>);
    for await (const line of tty ? rawLines(chunks) : framedLines(chunks))
      if (read.since === undefined || timeKey(line.time) > read.since) yield line;
  } catch (error) {
    if (!read.signal.aborted) throw error;
  } finally {
    end.abort();
  }
}

type Chunks = AsyncIterable<Buffer> | Iterable<Buffer>;

/** Frames of 8 bytes of head (stream, three zeros, length) and one entry: `time SP text`, and LF unless it goes on. */
export async function* framedLines(chunks: Chunks): AsyncGenerator<Line> {
  let pending: Buffer = Buffer.alloc(0);
  const open = new Map<number, Line>();
  for await (const chunk of chunks) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    while (pending.length >= 8) {
      const size = pending.readUInt32BE(4);
      if (size > FRAME_BYTES_MAX) throw new Error("the engine sent a frame that is too large");
      if (pending.length < 8 + size) break;
      const [channel, entry] = [pending[0]!, pending.subarray(8, 8 + size)];
      pending = pending.subarray(8 + size);
      const { time, text, ended } = parseEntry(entry);
      const before = open.get(channel);
      const line = before === undefined ? { time, text } : { time: before.time, text: before.text + text };
      line.text = cut(line.text);
      if (ended) {
        open.delete(channel);
        yield line;
      } else open.set(channel, line);
    }
  }
  yield* open.values();
}

/** A container with a terminal has one stream and no frames. */
async function* rawLines(chunks: Chunks): AsyncGenerator<Line> {
  let rest = "";
  for await (const chunk of chunks) {
    const lines = (rest + chunk.toString()).split("\n");
    rest = cut(lines.pop()!);
    for (const line of lines) yield parseEntry(Buffer.from(line));
  }
  if (rest !== "") yield parseEntry(Buffer.from(rest));
}

function parseEntry(entry: Buffer): Line & { ended: boolean } {
  const text = entry.toString();
  const space = text.indexOf(" ");
  const ended = text.endsWith("\n");
  const body = text
    .slice(space + 1)
    .replace(/\r?\n$/, "")
    .replace(/\r$/, "");
  return { time: text.slice(0, space), text: cut(body), ended };
}

const cut = (text: string) => (text.length > LINE_BYTES_MAX ? text.slice(0, LINE_BYTES_MAX) : text);

/** The newest lines of a container, for words about its end. */
export async function lastLines(engine: Docker, id: string, count: number): Promise<string[]> {
  const container = engine.getContainer(id);
  const { Config } = await container.inspect();
  const signal = AbortSignal.timeout(10_000);
  const lines: string[] = [];
  for await (const { text } of linesFrom(container, Config.Tty, {
    stream: "both",
    follow: false,
    since: undefined,
    tail: count,
    signal,
  }))
    lines.push(text);
  return lines;
}
