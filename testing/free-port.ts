// SPDX-License-Identifier: Apache-2.0
/**
 * A TCP port on loopback for whoever is started with its number and listens later. The kernel's own choice
 * would be free only for a moment: other tests open connections all the time. So it is taken from below
 * the range that the kernel gives away, and an abstract socket keeps other test processes from it until
 * this one ends.
 */
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

const FIRST = 20_000;
const LAST = 31_999;

export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 200; tries++) {
    const port = randomInt(FIRST, LAST + 1);
    if (!(await listens(`\0casemate-test-port-${port}`, true))) continue;
    if (await listens({ port, host: "127.0.0.1" }, false)) return port;
  }
  throw new Error("no free port was found");
}

function listens(where: string | { port: number; host: string }, keep: boolean): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(where as never, () => {
      if (keep) {
        server.unref();
        resolve(true);
      } else server.close(() => resolve(true));
    });
  });
}
