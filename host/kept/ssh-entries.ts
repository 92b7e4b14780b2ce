// SPDX-License-Identifier: Apache-2.0
/**
 * Where people reach the SSH servers of machines: each machine has an address of this host's range to itself, and what comes to
 * it is carried to the machine unread. An address is a machine's as long as the machine is known here, also while it is halted and
 * after this process was killed: who pinned its keys under it would meet another machine otherwise.
 *
 *  A. What is led where follows from the last `set`. Of calls that come meanwhile only the newest counts.
 *  B. We listen on a high port of the address, which needs no privilege. Where one rule of nftables leads port 22 of the whole
 *     range there, that is what is shown; another program may hold port 22 of every address of this computer.
 *  C. A stranger may open connections and say nothing: the machine's own server ends those, and of each machine there is a
 *     bounded number.
 */
import { readFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";
import type { Endpoint } from "#drivers/kept-driver.ts";
import { numberOf, textOf } from "#drivers/qemu/network/addresses.ts";
import { replaceFile } from "../durable-file.ts";
import type { HostLog } from "../machine.ts";

export interface SshEntriesOptions {
  /** As `127.64.0.0/10`; every address of it must be this computer's. */
  addresses: string;
  /** Listened on, at each address. */
  port: number;
  /** Makes port 22 of the range lead to that port. False: it cannot be done here. */
  redirect(): Promise<boolean>;
  /** Which machine has which address. */
  file: string;
  log: HostLog;
}

export interface SshEntry {
  address: string;
  /** That people use. */
  port: number;
  hostKeys: readonly string[];
}

interface Open {
  server: Server;
  endpoint: Endpoint;
  sockets: Set<Socket>;
}

const CONNECTIONS_MAX = 128;
const CONNECT_MS = 10_000;
/** Addresses that another program of this computer listens on, one after the other. */
const TRIES_MAX = 64;

export class SshEntries {
  readonly #options: SshEntriesOptions;
  readonly #first: number;
  readonly #count: number;
  readonly #addresses: Map<string, string>;
  readonly #open = new Map<string, Open>();
  #shownPort: Promise<number> | null = null;
  #wanted: ReadonlyMap<string, Endpoint> = new Map();
  #work: Promise<void> = Promise.resolve();
  #next: number;

  constructor(options: SshEntriesOptions) {
    this.#options = options;
    const [, base = "", bits = ""] = /^([0-9.]{7,15})\/([0-9]{1,2})$/.exec(options.addresses) ?? [];
    const parts = base.split(".").map(Number);
    if (parts.length !== 4 || parts.some((part) => part > 255) || !(Number(bits) >= 8 && Number(bits) <= 30))
      throw new TypeError("a range of addresses is like 127.64.0.0/10 (/8 to /30)");
    this.#count = 2 ** (32 - Number(bits));
    this.#first = Math.floor(numberOf(base) / this.#count) * this.#count;
    this.#addresses = new Map(Object.entries(readAddresses(options.file)));
    // After those that are known, so that one that was given back is used again as late as can be.
    this.#next = Math.max(0, ...[...this.#addresses.values()].map((text) => numberOf(text) - this.#first));
  }

  /** Leads to these, and to no others; resolves when it is so. */
  set(machines: ReadonlyMap<string, Endpoint>): Promise<void> {
    this.#wanted = machines;
    this.#work = this.#work
      .then(() => this.#apply())
      .catch((error: unknown) => {
        this.#options.log("host.ssh-entries", { error: String(error) });
      });
    return this.#work;
  }

  /** Null while it leads nowhere. */
  async of(machineId: string): Promise<SshEntry | null> {
    const open = this.#open.get(machineId);
    const address = this.#addresses.get(machineId);
    if (open === undefined || address === undefined) return null;
    return { address, port: await this.#port(), hostKeys: open.endpoint.ssh?.hostKeys ?? [] };
  }

  /** The machine is gone; its address may be another's, late. */
  async release(machineId: string): Promise<void> {
    this.#work = this.#work.then(async () => {
      await this.#shut(machineId);
      if (this.#addresses.delete(machineId)) await this.#keep();
    });
    await this.#work;
  }

  async close(): Promise<void> {
    this.#wanted = new Map();
    await this.#work;
    for (const machineId of [...this.#open.keys()]) await this.#shut(machineId);
  }

  async #apply(): Promise<void> {
    const wanted = this.#wanted;
    for (const [machineId, { endpoint }] of [...this.#open]) {
      const now = wanted.get(machineId);
      if (now === undefined || !isDeepStrictEqual(now, endpoint)) await this.#shut(machineId);
    }
    for (const [machineId, endpoint] of wanted)
      if (!this.#open.has(machineId)) await this.#lead(machineId, endpoint);
  }

  async #lead(machineId: string, endpoint: Endpoint): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const known = this.#addresses.get(machineId);
      const address = known ?? this.#free();
      const open: Open = { server: createServer({ allowHalfOpen: true }), endpoint, sockets: new Set() };
      open.server.maxConnections = CONNECTIONS_MAX;
      open.server.on("connection", (client) => carry(client, open));
      const fault = await listening(open.server, address, this.#options.port);
      if (fault === null) {
        this.#open.set(machineId, open);
        if (known !== undefined) return;
        this.#addresses.set(machineId, address);
        return this.#keep();
      }
      if (known !== undefined || fault.code !== "EADDRINUSE") throw fault;
    }
    throw new Error("no address of the range can be listened on");
  }

  /** Neither the first, which is the network's own, nor the last. */
  #free(): string {
    const taken = new Set(this.#addresses.values());
    for (let tried = 0; tried < this.#count; tried++) {
      this.#next = (this.#next % (this.#count - 2)) + 1;
      const address = textOf(this.#first + this.#next);
      if (!taken.has(address)) return address;
    }
    throw new Error("no address of the range is left");
  }

  async #shut(machineId: string): Promise<void> {
    const open = this.#open.get(machineId);
    if (open === undefined) return;
    this.#open.delete(machineId);
    const closed = new Promise((resolve) => open.server.close(resolve));
    for (const socket of open.sockets) socket.destroy();
    await closed;
  }

  /** B. Asked once; what cannot be done now cannot be a moment later. */
  #port(): Promise<number> {
    this.#shownPort ??= this.#options.redirect().then((done) => (done ? 22 : this.#options.port));
    return this.#shownPort;
  }

  #keep(): Promise<void> {
    return replaceFile(
      this.#options.file,
      Buffer.from(JSON.stringify(Object.fromEntries(this.#addresses))),
      "name",
    );
  }
}

function carry(client: Socket, { endpoint, sockets }: Open): void {
  const machine = connect({
    host: endpoint.host,
    port: endpoint.port,
    allowHalfOpen: true,
    timeout: CONNECT_MS,
  });
  machine.once("connect", () => machine.setTimeout(0));
  machine.once("timeout", () => machine.destroy());
  for (const [one, other] of [
    [client, machine],
    [machine, client],
  ] as const) {
    sockets.add(one);
    one.setNoDelay(true);
    one.on("error", () => other.destroy());
    one.on("close", () => {
      sockets.delete(one);
      other.destroy();
    });
    one.pipe(other);
  }
}

const listening = (server: Server, host: string, port: number): Promise<NodeJS.ErrnoException | null> =>
  new Promise((resolve) => {
    server.once("error", resolve);
    server.listen({ host, port }, () => {
      server.off("error", resolve);
      resolve(null);
    });
  });

function readAddresses(file: string): Record<string, string> {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Record<string, string>;
  } catch (error) {
    // None yet. One that cannot be read gives every machine a new address, which is told with its next report.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" && !(error instanceof SyntaxError)) throw error;
    return {};
  }
}
