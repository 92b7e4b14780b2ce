// SPDX-License-Identifier: Apache-2.0
/** Every connection of one server from the first packet on: counted by address, and ended at close. */
import type { Server, Socket } from "node:net";
import { TLSSocket } from "node:tls";

/** Ends a connection so that what was cut cannot look whole: a reset, or TLS without its closing word. */
export function cut(socket: Socket): void {
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}

export class Connections {
  readonly #open = new Set<Socket>();
  readonly #byAddress = new Map<string, number>();

  constructor(server: Server, perAddressMax: number) {
    // Also for TLS this is the bare socket, before its handshake.
    server.prependListener("connection", (socket: Socket) => {
      const address = socket.remoteAddress ?? "gone";
      const count = (this.#byAddress.get(address) ?? 0) + 1;
      this.#byAddress.set(address, count);
      this.#open.add(socket);
      socket.once("close", () => {
        this.#open.delete(socket);
        const left = this.#byAddress.get(address)! - 1;
        if (left === 0) this.#byAddress.delete(address);
        else this.#byAddress.set(address, left);
      });
      if (count > perAddressMax) socket.destroy();
    });
  }

  destroyAll(): void {
    for (const socket of this.#open) socket.destroy();
  }
}
