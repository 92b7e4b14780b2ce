// SPDX-License-Identifier: Apache-2.0
/**
 * One kept machine on this host: a wish, what is, and the one loop that makes the second like the
 * first.
 *
 *   none ─▶ starting ─▶ running ─▶ halted ─▶ starting …        anything ─▶ ended
 *               ▲──────────┘  its public service is down, or what ran has ended with the engine
 *
 * Invariants:
 *  A. One loop at a time. A wish that comes meanwhile is taken up by it at the next turn, and a start
 *     that it makes pointless is aborted.
 *  B. What is about to be done is on disk before it is done: after a kill the next process finds it.
 *  C. An incarnation is tried once. A start that failed is reported and waits for the next one:
 *     whether to try again, and where, is control's to decide.
 *  D. What is said is about the wish that was acted on, even when another has come meanwhile: room and
 *     money are given back for the start that a report names.
 *  E. The payload is asked for when it is needed, and is gone from memory when the start is through.
 *  F. It is running only while its public service is: what answers nobody is not said to run. One that
 *     falls again and again is believed later each time (falls.ts).
 *  G. An engine that does not answer is no fault of a machine's: what is wished waits for it.
 *  H. While its disk is read or written nothing else is done to it: a wish that ends that is acted on when the last byte of it is
 *     over. It is lent only while it is halted, and taken only for a wish that says that it comes; under such a wish
 *     nothing is started, so that two hosts never run two copies of one disk.
 */
import type { Desired, Observation } from "#contract/link/machine.ts";
import type { Payload } from "#contract/link/payload.ts";
import { DriverFault } from "#drivers/driver.ts";
import type { Endpoint, KeptChange, KeptDriver, ResolvedImage } from "#drivers/kept-driver.ts";
import type { HostLog } from "../machine.ts";
import { Falls } from "./falls.ts";
import { Notices } from "./notices.ts";
import type { KeptEntry, KeptStore } from "./store.ts";

/** A payload that was asked for and did not come is asked for again. */
const ASK_AGAIN_MS = 2_000;
/** A first fall of the public service that is over so soon is a warning, and no change of state. */
const BLINK_MS = 1_000;
const CHANGES_MAX = 64;
const IMAGES_MAX = 256;

export interface KeptDeps {
  store: KeptStore;
  driver: KeptDriver;
  report(observation: Observation): void;
  /** The endpoint or the domains of a machine changed. Resolves when strangers are led by it. */
  onRoute(): void | Promise<void>;
  onGone(machineId: string): void;
  /** Where people log in to it, when it is one for that and they are led there. */
  ssh(machineId: string): Promise<Observation["ssh"] | null>;
  /** Signs a machine's own key for these names. */
  certify(domains: readonly string[], request: Uint8Array): Promise<string>;
  log: HostLog;
  /** Monotonic, in milliseconds. */
  clock(): number;
}

/** F. Of a machine that was brought up: how its public service does. */
interface Health {
  up: boolean;
  sinceMs: number;
  /** What control was told last. */
  said: "running" | "starting";
  detail: string;
}

export class KeptMachine {
  readonly id: string;
  readonly #deps: KeptDeps;
  #entry: KeptEntry;
  #endpoint: Endpoint | null = null;
  #payload: { incarnation: number; payload: Payload } | null = null;
  #secrets: PromiseWithResolvers<Uint8Array> | null = null;
  #fault: { incarnation: number; code: string; detail: string } | null = null;
  #loop: Promise<void> | null = null;
  #dirty = false;
  #attempt: AbortController | null = null;
  #askAgain: NodeJS.Timeout | undefined;
  #closed = false;
  /** What the driver said and the loop has not taken up. */
  #changes: KeptChange[] = [];
  #health: Health | null = null;
  readonly #falls = new Falls();
  readonly #notices = new Notices();
  /** Why it has to be brought up again without anybody's wish; null when nothing of the kind happened. */
  #interrupted: { detail: string; atMs: number } | null = null;
  /** Something of it may run that is not known: it is ended before it is said that nothing does. */
  #stale = false;
  /** Something of it may have run when the host's last process ended, and it has not been looked for yet. */
  #unfound = false;
  #engineMissed = false;
  /** H. */
  #carrying: { call: AbortController; isFor(desired: Desired): boolean; over: Promise<unknown> } | null =
    null;
  /** Nothing of it runs, by the driver's word, and nothing has been begun since. */
  #atRest = false;

  constructor(id: string, deps: KeptDeps, entry: KeptEntry) {
    this.id = id;
    this.#deps = deps;
    this.#entry = entry;
  }

  get desired(): Desired {
    return this.#entry.desired;
  }

  get running(): boolean {
    return this.#entry.applied?.state === "running";
  }

  /** Where the ingress finds it; null while it does not run. */
  get endpoint(): Endpoint | null {
    return this.running && this.#health?.up === true ? this.#endpoint : null;
  }

  /** Takes up what an earlier process left: also half a start, which is ended before it is said that nothing runs. */
  async adopt(): Promise<void> {
    if (this.#entry.record === null) return;
    this.#unfound = true;
    await this.#find().catch(async (error) => {
      // G: looked for again when something is wished of it.
      this.#deps.log("host.kept-unfindable", { machineId: this.id, error: String(error) });
      await this.#deps.onRoute();
    });
  }

  async #find(): Promise<void> {
    const { applied, record } = this.#entry;
    const found = await this.#deps.driver.find(this.id, record ?? {});
    this.#unfound = false;
    this.#endpoint = found.endpoint;
    if (found.state === "running" && found.endpoint !== null && applied !== null) {
      // Its start was through, and the kill came before that was on disk (B).
      this.#entry = { ...this.#entry, applied: { ...applied, state: "running" } };
      this.#isUp();
    }
    // Halted by whatever halted the host: it is brought up again as the incarnation it was.
    else this.#entry = { ...this.#entry, applied: null };
    await this.#deps.onRoute();
  }

  /** `refused`: why it is not to come up, whatever is wished. */
  wish(desired: Desired, refused?: string): void {
    const { desired: known } = this.#entry;
    if (desired.generation < known.generation) return;
    // `down` sticks, as for every machine.
    if (known.want === "down" && desired.want !== "down") return;
    const stale = desired.want !== known.want || desired.incarnation !== known.incarnation;
    this.#entry = { ...this.#entry, desired };
    if (refused !== undefined)
      this.#fault = { incarnation: desired.incarnation ?? 1, code: "host.above-ceiling", detail: refused };
    if (stale) this.#attempt?.abort(new Error("the wish changed"));
    if (this.#carrying?.isFor(desired) === false) this.#carrying.call.abort(new Error("the wish changed"));
    const renamed = JSON.stringify(desired.spec.kept?.domains) !== JSON.stringify(known.spec.kept?.domains);
    if (renamed) this.#deps.driver.certifyAnew?.(this.id);
    // What is to go holds its names no longer.
    if (renamed || (desired.want === "down" && known.want !== "down")) this.#deps.onRoute();
    this.#run();
  }

  give(incarnation: number, payload: Payload): void {
    if (incarnation !== (this.desired.incarnation ?? 1)) return;
    this.#payload = { incarnation, payload };
    this.#run();
  }

  refuse(incarnation: number): void {
    this.#fault = {
      incarnation,
      code: "machine.start-failed",
      detail: "the host cannot take what is to run",
    };
    this.#run();
  }

  /** Sealed to the key of the guest that waits; a box for an earlier boot cannot be opened by it, and is asked for again. */
  async giveSecrets(incarnation: number, box: Uint8Array): Promise<void> {
    if (incarnation !== (this.desired.incarnation ?? 1)) return;
    if (this.#secrets !== null) return this.#secrets.resolve(box);
    // Of one that runs it says anew who is let in.
    if (this.running && this.#entry.applied?.incarnation === incarnation)
      await this.#deps.driver.claimAnew?.(this.id, box);
  }

  refuseSecrets(incarnation: number, words: string): void {
    if (incarnation === (this.desired.incarnation ?? 1))
      this.#secrets?.reject(new DriverFault("machine.attestation-refused", words));
  }

  /** H. Rejects unless it is halted. */
  async lendDisk<T>(lost: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    await this.settled();
    const { want, disk } = this.desired;
    if (want !== "halted" || disk !== undefined || !this.#atRest)
      throw new DriverFault("host.not-ready", "the machine is not halted with its disk");
    return this.#carry(({ want }) => want === "halted", lost, work);
  }

  /** H. Rejects unless a disk of this number is to come. */
  async takeDisk<T>(carry: number, lost: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const isFor = ({ want, disk }: Desired) => want !== "down" && disk?.carry === carry;
    if (!isFor(this.desired)) throw new DriverFault("host.not-ready", "no disk of this number is to come");
    return this.#carry(isFor, lost, work);
  }

  async #carry<T>(
    isFor: (desired: Desired) => boolean,
    lost: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (this.#closed || this.#carrying !== null)
      throw new DriverFault("host.not-ready", "the machine's disk is on its way already");
    const call = new AbortController();
    const done = work(AbortSignal.any([call.signal, lost]));
    const over = done.catch(() => {});
    this.#carrying = { call, isFor, over };
    try {
      return await done;
    } finally {
      this.#carrying = null;
    }
  }

  /** The driver saw it change by itself. */
  changed(change: KeptChange): void {
    this.#changes = [...this.#changes, change].slice(-CHANGES_MAX);
    this.#run();
  }

  /** Control has committed a report of this machine. */
  acknowledged({ notices }: Observation): void {
    if (notices !== undefined) this.#notices.taken(notices);
  }

  /** Resolves when nothing is being done any more. */
  async settled(): Promise<void> {
    while (this.#loop !== null) await this.#loop;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#askAgain);
    this.#attempt?.abort(new Error("the host is stopping"));
    this.#carrying?.call.abort(new Error("the host is stopping"));
    await this.#carrying?.over;
    await this.settled();
  }

  /** After `close`. */
  async suspend(): Promise<void> {
    if (!this.running) return;
    await this.#deps.driver.halt(this.id, this.#entry.record).catch((error) => {
      this.#deps.log("host.kept-halt-failed", { machineId: this.id, error: String(error) });
    });
    this.#say(this.desired, "starting", { idle: true });
  }

  #run(): void {
    this.#dirty = true;
    if (this.#closed) return;
    this.#loop ??= this.#converge()
      .catch((error) => {
        this.#deps.log("host.kept-stuck", { machineId: this.id, error: String(error) });
        this.#askLater();
      })
      .finally(() => {
        this.#loop = null;
        if (this.#dirty && !this.#closed) this.#run();
      });
  }

  async #converge(): Promise<void> {
    while (this.#dirty && !this.#closed) {
      this.#dirty = false;
      clearTimeout(this.#askAgain);
      if (this.#carrying?.call.signal.aborted) await this.#carrying.over; // H
      const goal = this.desired;
      if (goal.want === "down") return this.#remove(goal);
      for (const change of this.#changes.splice(0)) await this.#takeUp(change);
      if (goal.want === "halted") await this.#halt(goal);
      else await this.#bringUp(goal);
    }
  }

  /** F */
  async #takeUp({ state, detail, endpoint }: KeptChange): Promise<void> {
    const { applied } = this.#entry;
    const health = this.#health;
    if (applied?.state !== "running" || health === null) return;
    const nowMs = this.#deps.clock();
    switch (state) {
      case "running":
        if (health.up) {
          this.#notices.warn(detail, nowMs);
          return;
        }
        if (endpoint !== undefined) this.#endpoint = endpoint;
        if (health.said === "running") this.#notices.warn(health.detail, nowMs);
        this.#health = { ...health, up: true, sinceMs: nowMs };
        break;
      case "restarting":
        if (!health.up) return;
        this.#falls.add(nowMs);
        this.#health = { ...health, up: false, sinceMs: nowMs, detail };
        break;
      case "interrupted":
        this.#falls.add(nowMs);
        this.#interrupted = { detail, atMs: nowMs };
        this.#stale = true;
        this.#health = null;
        this.#endpoint = null;
        this.#entry = { ...this.#entry, applied: null };
        break;
      case "halted":
        this.#fault = { incarnation: applied.incarnation, code: "machine.exited", detail };
        this.#health = null;
        break;
    }
    await this.#deps.onRoute();
  }

  async #bringUp(goal: Desired): Promise<void> {
    const incarnation = goal.incarnation ?? 1;
    if (this.#unfound) {
      if (!(await this.#engineAnswers(goal))) return;
      await this.#find();
    }
    const fault = this.#fault;
    if (fault?.incarnation === incarnation) {
      // C. What runs is an older start of it, or what its end has left.
      if (this.running) await this.#end(goal);
      return this.#say(goal, "halted", fault);
    }
    if (this.running && this.#entry.applied!.incarnation === incarnation) return this.#sayHealth(goal);
    if (goal.disk !== undefined) {
      // H
      if (this.running) await this.#end(goal);
      if (!this.#deps.store.entries.has(this.id)) await this.#store({}); // B
      this.#say(goal, "starting", { wantsDisk: true, idle: true });
      return this.#askLater();
    }
    if (!(await this.#isReadyToStart(goal))) return;
    if (this.#payload?.incarnation !== incarnation) {
      // An older start may still run until this one can replace it.
      this.#say(goal, "starting", { wantsPayload: true, ...(this.running ? {} : { idle: true }) });
      this.#askLater();
      return;
    }
    const { payload } = this.#payload;
    this.#say(goal, "starting");
    this.#atRest = false;
    this.#attempt = new AbortController();
    try {
      await this.#store({ applied: { incarnation, state: "halted" } }); // B
      const { record, endpoint } = await this.#deps.driver.start(this.id, goal.spec, payload, {
        onRecord: (early) => this.#store({ record: early }),
        onProgress: (detail) => this.#say(goal, "starting", { detail }),
        onImage: (image) => this.#tellImage(image),
        inside: {
          secrets: () => this.#waitForSecrets(goal, this.#attempt!.signal),
          // As they are by then: a start takes minutes.
          certify: (request) => this.#deps.certify(this.desired.spec.kept?.domains ?? [], request),
        },
        signal: this.#attempt.signal,
      });
      // Whatever was said of it before is about what this start replaced.
      this.#changes = [];
      this.#endpoint = endpoint;
      this.#fault = null;
      this.#interrupted = null;
      this.#isUp();
      await this.#store({ record, applied: { incarnation, state: "running" } });
      this.#payload = null; // E
      await this.#deps.onRoute();
      await this.#sayRunning(goal);
    } catch (error) {
      this.#endpoint = null;
      this.#health = null;
      if (this.#attempt.signal.aborted) {
        this.#dirty = true;
        return;
      }
      this.#deps.log("host.kept-start-failed", { machineId: this.id, error: String(error) });
      await this.#deps.onRoute();
      if (error instanceof DriverFault && error.code === "host.not-ready") {
        // G. The payload stays for the next try.
        this.#stale = true;
        this.#askLater();
        return;
      }
      this.#payload = null;
      this.#fault = { incarnation, ...wordsOf(error) };
      this.#interrupted = null;
      this.#say(goal, "halted", this.#fault);
    } finally {
      this.#attempt = null;
    }
  }

  /** Asked for again and again, as a payload is: what was sent may have been lost with a connection. */
  async #waitForSecrets(goal: Desired, signal: AbortSignal): Promise<Uint8Array> {
    const waiting = Promise.withResolvers<Uint8Array>();
    this.#secrets = waiting;
    const ask = () => this.#say(goal, "starting", { wantsSecrets: true });
    const again = setInterval(ask, ASK_AGAIN_MS);
    const abort = () => waiting.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      if (signal.aborted) throw signal.reason;
      ask();
      return await waiting.promise;
    } finally {
      clearInterval(again);
      signal.removeEventListener("abort", abort);
      this.#secrets = null;
    }
  }

  #isUp(): void {
    this.#health = { up: true, sinceMs: this.#deps.clock(), said: "running", detail: "" };
  }

  /** F. Says what is so, or waits until it is worth saying. */
  async #sayHealth(goal: Desired): Promise<void> {
    const health = this.#health;
    if (health === null) return;
    const nowMs = this.#deps.clock();
    const pastMs = nowMs - health.sinceMs;
    const fallen = this.#falls.count(nowMs);
    const patienceMs = health.up
      ? health.said === "starting"
        ? this.#falls.calmMs(nowMs)
        : 0
      : health.said === "running" && fallen < 2
        ? BLINK_MS
        : 0;
    if (pastMs < patienceMs) this.#askLater(patienceMs - pastMs);
    else this.#health = { ...health, said: health.up ? "running" : "starting" };
    if (this.#health!.said === "running") await this.#sayRunning(goal);
    else this.#say(goal, "starting", { restarted: true, detail: health.detail });
  }

  async #sayRunning(goal: Desired): Promise<void> {
    const ssh = this.#endpoint?.ssh === undefined ? null : await this.#deps.ssh(this.id);
    this.#say(goal, "running", ssh ? { ssh } : {});
  }

  /** What was interrupted is ended whole and waits for its calm; nothing is tried without an engine. */
  async #isReadyToStart(goal: Desired): Promise<boolean> {
    if (!(await this.#engineAnswers(goal))) return false;
    if (this.#stale) {
      this.#say(goal, "starting");
      await this.#deps.driver.halt(this.id, this.#entry.record);
      this.#stale = false;
    }
    if (this.#interrupted === null) return true;
    const nowMs = this.#deps.clock();
    const waitMs =
      this.#falls.count(nowMs) < 2 ? 0 : this.#interrupted.atMs + this.#falls.calmMs(nowMs) - nowMs;
    if (waitMs <= 0) return true;
    this.#say(goal, "starting", { idle: true });
    this.#askLater(waitMs);
    return false;
  }

  /** G */
  async #engineAnswers(goal: Desired): Promise<boolean> {
    if (await this.#deps.driver.answers()) {
      this.#engineMissed = false;
      return true;
    }
    if (!this.#engineMissed) {
      this.#engineMissed = true;
      this.#deps.log("host.kept-engine-away", { machineId: this.id });
      this.#notices.warn("the host's engine does not answer; it is started when it does", this.#deps.clock());
      this.#say(goal, "starting", { idle: true });
    }
    this.#askLater();
    return false;
  }

  /** Once for each new answer: who starts it again with the same image has not changed anything. */
  #tellImage({ service, reference, digest }: ResolvedImage): void {
    const images = this.#entry.images ?? {};
    const meaning = `${reference} is ${digest}`;
    if (images[service] === meaning) return;
    // Its guest's words, kept on disk: a workload has not so many services.
    if (!Object.hasOwn(images, service) && Object.keys(images).length >= IMAGES_MAX) return;
    this.#entry = { ...this.#entry, images: { ...images, [service]: meaning } };
    this.#notices.image(`service ${service}: ${meaning}`);
  }

  async #halt(goal: Desired): Promise<void> {
    // Nothing runs beside a disk that is on its way, and who halts a machine may look at its files.
    if (this.#carrying === null) await this.#end(goal);
    if (goal.disk === undefined) return this.#say(goal, "halted");
    this.#say(goal, "halted", { wantsDisk: true });
    this.#askLater();
  }

  async #end(goal: Desired): Promise<void> {
    const incarnation = goal.incarnation ?? 1;
    this.#payload = null;
    this.#endpoint = null;
    this.#health = null;
    this.#changes = [];
    this.#interrupted = null;
    this.#unfound = false;
    await this.#store({ applied: { incarnation, state: "halted" } });
    await this.#deps.onRoute();
    await this.#deps.driver.halt(this.id, this.#entry.record);
    this.#stale = false;
    this.#atRest = true;
  }

  async #remove(goal: Desired): Promise<void> {
    this.#payload = null;
    this.#endpoint = null;
    await this.#deps.onRoute();
    await this.#deps.driver.remove(this.id, this.#entry.record);
    this.#deps.store.drop(this.id);
    this.#closed = true;
    this.#deps.onGone(this.id);
    this.#say(goal, "ended");
  }

  async #store(change: Partial<KeptEntry>): Promise<void> {
    this.#entry = { ...this.#entry, ...change };
    await this.#deps.store.put(this.id, this.#entry);
  }

  /** D. */
  #say(
    { generation, incarnation = 1 }: Desired,
    state: Observation["state"],
    more: Partial<Observation> = {},
  ): void {
    const { code, detail, wantsPayload, wantsSecrets, wantsDisk, idle, ssh } = more;
    const restarted = state === "starting" && (more.restarted ?? this.#interrupted !== null);
    const words = detail ?? (restarted ? this.#interrupted?.detail : undefined);
    const notices = this.#notices.waiting;
    this.#deps.report({
      ...{ machineId: this.id, generation, incarnation, state },
      ...(code === undefined ? {} : { code }),
      ...(words === undefined ? {} : { detail: words.slice(0, 1000) }),
      ...(wantsPayload === undefined ? {} : { wantsPayload }),
      ...(wantsSecrets === undefined ? {} : { wantsSecrets }),
      ...(wantsDisk === undefined ? {} : { wantsDisk }),
      ...(idle === undefined ? {} : { idle }),
      ...(ssh === undefined ? {} : { ssh }),
      ...(restarted ? { restarted } : {}),
      ...(notices.length === 0 ? {} : { notices: [...notices] }),
    });
  }

  #askLater(ms = ASK_AGAIN_MS): void {
    clearTimeout(this.#askAgain);
    if (!this.#closed) this.#askAgain = setTimeout(() => this.#run(), ms);
  }
}

/** Only a driver's own words are public; another error's may hold paths or worse. */
function wordsOf(error: unknown): { code: string; detail: string } {
  if (error instanceof DriverFault) return { code: error.code, detail: error.message.slice(0, 1000) };
  return { code: "machine.start-failed", detail: "the host could not start the machine" };
}
