// SPDX-License-Identifier: Apache-2.0
/**
 * Carries the disk of a machine from the host that had it to the host that has the machine now and asks for its disk. What is carried is
 * the guest's ciphertext: neither we nor the new host can read it before its guest has shown its evidence.
 *
 *  A. A disk is in one place that counts: the old one, until one statement says that it has arrived. Before that statement the new
 *     host starts nothing, and the old one keeps what it has; after it the old one is told to keep nothing. Whoever dies
 *     in between, it begins again: the host asks every two seconds.
 *  B. It has arrived when both hosts name the hash of the bytes that went through here, for the giving of the machine to this host
 *     (`carry`) that was there when it began. A host that was given it anew meanwhile has to fetch it anew.
 *  C. A host sends no more than the machine's disk can be, and something at least every so often.
 *  D. One that went wrong is tried again later each time, and the workload's owner is told why, not every time.
 */
import { createHash } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import { Compile } from "typebox/compile";
import { DiskWhole, streamBytesMax, WHOLE_CHANNEL } from "#contract/link/disk.ts";
import type { MachineSpec, Observation } from "#contract/link/machine.ts";
import type { LinkStream, StreamEnd } from "#link/port.ts";
import { AFTER_ROOM } from "../../core/fleet/index.ts";
import { arriveClauses, type MachineRow } from "../../core/machines/index.ts";
import type { Deps } from "./deps.ts";
import { eventClauses } from "./events.ts";

interface Options extends Pick<Deps, "db" | "fleet" | "converger"> {
  onError(error: unknown): void;
  /** Monotonic, in milliseconds. */
  clock(): number;
  /** C. */
  silenceMs?: number;
}

interface Carried {
  id: string;
  from: string;
  to: string;
  carry: number;
  spec: MachineSpec;
}

/** Together in one process; the others ask again. */
const AT_ONCE_MAX = 4;
const SILENCE_MS = 120_000;
const WAIT_MS = { first: 2_000, most: 120_000 };
const FAILURES_MAX = 10_000;
/** D. The same words are said so often at most. */
const SAID_EVERY = sql`interval '10 minutes'`;
/** A host that was heard of within this time may only have lost its connection for a moment. */
const LATELY = sql`interval '30 seconds'`;

const check = Compile(DiskWhole);

/** Public words: they become an event of the workload. */
class NotCarried extends Error {}

export class DiskCarrier {
  readonly #options: Options;
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #failed = new Map<string, { times: number; untilMs: number }>();
  readonly #end = new AbortController();

  constructor(options: Options) {
    this.#options = options;
  }

  /** A host says that a machine of its waits for its disk. */
  wanted(hostId: string, { machineId }: Pick<Observation, "machineId">): void {
    if (this.#end.signal.aborted || this.#underWay.has(machineId)) return;
    if (this.#underWay.size >= AT_ONCE_MAX) return;
    const failed = this.#failed.get(machineId);
    if (failed !== undefined && this.#options.clock() < failed.untilMs) return;
    const work = this.#carry(hostId, machineId)
      .catch(this.#options.onError)
      .finally(() => this.#underWay.delete(machineId));
    this.#underWay.set(machineId, work);
  }

  async close(): Promise<void> {
    this.#end.abort(new Error("control is stopping"));
    await Promise.all(this.#underWay.values());
  }

  async #carry(to: string, machineId: string): Promise<void> {
    const { db, fleet } = this.#options;
    // A host can ask only for what it was given, and for a disk that is still elsewhere.
    const { rows } = await sql<Carried>`
      select id, disk_host_id as "from", host_id as "to", carry, spec from machines
      where id = ${machineId} and host_id = ${to} and disk_host_id is not null and want <> 'down'
        and state not in ('ended', 'failed')`.execute(db.run);
    const carried = rows[0];
    if (carried === undefined) {
      this.#failed.delete(machineId);
      return;
    }
    if (!fleet.holds(carried.from)) return this.#tellAway(carried);
    try {
      await this.#send(carried);
      await this.#arrive(carried);
      this.#failed.delete(machineId);
    } catch (error) {
      if (this.#end.signal.aborted) return;
      const times = (this.#failed.get(machineId)?.times ?? 0) + 1;
      const waitMs = Math.min(WAIT_MS.most, WAIT_MS.first * 2 ** Math.min(times - 1, 10));
      if (this.#failed.size >= FAILURES_MAX) this.#failed.clear();
      this.#failed.set(machineId, { times, untilMs: this.#options.clock() + waitMs });
      if (!(error instanceof NotCarried)) throw error;
      // The first time may be a host that has not heard yet what is wished of it.
      if (times > 1)
        await this.#tell(carried, `its disk could not be fetched, and is tried again: ${error.message}`);
    }
  }

  /** B and C. */
  async #send({ id, from, to, carry, spec }: Carried): Promise<void> {
    const { fleet, silenceMs = SILENCE_MS } = this.#options;
    const source = fleet.open(from, { kind: "disk-get", machineId: id });
    let sink: LinkStream;
    try {
      sink = fleet.open(to, { kind: "disk-put", machineId: id, carry });
    } catch (error) {
      source.cancel();
      throw error;
    }
    // A host that neither sends nor ends would be waited for by all that came after it.
    const stopped = Promise.withResolvers<never>();
    const silence = setTimeout(() => stopped.reject(new NotCarried("nothing came for too long")), silenceMs);
    const stop = () => stopped.reject(this.#end.signal.reason);
    this.#end.signal.addEventListener("abort", stop, { once: true });
    const bytesMax = streamBytesMax(spec.kept?.diskMiB ?? 0);
    try {
      await Promise.race([
        stopped.promise,
        pass(source, sink, { bytesMax, onWord: () => silence.refresh() }),
      ]);
    } finally {
      clearTimeout(silence);
      this.#end.signal.removeEventListener("abort", stop);
      source.cancel();
      sink.cancel();
    }
  }

  /** A */
  async #arrive({ id, from, to, carry }: Carried): Promise<void> {
    const { db, converger } = this.#options;
    const { rows } = await sql<{ machine: MachineRow | null }>`
      with ${arriveClauses(id, { from, to, carry })},
      ${eventClauses("warning", { message: "its disk has come to its new host" }, AFTER_ROOM)}
      select (select to_jsonb(machine) from machine) as machine`.execute(db.run);
    const machine = rows[0]!.machine;
    if (machine === null) return;
    converger.send({ ...machine, expires_at: null }, new Date());
    // The old host is told within a second by whoever holds it (leavings.ts).
  }

  #tellAway(carried: Carried): Promise<void> {
    const message = "its disk is on a host that is away; it starts when that host is back, or was put out";
    const away = sql`exists (select from hosts where id = ${carried.from} and last_seen < now() - ${LATELY})`;
    return this.#tell(carried, message, away);
  }

  /** D */
  async #tell({ id }: Carried, message: string, when: RawBuilder<unknown> = sql`true`): Promise<void> {
    await sql`
      insert into workload_events (workload_id, kind, details)
      select w.id, 'warning', jsonb_build_object('message', ${message.slice(0, 1000)}::text) from workloads w
      where w.machine_id = ${id} and w.deleted_at is null and ${when} and not exists (
        select from workload_events e where e.workload_id = w.id and e.kind = 'warning'
          and e.details->>'message' = ${message.slice(0, 1000)} and e.at > now() - ${SAID_EVERY})`.execute(
      this.#options.db.run,
    );
  }
}

/** B */
async function pass(
  source: LinkStream,
  sink: LinkStream,
  { bytesMax, onWord }: { bytesMax: number; onWord(): void },
): Promise<void> {
  source.finish();
  // Nobody is to read a disk that nobody takes.
  void sink.ended.then(() => source.cancel());
  const hash = createHash("sha256");
  let sentBytes = 0;
  for await (const { channel, bytes } of source.chunks()) {
    onWord();
    sentBytes += bytes.length;
    if (channel !== 0 || sentBytes > bytesMax)
      throw new NotCarried("the host that has it sends more than a disk of this size");
    hash.update(bytes);
    // Why it takes no more is what its end says.
    await sink.write(bytes).catch(() => source.cancel());
  }
  const sha256 = hash.digest("hex");
  const whole = await wholeOf(source, sink, "the host that has it");
  if (whole.sha256 !== sha256)
    throw new NotCarried("what the host that has it sent is not what it says that it sent");
  await sink.write(Buffer.from(JSON.stringify(whole)), WHOLE_CHANNEL).catch(() => {});
  sink.finish();
  onWord();
  const taken = await wholeOf(sink, null, "the new host");
  if (taken.sha256 !== sha256) throw new NotCarried("what the new host has is not what was sent to it");
}

/** What the stream ended with, or public words about why it is no disk. `other`: whose end may be the reason of this one's. */
async function wholeOf(stream: LinkStream, other: LinkStream | null, whose: string): Promise<DiskWhole> {
  const end = await stream.ended;
  if (end.kind === "done") {
    if (check.Check(end.trailer)) return end.trailer;
    throw new NotCarried(`${whose} does not say what it was`);
  }
  const others = other === null || end.kind === "failed" ? null : await settledEnd(other);
  if (others?.kind === "failed") throw new NotCarried(`the new host: ${others.detail}`);
  if (end.kind === "failed") throw new NotCarried(`${whose}: ${end.detail}`);
  throw new NotCarried(`${whose} did not finish, or its connection broke`);
}

/** Its end if it has ended. */
const settledEnd = (stream: LinkStream): Promise<StreamEnd | null> =>
  Promise.race([stream.ended, new Promise<null>((resolve) => setImmediate(() => resolve(null)))]);
