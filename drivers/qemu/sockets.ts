// SPDX-License-Identifier: Apache-2.0
/**
 * Reaching a socket of a QEMU that was started a moment ago. The file is there before anybody listens behind
 * it, and neither is there before QEMU has come so far; so both are tried again until the caller has had enough.
 */
import { lstatSync } from "node:fs";
import { connect, type Socket } from "node:net";

const EVERY_MS = 10;
const NOT_YET = new Set(["ENOENT", "ECONNREFUSED"]);

/** The socket has an error listener already; whoever takes it hears of its end by `close`. */
export async function connectSoon(path: string, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    signal.throwIfAborted();
    // QEMU may write to that folder: a link there could lead us to a socket that only root may use.
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink())
      throw new Error(`${path} is a link and no socket of QEMU's`);
    const socket = connect({ path });
    const fault = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
      socket.once("connect", () => resolve(null)).on("error", resolve);
    });
    if (fault === null) return socket;
    if (!NOT_YET.has(fault.code ?? "")) throw fault;
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}
