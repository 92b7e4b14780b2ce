// SPDX-License-Identifier: Apache-2.0
/**
 * One pass over /proc for any number of questions. The pass costs a few reads per process of the
 * host, so questions that wait while one pass runs are answered together by the next: the cost of
 * ending a hundred machines at once is that of one.
 *
 *  A. A pass that answers a question began after the question came.
 *  B. mountinfo is read once for each pair of mount namespace and root folder, not per process: a
 *     process in a chroot is shown only the mounts below it.
 *  C. A process between fork and exec still holds its parent's descriptors for a moment. So what is
 *     found is looked for again, and only what stays is reported.
 *  D. A file system that is watched and of which the kernel said that it is gone has no mount, no
 *     descriptor and no mapping anywhere; nothing is searched for it. Only for one that stays are
 *     mount tables, descriptors and maps read (9 of 10 parts of a pass), to count who holds it.
 *  E. A held mount namespace would hold its mounts, so of a watched machine it is let go too, and its
 *     inode may be another's. A task in it keeps the file systems, so when they are gone there is none;
 *     while one stays, a namespace of that inode is the machine's when it has the file system mounted.
 *  F. Where only namespaces are looked for, the sieve (watch.pl) says in which processes to look.
 */
import { existsSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { listPids, mountLines, statusFields, tryRead } from "../process-table.ts";
import { NAMESPACE_KINDS } from "../record.ts";
import type { ScanAnswer, ScanQuestion } from "./question.ts";
import { searchTraces } from "./traces.ts";
import type { Watches } from "./watches.ts";

const RETRIES = 4;
const PAUSE_MS = 8;

interface Sight {
  question: ScanQuestion;
  answer: ScanAnswer;
  /** Devices still to be searched for (D). */
  devices: string[];
}

export async function scan(questions: readonly ScanQuestion[], watches: Watches): Promise<ScanAnswer[]> {
  const answers = new Map<ScanQuestion, ScanAnswer>();
  const watched = questions.map((question) => question.watched).filter((each) => each !== null);
  const deadline = performance.now() + RETRIES * PAUSE_MS;
  await Promise.all(watched.map((each) => watches.waitGone(each, deadline - performance.now())));
  let traces: ReturnType<typeof searchTraces> | undefined;
  let open = [...questions];
  for (let attempt = 0; open.length > 0; attempt++) {
    if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    const sights = open.map((question) => ({
      question,
      answer: blank(question),
      devices: remaining(question, watches),
    }));
    const looking = look(sights, watches);
    // While the sieve works.
    traces ??= searchTraces(questions);
    await looking;
    for (const { question, answer } of sights) answers.set(question, answer);
    open =
      attempt >= RETRIES ? [] : sights.filter(({ answer }) => foundAny(answer)).map((each) => each.question);
  }
  // One that went during the last look may have left its number to another.
  await new Promise((resolve) => setImmediate(resolve));
  for (const [question, answer] of answers) {
    const left = new Set(remaining(question, watches));
    for (const device of question.devices.filter((each) => !left.has(each))) {
      answer.mounts[device] = 0;
      answer.descriptors[device] = 0;
    }
    Object.assign(answer, traces?.get(question));
    if (question.watched) watches.leave(question.watched);
  }
  return questions.map((question) => answers.get(question)!);
}

function remaining({ devices, watched }: ScanQuestion, watches: Watches): string[] {
  return devices.filter((_, index) => watched === null || !watches.isGone(watched.numbers[index]!));
}

function blank({ devices }: ScanQuestion): ScanAnswer {
  const none = () => Object.fromEntries(devices.map((device) => [device, 0]));
  const zero = { tasks: 0, cgroups: 0, sockets: 0, folders: 0, logs: 0, unreadable: 0, notSearched: 0 };
  return { ...zero, mounts: none(), descriptors: none() };
}

const foundAny = (answer: ScanAnswer) =>
  answer.tasks > 0 ||
  Object.values(answer.mounts).some(Boolean) ||
  Object.values(answer.descriptors).some(Boolean);

/** The device as mountinfo prints it, from the number stat gives. */
const deviceText = (dev: number) => `${(dev >>> 8) & 0xfff}:${(dev & 0xff) | ((dev >>> 12) & 0xfff00)}`;

const isOwn = ({ ownerUid }: ScanQuestion, uid: () => number | null) =>
  ownerUid === null || uid() === ownerUid;

function uidOf(pid: number): number | null {
  const uid = statusFields(pid)?.get("Uid")?.split("\t")[0];
  return uid === undefined ? null : Number(uid);
}

function mountUid(options: string): number | null {
  const uid = options.match(/\buid=(\d+)/)?.[1];
  return uid === undefined ? null : Number(uid);
}

/** The device as /proc/<pid>/maps prints it. */
function mapsText(device: string): string {
  const [major, minor] = device.split(":").map((part) => Number(part).toString(16).padStart(2, "0"));
  return ` ${major}:${minor} `;
}

async function look(sights: Sight[], watches: Watches): Promise<void> {
  const byNamespace = new Map<string, Sight>();
  /** By inodes that are not held (E). */
  const mountNamespaces = new Map<string, Sight>();
  const byDevice = new Map<string, Sight>();
  const heldBy = new Map<number, Map<number, Sight>>();
  for (const sight of sights) {
    for (const [kind, inode] of Object.entries(sight.question.namespaces)) {
      const unheld = kind === "mnt" && sight.question.watched !== null;
      if (!unheld) byNamespace.set(`${kind}:[${inode}]`, sight);
      else if (sight.devices.length > 0) mountNamespaces.set(`${kind}:[${inode}]`, sight);
    }
    for (const device of sight.devices) byDevice.set(device, sight);
    const { pid, fds } = sight.question.held;
    const held = heldBy.get(pid) ?? new Map<number, Sight>();
    for (const fd of fds) held.set(fd, sight);
    heldBy.set(pid, held);
    sight.answer.cgroups = sight.question.cgroups.filter((path) => existsSync(path)).length;
  }
  /** Devices of questions in each mount table read. */
  const tables = new Map<string, Set<string>>();
  let unreadable = 0;

  const inNamespaces = (base: string): Set<Sight> | null => {
    const hits = new Set<Sight>();
    for (const kind of NAMESPACE_KINDS) {
      const link = tryLink(`${base}/ns/${kind}`);
      if (link === null) return null;
      const sight = byNamespace.get(link);
      if (sight) hits.add(sight);
    }
    return hits;
  };

  // F
  const sieved = byDevice.size === 0 ? await watches.sieve([...byNamespace.keys()]) : null;
  for (const pid of sieved ?? listPids()) {
    const base = `/proc/${pid}`;
    let hits = inNamespaces(base);
    if (hits === null) {
      // A leader that ended while its threads run has no namespaces of its own to show.
      hits = new Set();
      let seen = false;
      for (const task of tryList(`${base}/task`) ?? []) {
        const more = inNamespaces(`${base}/task/${task}`);
        if (more === null) continue;
        seen = true;
        for (const sight of more) hits.add(sight);
      }
      if (!seen) {
        if (existsSync(`${base}/cmdline`) && tryRead(`${base}/cmdline`) !== "") unreadable++;
        continue;
      }
    }
    for (const { question, answer } of hits) if (isOwn(question, () => uidOf(pid))) answer.tasks++;

    if (byDevice.size === 0) continue; // D
    for (const name of ["root", "cwd"]) {
      const at = tryStat(`${base}/${name}`);
      const sight = at && byDevice.get(deviceText(at.dev));
      if (sight && isOwn(sight.question, () => at.uid)) sight.answer.descriptors[deviceText(at.dev)]!++;
      if (name !== "root" || !at) continue;
      const namespace = tryLink(`${base}/ns/mnt`) ?? "";
      const table = `${namespace} ${at.dev} ${at.ino}`;
      let mounted = tables.get(table);
      if (!mounted) {
        mounted = new Set();
        tables.set(table, mounted);
        for (const line of mountLines(pid) ?? []) {
          const found = byDevice.get(line.device);
          if (!found || !isOwn(found.question, () => mountUid(line.options))) continue;
          found.answer.mounts[line.device]!++;
          mounted.add(line.device);
        }
      }
      const joined = mountNamespaces.get(namespace);
      if (joined && !hits.has(joined) && joined.devices.some((device) => mounted.has(device)))
        joined.answer.tasks++;
    }

    // A file that was mapped and closed has no descriptor any more and keeps the file system all the same.
    const maps = tryRead(`${base}/maps`) ?? "";
    for (const [device, sight] of byDevice)
      if (sight.question.ownerUid === null && maps.includes(mapsText(device)))
        sight.answer.descriptors[device]!++;

    const held = heldBy.get(pid);
    const fds = tryList(`${base}/fd`);
    if (fds === null) unreadable++;
    for (const fd of fds ?? []) {
      const at = tryStat(`${base}/fd/${fd}`);
      if (!at) continue;
      const device = deviceText(at.dev);
      const sight = byDevice.get(device);
      if (sight && held?.get(Number(fd)) !== sight && isOwn(sight.question, () => at.uid))
        sight.answer.descriptors[device]!++;
    }
  }
  const sockets = tryRead("/proc/net/unix") ?? "";
  for (const { question, answer } of sights) {
    answer.unreadable = unreadable;
    const marks = [question.canaryHex, ...question.names];
    answer.sockets = marks.some((mark) => sockets.includes(mark)) ? 1 : 0;
  }
}

function tryLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function tryStat(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? null;
  } catch {
    return null;
  }
}

function tryList(path: string): string[] | null {
  try {
    return readdirSync(path);
  } catch {
    return null;
  }
}
