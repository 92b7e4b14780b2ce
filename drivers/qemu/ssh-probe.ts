// SPDX-License-Identifier: Apache-2.0
/**
 * Whether an SSH server answers, by the key that the machine said it has: a machine counts as one that can be logged in to only
 * then. Nobody logs in here: we have no key, and end the conversation when the server has shown its own.
 */
import { setTimeout as sleep } from "node:timers/promises";
import ssh2 from "ssh2";
import { DriverFault } from "../driver.ts";
import type { Endpoint } from "../kept-driver.ts";

const AGAIN_MS = 200;
/** Of one try; a guest under emulation computes for seconds. */
const TRY_MS = 20_000;

/** @throws DriverFault When none answers within `limitMs`, or one with another key. */
export async function requireSsh({ host, port, ssh }: Endpoint, limitMs: number): Promise<void> {
  const expected = (ssh?.hostKeys ?? []).map((line) => line.split(" ")[1]!);
  const deadlineMs = performance.now() + limitMs;
  for (;;) {
    const shown = await shownKey(host, port);
    if (shown !== null && expected.includes(shown)) return;
    if (shown !== null)
      throw new DriverFault(
        "machine.guest-failed",
        "an SSH server answers there with a key that is not the machine's",
      );
    if (performance.now() > deadlineMs)
      throw new DriverFault("machine.guest-failed", "the machine's SSH server does not answer");
    await sleep(AGAIN_MS);
  }
}

/** In base64; null when nobody answers. */
function shownKey(host: string, port: number): Promise<string | null> {
  const client = new ssh2.Client();
  return new Promise<string | null>((resolve) => {
    let key: string | null = null;
    client.on("error", () => resolve(key));
    client.on("close", () => resolve(key));
    client.connect({
      ...{ host, port, username: "casemate", readyTimeout: TRY_MS, authHandler: [] },
      hostVerifier: (shown: Buffer) => {
        key = shown.toString("base64");
        return false;
      },
    });
  }).finally(() => client.destroy());
}
