// SPDX-License-Identifier: Apache-2.0
/** What test files in several processes want once: the first makes it, the others wait and find it made. */
import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** @param what One name for one thing of this computer, as the folder it is made in. */
export async function oneAtATime<T>(what: string, limitMs: number, work: () => Promise<T>): Promise<T> {
  // An abstract socket is given back also by a process that was ended.
  const name = `\0casemate-test-${createHash("sha256").update(what).digest("hex").slice(0, 16)}`;
  for (const end = Date.now() + limitMs; ; await sleep(100)) {
    const turn = createServer();
    const taken = await new Promise<boolean>((resolve) => {
      turn.once("error", () => resolve(false));
      turn.listen(name, () => resolve(true));
    });
    if (!taken && Date.now() < end) continue;
    try {
      return await work();
    } finally {
      turn.close();
    }
  }
}
