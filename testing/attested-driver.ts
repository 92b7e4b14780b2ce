// SPDX-License-Identifier: Apache-2.0
/**
 * A kept driver whose machines attest themselves, by specimen-guest.ts; a test is the host that boots something else, or answers in a
 * guest's place. What runs in the end is the fake driver's small server; each start of a machine adds a line to its disk, which is a
 * file in the folder that it was given, with holes.
 */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { ErrorCode } from "#contract/errors.ts";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { LaunchPayload, Payload } from "#contract/link/payload.ts";
import { halfOf, readDiskFile, writeDiskFile } from "#drivers/disk-file.ts";
import { DriverFault } from "#drivers/driver.ts";
import type { AttestedMachine, DiskPart, KeptStart } from "#drivers/kept-driver.ts";
import type { GuestSecrets, InstanceSecrets } from "#guest/protocol.ts";
import type { ImageMetadata } from "#images/metadata.ts";
import { FakeKeptDriver } from "./fake-kept-driver.ts";
import { bootSpecimenGuest, SpecimenAuthority, type SpecimenGuest } from "./specimen-guest.ts";
import { type SshMachine, startSshMachine } from "./ssh-machine.ts";

const DISK_BYTES = 4 * 1024 * 1024;
const LINE_EVERY_BYTES = 512 * 1024;
const LINE_AT = 1000;
const LINE_BYTES = 22;

/** What a host that is not honest does to a start. */
export interface Deviation {
  /** Of the image that it starts instead. */
  image?: ImageMetadata;
  /** Words after the command line. */
  appended?: string;
  /** Answers with what an earlier guest said. */
  replay?: boolean;
  /** Puts a key of its own beside the guest's evidence. */
  ownKey?: boolean;
  /** Says that the machine's SSH server has another key than it has. */
  ownHostKey?: boolean;
  /** Does not hand on what a machine that runs is told anew, and says that it did. */
  withholds?: boolean;
  /** How its start fails. */
  fault?: { code: ErrorCode; words: string };
  /** Before it answers about itself. */
  onEvidence?: () => Promise<void>;
  /** Of a TPM that is none: its key opens no credential. */
  withoutTpm?: boolean;
  /** Of a quote of TDX: registers by their offset in its body, in hex. */
  registers?: Readonly<Record<number, string>>;
}

/** MRTD and register 0 of every host's firmware here. */
export const TDX_FIRMWARE = { 136: "0a".repeat(48), 328: "0b".repeat(48) } as const;

export class AttestedDriver extends FakeKeptDriver {
  override readonly isolation: "vm" | "vm-vtpm" | "vm-tdx";
  deviation: Deviation = {};
  /** What each machine's guest was given last. */
  readonly secrets = new Map<string, GuestSecrets>();
  /** What each machine was started with last. */
  readonly launches = new Map<string, LaunchPayload>();
  readonly images = new Map<string, ImageMetadata>();
  /** What each machine that one logs in to was given last. */
  readonly claims = new Map<string, InstanceSecrets>();
  /** What machines that ran were handed, sealed. */
  readonly boxes: Uint8Array[] = [];
  readonly #machines = new Map<string, SshMachine>();
  readonly #guests = new Map<string, SpecimenGuest>();
  readonly #authority = new SpecimenAuthority();
  #said: {
    evidence: Awaited<ReturnType<AttestedMachine["evidence"]>>;
    keys: AttestedMachine["keys"];
  } | null = null;

  readonly #diskFolder: string | null;

  constructor(isolation: AttestedDriver["isolation"] = "vm-vtpm", diskFolder: string | null = null) {
    super();
    this.isolation = isolation;
    this.#diskFolder = diskFolder;
  }

  diskOf(machineId: string): string {
    if (this.#diskFolder === null) throw new DriverFault("host.not-ready", "there is no folder for disks");
    return join(this.#diskFolder, `${machineId}.disk`);
  }

  /** The lines of the starts that wrote to this disk; null where there is none. */
  linesOn(machineId: string): string[] | null {
    const path = this.diskOf(machineId);
    if (!existsSync(path)) return null;
    const disk = readFileSync(path);
    const lines: string[] = [];
    for (let at = LINE_AT; at < disk.length; at += LINE_EVERY_BYTES)
      lines.push(disk.subarray(at, at + LINE_BYTES).toString("latin1"));
    return lines.filter((line) => line.startsWith("start-"));
  }

  async #writeLine(machineId: string): Promise<void> {
    const path = this.diskOf(machineId);
    const disk = await open(path, existsSync(path) ? "r+" : "w+");
    const lines = this.linesOn(machineId)!.length;
    await disk.truncate(DISK_BYTES);
    const words = `start-${randomBytes(8).toString("hex")}`;
    await disk.write(words, LINE_AT + lines * LINE_EVERY_BYTES);
    await disk.close();
  }

  readDisk(machineId: string, signal: AbortSignal): Promise<AsyncIterable<DiskPart>> {
    this.#requireStill(machineId);
    return readDiskFile(this.diskOf(machineId), signal);
  }

  async writeDisk(machineId: string, parts: AsyncIterable<DiskPart>, signal: AbortSignal): Promise<void> {
    this.#requireStill(machineId);
    await writeDiskFile(this.diskOf(machineId), parts, signal);
    this.disks.add(machineId);
  }

  #requireStill(machineId: string): void {
    if (this.running.has(machineId)) throw new DriverFault("host.not-ready", "the machine is not halted");
  }

  override async probe() {
    return { ready: true, missing: null, endorsers: [Buffer.from(this.#authority.root).toString("base64")] };
  }

  override async start(machineId: string, spec: MachineSpec, payload: Payload, hooks: KeptStart) {
    if (payload.kind !== "launch") throw new DriverFault("machine.start-failed", "not a launch");
    this.launches.set(machineId, payload);
    const image = this.deviation.image ?? this.images.get(payload.image);
    if (image === undefined) throw new DriverFault("machine.start-failed", "this host has no such image");
    const manifest = Buffer.from(payload.manifest, "base64");
    const { appended, withoutTpm, registers, fault } = this.deviation;
    if (fault !== undefined) throw new DriverFault(fault.code, fault.words);
    const guest = await bootSpecimenGuest({
      ...{ image, manifest, authority: this.#authority },
      ...(appended !== undefined && { appended }),
      ...(withoutTpm !== undefined && { withoutTpm }),
      ...(this.isolation === "vm-tdx" && { tdx: { ...TDX_FIRMWARE, ...registers } }),
    });
    this.#guests.set(machineId, guest);
    const box = await hooks.inside!.secrets();
    if (JSON.parse(manifest.toString()).kind === "instance")
      return this.#logIn(machineId, spec, hooks, await guest.openInstance(box));
    const secrets = await guest.open(box);
    const sealed = secrets.sealedEnv === undefined ? {} : await guest.openEnv(secrets.sealedEnv);
    secrets.env = { ...secrets.env, ...sealed };
    this.secrets.set(machineId, secrets);
    const { publicService, publicPort } = JSON.parse(manifest.toString());
    const compose = JSON.stringify({ services: { [publicService]: { image: "inside" } } });
    const { env, registries } = secrets;
    if (this.#diskFolder !== null) await this.#writeLine(machineId);
    return super.start(
      machineId,
      spec,
      { kind: "compose", compose, env, files: {}, registries, publicService, publicPort },
      hooks,
    );
  }

  async #logIn(machineId: string, spec: MachineSpec, hooks: KeptStart, secrets: InstanceSecrets) {
    const { machineId: itsId, hostname, authorizedKey } = secrets;
    if (itsId !== machineId) throw new DriverFault("machine.start-failed", "the box is another machine's");
    this.claims.set(machineId, secrets);
    const compose = JSON.stringify({ services: { ssh: { image: "inside" } } });
    const inside = { kind: "compose" as const, compose, env: {}, files: {}, registries: [] };
    const { record } = await super.start(
      machineId,
      spec,
      { ...inside, publicService: "ssh", publicPort: 22 },
      hooks,
    );
    this.#machines.get(machineId)?.close();
    const machine = await startSshMachine(authorizedKey, hostname);
    const { hostKeys } = machine.endpoint.ssh!;
    this.#guests.get(machineId)!.letIn({ hostKeys, hostname, authorizedKey });
    if (this.deviation.ownHostKey === true)
      machine.endpoint = { ...machine.endpoint, ssh: { hostKeys: [`ssh-ed25519 ${"A".repeat(68)}`] } };
    this.#machines.set(machineId, machine);
    return { record, endpoint: machine.endpoint };
  }

  async claimAnew(machineId: string, box: Uint8Array): Promise<void> {
    if (this.deviation.withholds === true) return;
    const guest = this.#guests.get(machineId);
    const machine = this.#machines.get(machineId);
    const before = this.claims.get(machineId);
    if (guest === undefined || machine === undefined || before === undefined)
      throw new DriverFault("machine.not-running", "this host runs no such machine");
    this.boxes.push(box);
    const secrets = await guest.openInstance(box);
    if ((secrets.keyNumber ?? 0) < (before.keyNumber ?? 0))
      throw new DriverFault("machine.start-failed", "the box has an older key than the machine");
    this.claims.set(machineId, secrets);
    machine.authorize(secrets.authorizedKey);
    const { hostKeys } = machine.endpoint.ssh!;
    guest.letIn({ hostKeys, hostname: secrets.hostname, authorizedKey: secrets.authorizedKey });
  }

  override async halt(machineId: string): Promise<void> {
    this.#machines.get(machineId)?.close();
    this.#machines.delete(machineId);
    await super.halt(machineId);
  }

  override async remove(machineId: string): Promise<void> {
    this.#machines.get(machineId)?.close();
    this.#machines.delete(machineId);
    await super.remove(machineId);
    if (this.#diskFolder === null) return;
    for (const path of [this.diskOf(machineId), halfOf(this.diskOf(machineId))])
      rmSync(path, { force: true });
  }

  override async find(machineId: string) {
    const found = await super.find(machineId);
    return { ...found, endpoint: this.#machines.get(machineId)?.endpoint ?? found.endpoint };
  }

  async attested(machineId: string): Promise<AttestedMachine> {
    const guest = this.#guests.get(machineId);
    if (guest === undefined) throw new DriverFault("machine.not-running", "this host runs no such machine");
    return this.#asHostSays(guest.machine);
  }

  #asHostSays(machine: AttestedMachine): AttestedMachine {
    const { replay, ownKey } = this.deviation;
    const earlier = replay === true ? this.#said : null;
    const sealing = Buffer.alloc(32, 9).toString("base64");
    return {
      keys: earlier?.keys ?? (ownKey === true ? { ...machine.keys, sealing } : machine.keys),
      activate: machine.activate,
      evidence: async (purpose, nonceHex) => {
        await this.deviation.onEvidence?.();
        if (earlier !== null) return earlier.evidence;
        if (this.isolation === "vm") return { platform: "none", bundle: null, reportData: "00".repeat(64) };
        const evidence = await machine.evidence(purpose, nonceHex);
        this.#said = { evidence, keys: machine.keys };
        return evidence;
      },
    };
  }
}
