// SPDX-License-Identifier: Apache-2.0
/**
 * Work on live machines, one stream each: the driver does it, the stream carries it. A stream that is
 * cancelled or lost ends the command as a timeout would (SIGTERM, then SIGKILL); output that nobody
 * reads any more is dropped, and a file whose sender went away half-way is not taken for whole.
 */
import type { ExecResult, StreamRequest } from "#contract/link/machine.ts";
import { DriverFault } from "#drivers/driver.ts";
import type { LinkStream } from "#link/port.ts";
import type { KeptRequest } from "./kept/streams.ts";
import type { HostLog, Machine } from "./machine.ts";
import type { Reconciler } from "./reconcile.ts";

type Ask<K extends StreamRequest["kind"]> = Extract<StreamRequest, { kind: K }>;
type Request = Exclude<StreamRequest, KeptRequest>;

export function serveStream(
  reconciler: Reconciler,
  log: HostLog,
  request: Request,
  stream: LinkStream,
): void {
  const machine = reconciler.find(request.machineId);
  if (machine?.state !== "running") {
    stream.end({ kind: "failed", code: "machine.not-running", detail: "the machine is not running" });
    return;
  }
  concludeStream(serve(machine, request, stream), log, request, stream);
}

/** The terminal frame: what the work answered, a driver's own words, or only that it could not be done. */
export function concludeStream(
  work: Promise<unknown>,
  log: HostLog,
  { kind, ...about }: StreamRequest,
  stream: LinkStream,
): void {
  work.then(
    (trailer) => stream.end(stream.signal.aborted ? { kind: "cancelled" } : { kind: "done", trailer }),
    (error: unknown) => {
      if (stream.signal.aborted) return stream.end({ kind: "cancelled" });
      if (error instanceof DriverFault)
        return stream.end({ kind: "failed", code: error.code, detail: error.message });
      const machineId = "machineId" in about ? { machineId: about.machineId } : {};
      log("host.stream-failed", { kind, ...machineId, error: String(error) });
      stream.end({ kind: "failed", code: "platform.unexpected", detail: "the host could not do this" });
    },
  );
}

function serve(machine: Machine, request: Request, stream: LinkStream): Promise<unknown> {
  switch (request.kind) {
    case "exec":
      return exec(machine, request, stream);
    case "file-put":
      return putFile(machine, request, stream);
    case "file-get":
      return getFile(machine, request, stream);
    case "file-remove":
      return removeFile(machine, request);
  }
}

async function exec(machine: Machine, ask: Ask<"exec">, stream: LinkStream): Promise<ExecResult> {
  machine.events.add("exec.started", { input: ask.hasInput });
  const began = performance.now();
  let result: ExecResult;
  try {
    result = await machine.driver.exec(machine.id, {
      command: ask.command,
      ...(ask.cwd !== undefined && { cwd: ask.cwd }),
      ...(ask.env && { env: ask.env }),
      timeoutMs: ask.timeoutMs,
      input: ask.hasInput ? wholeInput(stream) : null,
      outputLimitBytes: ask.outputLimitBytes,
      // Rejects only after the end of the stream: then nobody is left to read.
      onOutput: (channel, bytes) => stream.write(bytes, channel).catch(() => {}),
      signal: stream.signal,
    });
  } catch (error) {
    if (!endedByTime(machine)) {
      if (machine.state === "running") machine.events.add("exec.ended", { failed: true });
      throw machine.trigger
        ? new DriverFault("machine.not-running", "the machine ended under the command")
        : error;
    }
    result = { exitCode: 124, timedOut: true, oomKilled: false, outputTruncated: false, durationMs: 0 };
    result.durationMs = Math.round(performance.now() - began);
  }
  // A command cut off by the end of the session's time reads as one that timed out.
  if (endedByTime(machine)) result = { ...result, exitCode: 124, timedOut: true };
  if (machine.state === "running")
    machine.events.add("exec.ended", { exitCode: result.exitCode, timedOut: result.timedOut });
  return result;
}

function endedByTime(machine: Machine): boolean {
  return machine.state === "ending" && machine.trigger === "ttl";
}

async function putFile(machine: Machine, ask: Ask<"file-put">, stream: LinkStream) {
  const { sizeBytes } = await machine.driver.putFile(
    machine.id,
    ask.path,
    wholeInput(stream),
    ask.limitBytes,
  );
  if (machine.state === "running") machine.events.add("file.put", { sizeBytes });
  return { sizeBytes };
}

async function getFile(machine: Machine, ask: Ask<"file-get">, stream: LinkStream) {
  const { sizeBytes } = await machine.driver.getFile(machine.id, ask.path, (bytes) => stream.write(bytes));
  if (machine.state === "running") machine.events.add("file.got", { sizeBytes });
  return { sizeBytes };
}

async function removeFile(machine: Machine, ask: Ask<"file-remove">) {
  await machine.driver.removeFile(machine.id, ask.path);
  if (machine.state === "running") machine.events.add("file.removed");
  return {};
}

/** Every byte the opener sent; throws instead of ending when it went away before it was through. */
async function* wholeInput(stream: LinkStream): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of stream.chunks()) yield bytes;
  if (stream.signal.aborted) throw new DriverFault("link.cancelled", "the sender went away");
}
