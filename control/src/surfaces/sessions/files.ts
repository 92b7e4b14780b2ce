// SPDX-License-Identifier: Apache-2.0
/** Files of a live session, streamed; the host writes and reads them with the session's own rights. */
import { Fault, isErrorCode } from "#contract/errors.ts";
import type { StreamRequest } from "#contract/link/machine.ts";
import { type deleteFile, FILE_MAX, type getFile, type putFile } from "#contract/sessions/files.ts";
import type { LinkStream } from "#link/port.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { requireSession } from "./rows.ts";

type Needs = Pick<Deps, "db" | "fleet">;
type FileCall = Call<typeof putFile> | Call<typeof getFile> | Call<typeof deleteFile>;

export async function put(deps: Needs, call: Call<typeof putFile>): Promise<Answer> {
  const path = pathOf(call);
  const stream = await open(deps, call, { kind: "file-put", path, limitBytes: FILE_MAX });
  const sending = (async () => {
    for await (const chunk of call.stream) await stream.write(chunk as Buffer);
    stream.finish();
  })();
  // A client that goes away in the middle must not leave half a file under its name.
  sending.catch(() => stream.cancel());
  const trailer = (await done(stream)) as { sizeBytes: number };
  return { status: 200, body: { path, size_bytes: trailer.sizeBytes } };
}

export async function get(deps: Needs, call: Call<typeof getFile>): Promise<Answer> {
  const stream = await open(deps, call, { kind: "file-get", path: pathOf(call) });
  stream.finish();
  const chunks = stream.chunks()[Symbol.asyncIterator]();
  // The first chunk, or the end, decides between bytes and an error; afterwards the status is sent.
  const first = await chunks.next();
  if (first.done) {
    await done(stream);
    return { status: 200, bytes: new Uint8Array(), mediaType: "application/octet-stream" };
  }
  async function* rest(): AsyncGenerator<Uint8Array> {
    try {
      yield first.value.bytes;
      for (;;) {
        const next = await chunks.next();
        if (next.done) break;
        yield next.value.bytes;
      }
      await done(stream);
    } finally {
      stream.cancel();
    }
  }
  return { status: 200, download: rest(), mediaType: "application/octet-stream" };
}

export async function remove(deps: Needs, call: Call<typeof deleteFile>): Promise<Answer> {
  const stream = await open(deps, call, { kind: "file-remove", path: pathOf(call) });
  stream.finish();
  await done(stream);
  return { status: 204 };
}

type FileRequest = Extract<StreamRequest, { kind: `file-${string}` }>;
type FileAsk = FileRequest extends infer R ? (R extends FileRequest ? Omit<R, "machineId"> : never) : never;

async function open({ db, fleet }: Needs, call: FileCall, ask: FileAsk): Promise<LinkStream> {
  const session = await requireSession(db.soft, call.account.id, call.params.id);
  if (session.ended_at !== null) throw new Fault("session.ended", { status: session.status });
  const machine = await db.soft
    .selectFrom("machines")
    .select("host_id")
    .where("id", "=", session.machine_id)
    .executeTakeFirstOrThrow();
  const stream = fleet.open(machine.host_id ?? "", {
    ...ask,
    machineId: session.machine_id,
  } as StreamRequest);
  call.signal.addEventListener("abort", () => stream.cancel());
  return stream;
}

async function done(stream: LinkStream): Promise<unknown> {
  const end = await stream.ended;
  if (end.kind === "done") return end.trailer;
  if (end.kind === "failed")
    throw new Fault(isErrorCode(end.code) ? end.code : "platform.unexpected", {
      detail: end.detail,
      limit: FILE_MAX,
    });
  throw new Fault("link.lost");
}

/** Relative, below /session, no empty or dot parts. The host checks again; it does not trust us. */
function pathOf(call: FileCall): string {
  const path = call.params["*"];
  const parts = path.split("/");
  const bad =
    path === "" || path.includes("\0") || parts.some((part) => part === "" || part === "." || part === "..");
  if (bad || Buffer.byteLength(path) > 4000) {
    throw new Fault("session.file-path", {
      detail: "The path must name a file below /session, without empty or dot parts.",
    });
  }
  return path;
}
