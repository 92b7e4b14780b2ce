// SPDX-License-Identifier: Apache-2.0
/**
 * One start, from the payload to running containers. The order is the safety: what was there is ended,
 * the note is written, then the limits, the rules and the files are made, all at once, and only then the
 * compose program, which loads meanwhile, is given the document, and anything of the client's runs.
 */

import type Docker from "dockerode";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { ComposePayload } from "#contract/link/payload.ts";
import { DriverFault } from "../driver.ts";
import { findHostPort } from "../host-port.ts";
import type { Endpoint, KeptStart } from "../kept-driver.ts";
import { cgroupParent, limitMachine } from "./cgroup-parent.ts";
import { type ComposeProgram, composeUp } from "./compose.ts";
import { type MachineDocument, readDocument } from "./document.ts";
import { haltMachine, type Place } from "./end.ts";
import { findEndpoint, listContainers } from "./engine.ts";
import { filePlaces, writeFiles } from "./files.ts";
import type { ImageName } from "./image-name.ts";
import type { Images } from "./images.ts";
import { listensOutside } from "./listening.ts";
import { lastLines } from "./logs.ts";
import type { MachineNote } from "./notes.ts";
import { redactor } from "./redact.ts";
import { CAPABILITIES } from "./service.ts";

/** Compose waits for health checks as long as they take. */
const UP_MS = 15 * 60_000;
/** A service that ends within this time has not been started. */
const SETTLE_MS = 1_000;
const SETTLE_STEP_MS = 200;
const LISTEN_STEP_MS = 50;
const AT_REST_MS = 3_000;
const FAULT_LINES = 10;
const FAULT_CHARACTERS = 900;
/** Below the range from which the kernel gives ports to connections. */
const PORTS = { base: 20_000, count: 12_000 };
const PORT_TRIES = 3;

export interface StartAsk {
  place: Place;
  images: Images;
  program: ComposeProgram;
  socketPath: string;
  machineId: string;
  spec: MachineSpec;
  payload: ComposePayload;
  hooks: KeptStart;
}

export async function startMachine(ask: StartAsk): Promise<{ note: MachineNote; endpoint: Endpoint }> {
  const { place, machineId, payload } = ask;
  const { owner, kind, notes, firewall, folder } = place;
  const places = filePlaces(folder, machineId);
  const clean = redactor(payload);
  const signal = ask.hooks.signal;
  const tell = (text: string) => {
    notes.log(machineId, clean(text));
    ask.hooks.onProgress(clean(text));
  };
  try {
    const { document, note } = plan(ask);
    await ask.hooks.onRecord({ ...note, driver: "docker", owner });
    signal.throwIfAborted();
    await haltMachine(place, machineId, "rules follow");
    notes.write(machineId, note);
    notes.log(machineId, "starting");
    const wanted = document.services.filter(({ active }) => active);
    const images = await ask.images.provide(machineId, wanted, payload.registries, tell, signal);
    for (const resolved of images) {
      notes.log(machineId, clean(`service ${resolved.service} runs ${resolved.digest}`));
      ask.hooks.onImage(resolved);
    }
    tell("starting services");
    const confined = allOf([
      limitMachine(kind, owner, machineId, note.limits),
      firewall.protect(machineId, document.bridges),
      writeFiles(places, payload, document.made),
    ]);
    const hostPort = await runCompose(ask, document, confined, clean);
    await settle(ask, document, clean);
    const { publicService, publicPort } = payload;
    const endpoint = await findEndpoint(place.engine, owner, machineId, publicService, publicPort);
    if (endpoint === null)
      throw failed(`service ${publicService} has no network by which its port can be reached`);
    const running: MachineNote = { ...note, phase: "running", ...(hostPort === null ? {} : { hostPort }) };
    notes.write(machineId, running);
    notes.log(machineId, "running");
    return { note: running, endpoint };
  } catch (error) {
    // Also what ran of an older payload, when the new one could not even be read (rule A of the port).
    const fault = signal.aborted ? failed("the start was called off") : asFault(error);
    try {
      await haltMachine(place, machineId);
    } finally {
      if (notes.read(machineId) !== null) notes.log(machineId, clean(fault.message));
    }
    throw fault;
  }
}

/** What is to be made, before anything is. */
function plan({ place, machineId, spec, payload }: StartAsk): {
  document: MachineDocument;
  note: MachineNote;
} {
  const document = readDocument(payload, {
    machineId,
    owner: place.owner,
    installation: place.installation,
    labels: spec.kept?.labels ?? {},
    cpuMillis: spec.cpuMillis,
    pidsMax: spec.pidsMax,
    layerMiB: place.layerQuota ? (spec.kept?.diskMiB ?? 0) : 0,
    cgroupParent: cgroupParent(place.kind, place.owner, machineId),
    ...filePlaces(place.folder, machineId),
  });
  return {
    document,
    note: {
      v: 1,
      phase: "starting",
      bridges: document.bridges,
      limits: { cpuMillis: spec.cpuMillis, memoryMiB: spec.memoryMiB, pidsMax: spec.pidsMax },
      diskMiB: spec.kept?.diskMiB ?? null,
      publicService: payload.publicService,
      publicPort: payload.publicPort,
    },
  };
}

/** Ended, each of them, when it resolves or rejects: what is undone next must not be made behind it. */
async function allOf(works: readonly Promise<unknown>[]): Promise<void> {
  const failure = (await Promise.allSettled(works)).find(({ status }) => status === "rejected");
  if (failure !== undefined) throw (failure as PromiseRejectedResult).reason;
}

/** `confined`: the machine has its limits, rules and files. The document is given to nobody before. */
async function runCompose(
  ask: StartAsk,
  document: MachineDocument,
  confined: Promise<void>,
  clean: (text: string) => string,
): Promise<number | null> {
  const { place, machineId, hooks, program, socketPath } = ask;
  for (let tries = 1; ; tries++) {
    let port: number | null = null;
    const written = (async () => {
      await confined;
      if (document.publicPortCanBeChosen) port = await takePort(place, machineId);
      return document.write(await volumesOf(ask, document), port);
    })();
    const up = { program, socketPath, machineId, document: written, signal: hooks.signal, timeoutMs: UP_MS };
    const { code, stderr } = await composeUp({
      ...up,
      rereadAt: document.extendsItself ? filePlaces(place.folder, machineId).document : null,
      folder: place.folder,
      owner: place.owner,
      project: machineId,
    }).finally(() => written.catch(() => {}));
    if (code === 0) return port;
    if (/port is already allocated|address already in use/.test(stderr) && tries < PORT_TRIES) continue;
    await failWithService(ask, document, clean);
    throw failed(
      clean(`compose could not start it: ${wordsOf(stderr, machineId)}`).slice(0, FAULT_CHARACTERS),
    );
  }
}

/** Of each image that will run, the folders that it declares as volumes. */
async function volumesOf(
  { images }: StartAsk,
  document: MachineDocument,
): Promise<(image: ImageName) => string[]> {
  const volumes = new Map<string, string[]>();
  for (const { image, active } of document.services)
    if (active && !volumes.has(image.full)) volumes.set(image.full, await images.volumesOf(image));
  return (image) => volumes.get(image.full) ?? [];
}

/**
 * The engine would choose a port by itself, and another one whenever it starts the container again, of
 * which the ingress would not hear. Written down before it is used: from here on nobody else is given it.
 */
async function takePort(place: Place, machineId: string): Promise<number> {
  const others = place.notes.list().filter((id) => id !== machineId);
  const port = await findHostPort(
    machineId,
    PORTS,
    new Set(others.map((id) => place.notes.read(id)?.hostPort)),
  );
  const noted = place.notes.read(machineId);
  if (noted !== null) place.notes.write(machineId, { ...noted, hostPort: port });
  return port;
}

/** The line in which compose says why; the last one often says only that there was an error. */
function wordsOf(stderr: string, machineId: string): string {
  const lines = stderr
    .trim()
    .split("\n")
    .filter((line) => !/^Encountered errors/.test(line));
  const line = lines.find((each) => /error:? /i.test(each)) ?? lines.at(-1) ?? "";
  return line.replaceAll(`${machineId}_`, "").replace(/^ERROR: /, "");
}

/**
 * Everything that should run does, and goes on doing so for a moment. A workload of one service need not
 * be waited for longer than until that listens: what ends afterwards is told as a change.
 */
async function settle(
  ask: StartAsk,
  document: MachineDocument,
  clean: (text: string) => string,
): Promise<void> {
  for (const until = Date.now() + SETTLE_MS; ; ) {
    ask.hooks.signal.throwIfAborted();
    if (await isServing(ask, document)) return;
    await failWithService(ask, document, clean);
    if (Date.now() > until) return;
    await new Promise((resolve) => setTimeout(resolve, LISTEN_STEP_MS));
  }
}

async function isServing(
  { place, machineId, payload }: StartAsk,
  document: MachineDocument,
): Promise<boolean> {
  if (document.services.filter(({ active }) => active).length > 1) return false;
  const containers = await listContainers(place.engine, place.owner, machineId);
  for (const { id } of containers) {
    const { State, RestartCount } = await place.engine.getContainer(id).inspect();
    const steady = State.Running && !State.Restarting && RestartCount === 0;
    if (steady && listensOutside(State.Pid, payload.publicPort)) return true;
  }
  return false;
}

async function failWithService(
  ask: StartAsk,
  document: MachineDocument,
  clean: (text: string) => string,
): Promise<void> {
  const { place, machineId } = ask;
  for (const { id, service } of await listContainers(place.engine, place.owner, machineId)) {
    ask.hooks.signal.throwIfAborted();
    const seen = await inspectAtRest(place.engine.getContainer(id));
    if (!isConfined(seen, cgroupParent(place.kind, place.owner, machineId)))
      throw new DriverFault("machine.start-failed", `service ${service} was not made as it must be`);
    const { State, RestartCount } = seen;
    const awaited = document.services.find(({ name }) => name === service)?.awaitedEnd === true;
    const ended = ["exited", "dead"].includes(State.Status);
    const failed = ended && (!awaited || State.ExitCode !== 0);
    if (!failed && !(State.Restarting || RestartCount > 0)) continue;
    // The engine's own reason, when the program could not even be started.
    const reason = State.Error === "" ? [] : [State.Error];
    const lines = [...reason, ...(await lastLines(place.engine, id, FAULT_LINES).catch(() => []))];
    const head = `service ${service} exited with code ${State.ExitCode}${State.OOMKilled ? " for want of memory" : ""}`;
    const tail = clean(lines.join("\n"));
    throw new DriverFault(
      "machine.start-failed",
      tail === "" ? head : `${head}: ${tail.slice(-(FAULT_CHARACTERS - head.length))}`,
    );
  }
}

/**
 * What keeps a container from its host is asked of compose, of which there are many versions. One that
 * leaves it out, or lets a document have its way, is not to run anything for longer than this takes.
 */
export function isConfined({ HostConfig }: Docker.ContainerInspectInfo, parent: string): boolean {
  const { Privileged, CapDrop, CapAdd, SecurityOpt, CgroupParent } = HostConfig;
  const { PidMode = "", IpcMode = "", NetworkMode = "", UsernsMode = "", Devices } = HostConfig;
  const added = (CapAdd ?? []).map((each: string) => each.replace(/^CAP_/, ""));
  return (
    Privileged !== true &&
    (CapDrop ?? []).includes("ALL") &&
    added.every((each: string) => CAPABILITIES.includes(each)) &&
    (SecurityOpt ?? []).length === 1 &&
    /^no-new-privileges(?:[:=]true)?$/.test(SecurityOpt![0]!) &&
    CgroupParent === parent &&
    (Devices ?? []).length === 0 &&
    [PidMode, IpcMode, NetworkMode, UsernsMode].every((mode) => mode !== "host")
  );
}

/** One that is started again and again shows its exit code only while it lies down. */
async function inspectAtRest(container: Docker.Container): Promise<Docker.ContainerInspectInfo> {
  for (const until = Date.now() + AT_REST_MS; ; ) {
    const seen = await container.inspect();
    const rises = seen.RestartCount > 0 && seen.State.Running && !seen.State.Restarting;
    if (!rises || Date.now() > until) return seen;
    await new Promise((resolve) => setTimeout(resolve, SETTLE_STEP_MS));
  }
}

function asFault(error: unknown): DriverFault {
  if (error instanceof DriverFault) return error;
  return failed("the host could not start the machine", { cause: error });
}

const failed = (text: string, options?: ErrorOptions) =>
  new DriverFault("machine.start-failed", text, options);
