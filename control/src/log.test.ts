// SPDX-License-Identifier: Apache-2.0
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, it } from "vitest";

const LOG = new URL("./log.ts", import.meta.url).href;

it("a process whose log reader died with lines unread still ends", async () => {
  const code = `
    const { openLog } = await import(${JSON.stringify(LOG)});
    const log = openLog("info", "test");
    log.info("unread");
    process.send("written");
    process.stdin.resume().once("end", () => {
      for (let n = 0; n < 10; n++) log.info({ n }, "nobody is there");
      process.exit(7);
    });`;
  // As control is spawned, so that its standard output is of the same kind, and nothing reads it.
  const child = spawn(process.execPath, ["--input-type=module", "-e", code], {
    stdio: ["pipe", "pipe", "inherit", "ipc"],
  });
  try {
    await once(child, "message");
    child.stdout!.destroy();
    child.stdin!.end();
    const [exit] = await once(child, "exit", { signal: AbortSignal.timeout(30_000) });
    expect(exit).toBe(7);
  } finally {
    child.kill("SIGKILL");
  }
});
