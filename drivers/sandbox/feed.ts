// SPDX-License-Identifier: Apache-2.0
/** Carries bytes to a command's standard input, no faster than it reads them. */
import { DriverFault } from "../driver.ts";
import type { Entered } from "./enter.ts";

/** Resolves when all was handed over or the reader went away (which its own result tells); rejects when the source failed. */
export async function feed(entered: Entered, input: AsyncIterable<Uint8Array>): Promise<void> {
  const { stdin } = entered;
  try {
    for await (const bytes of input) {
      if (stdin.destroyed) return;
      if (stdin.write(bytes)) continue;
      await new Promise<void>((resolve) => {
        stdin.once("drain", resolve);
        stdin.once("close", resolve);
      });
    }
    stdin.end();
  } catch (cause) {
    // A half-delivered input must not look like a whole one, so the reader is ended rather than given
    // an end of file; the command dies with its entry (PR_SET_PDEATHSIG).
    entered.process.kill();
    if (cause instanceof DriverFault) throw cause;
    throw new DriverFault("machine.input-failed", "the input ended early", { cause });
  }
}
