// SPDX-License-Identifier: Apache-2.0
/**
 * Running a command. One at a time per session: the row is taken first, so of two callers, in this
 * process or another, exactly one runs. Input travels as bytes on the stream and is never part of a
 * command line, a row or a log line.
 */
import { sql } from "kysely";
import { Fault, isErrorCode } from "#contract/errors.ts";
import type { ExecResult } from "#contract/link/machine.ts";
import { COMMAND_MAX, type exec as execOperation, INPUT_MAX } from "#contract/sessions/exec.ts";
import type { LinkStream, StreamEnd } from "#link/port.ts";
import { appendClauses } from "../../core/journal/index.ts";
import type { Answer, Call, ServerEvent } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { dressError } from "./errors.ts";
import { type PlacedSession, requireSession, type SessionRow, takeForExec } from "./rows.ts";

type Needs = Pick<Deps, "db" | "fleet" | "replica" | "watch" | "log">;
type ExecCall = Call<typeof execOperation>;

/** Bytes kept of each of stdout and stderr. */
const OUTPUT_MAX = 1024 * 1024;
const CHUNK = 256 * 1024;
const TIMED_OUT: ExecResult = {
  exitCode: 124,
  timedOut: true,
  oomKilled: false,
  outputTruncated: false,
  durationMs: 0,
};

export async function exec(deps: Needs, call: ExecCall): Promise<Answer> {
  const streaming = call.query.stream === "1";
  const input = call.body.input_data === undefined ? null : Buffer.from(call.body.input_data);
  if (input !== null && input.length > INPUT_MAX) throw new Fault("request.too-large", { limit: INPUT_MAX });
  if (Buffer.byteLength(call.body.command) > COMMAND_MAX) {
    throw new Fault("request.invalid", {
      detail: `command can have at most ${COMMAND_MAX} bytes; send data as input_data`,
    });
  }
  const session = await take(deps, call);
  let stream: LinkStream;
  try {
    stream = open(deps, session, call, streaming, input !== null);
  } catch (error) {
    await giveBack(deps, session, null);
    throw error;
  }
  const cancel = () => stream.cancel();
  call.signal.addEventListener("abort", cancel);
  // Sending and receiving run side by side: a program may answer before it was told everything.
  send(stream, input).catch(() => {});
  if (streaming) return { status: 200, events: follow(deps, session, stream, call.requestId) };

  const output: Buffer[] = [];
  const stderr: Buffer[] = [];
  try {
    for await (const { channel, bytes } of stream.chunks())
      (channel === 2 ? stderr : output).push(Buffer.from(bytes));
    const result = await conclude(deps, session, await stream.ended);
    await giveBack(deps, session, result);
    return {
      status: 200,
      body: { output: text(output), stderr: text(stderr), ...viewResult(result) },
    };
  } catch (error) {
    await giveBack(deps, session, null);
    throw error;
  } finally {
    call.signal.removeEventListener("abort", cancel);
  }
}

async function take(deps: Needs, call: ExecCall): Promise<PlacedSession> {
  const taken = await takeForExec(deps.db.soft, call.account.id, call.params.id, deps.replica);
  if (taken !== null) return taken;
  const session = await requireSession(deps.db.soft, call.account.id, call.params.id);
  if (session.ended_at !== null) throw new Fault("session.ended", { status: session.status });
  if (session.status === "executing") throw new Fault("session.executing", {}, { retryAfterSeconds: 1 });
  throw new Fault("session.ended", { status: session.end_trigger === "ttl" ? "expired" : "destroyed" });
}

function open(
  deps: Needs,
  session: PlacedSession,
  call: ExecCall,
  streaming: boolean,
  hasInput: boolean,
): LinkStream {
  const { command, timeout, env, cwd } = call.body;
  const remainingMs =
    session.expires_at === null ? Number.MAX_SAFE_INTEGER : session.expires_at.getTime() - call.now.getTime();
  const timeoutMs = Math.min((timeout ?? Number.MAX_SAFE_INTEGER / 1000) * 1000, remainingMs);
  return deps.fleet.open(session.host_id ?? "", {
    kind: "exec",
    machineId: session.machine_id,
    command,
    timeoutMs: Math.max(1, Math.floor(Math.min(timeoutMs, 2 ** 31 - 1))),
    hasInput,
    outputLimitBytes: streaming ? null : OUTPUT_MAX,
    ...(env === undefined ? {} : { env }),
    ...(cwd === undefined ? {} : { cwd }),
  });
}

async function send(stream: LinkStream, input: Buffer | null): Promise<void> {
  for (let at = 0; input !== null && at < input.length; at += CHUNK)
    await stream.write(input.subarray(at, at + CHUNK));
  stream.finish();
}

/**
 * An end that came with the session's own end is told as what it was: by expiry a timeout, by a
 * destroy a conflict. A lost link is neither: the command's fate is unknown and the answer says so.
 */
async function conclude(deps: Needs, session: SessionRow, end: StreamEnd): Promise<ExecResult> {
  if (end.kind === "lost" || end.kind === "cancelled") throw new Fault("link.lost");
  const result = end.kind === "done" ? (end.trailer as ExecResult) : null;
  const killed = result === null || (result.exitCode === 137 && !result.timedOut && !result.oomKilled);
  if (!killed) return result;
  const machine = await deps.db.soft
    .selectFrom("machines")
    .select(["want", "end_trigger"])
    .where("id", "=", session.machine_id)
    .executeTakeFirstOrThrow();
  if (machine.want === "down" && machine.end_trigger === "ttl") {
    return {
      ...TIMED_OUT,
      durationMs: result?.durationMs ?? 0,
      outputTruncated: result?.outputTruncated ?? false,
    };
  }
  if (machine.want === "down") throw new Fault("session.ended", { status: "destroyed" });
  if (result !== null) return result;
  const { code, detail } = end as Extract<StreamEnd, { kind: "failed" }>;
  throw new Fault(isErrorCode(code) ? code : "machine.start-failed", { detail });
}

/** The session is free again, and its journal says how the command ended; never what it was. */
async function giveBack(deps: Needs, session: SessionRow, result: ExecResult | null): Promise<void> {
  const payload =
    result === null
      ? { lost: true }
      : { exit_code: result.exitCode, timed_out: result.timedOut, duration_ms: result.durationMs };
  await sql`
    with freed as (
      update sessions set status = 'active', executing_by = null, version = version + 1
      where id = ${session.id} and executing_by = ${deps.replica} and status = 'executing' returning id
    ), ${appendClauses(
      { account: session.account_id, type: "session.exec_ended", subject: session.id, payload },
      sql`exists (select from freed)`,
    )}
    select count(*) from entry`
    .execute(deps.db.run)
    .catch((error) =>
      deps.log.error({ err: error, session: session.id }, "a session could not be given back"),
    );
}

async function* follow(
  deps: Needs,
  session: SessionRow,
  stream: LinkStream,
  requestId: string,
): AsyncGenerator<ServerEvent> {
  let result: ExecResult | null = null;
  try {
    for await (const { channel, bytes } of stream.chunks()) {
      yield {
        event: channel === 2 ? "stderr" : "stdout",
        data: { base64: Buffer.from(bytes).toString("base64") },
      };
    }
    result = await conclude(deps, session, await stream.ended);
    yield { event: "exit", data: viewResult(result) };
  } catch (error) {
    const fault = error instanceof Fault ? error : new Fault("platform.unexpected");
    yield { event: "error", data: dressError(fault, requestId) };
  } finally {
    stream.cancel();
    await giveBack(deps, session, result);
  }
}

const viewResult = (result: ExecResult) => ({
  exit_code: result.exitCode,
  timed_out: result.timedOut,
  ...(result.oomKilled ? { oom_killed: true } : {}),
  ...(result.outputTruncated ? { output_truncated: true } : {}),
});

/** Invalid UTF-8 is replaced; the streaming form carries the bytes as they are. */
const text = (parts: Buffer[]): string =>
  new TextDecoder("utf-8", { ignoreBOM: true }).decode(Buffer.concat(parts));
