// SPDX-License-Identifier: Apache-2.0
/** Another control in a process of its own, with a database of its own: somebody else's installation. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { hashKey, makeKey } from "#control/src/core/identity/index.ts";
import { cloneDatabase } from "./clone-database.ts";

export interface OtherControl extends AsyncDisposable {
  url: string;
  adminKey: string;
}

export async function startOtherControl(): Promise<OtherControl> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-other-"));
  const cloned = await cloneDatabase();
  const adminKey = makeKey("cm_admin_");
  const file = join(folder, "control.json");
  writeFileSync(
    file,
    JSON.stringify({
      ...{ http: { port: 0 }, folder, link: { socket: join(folder, "link.sock") } },
      database: { socket: cloned.host, user: cloned.user, name: cloned.database },
      blobs: { folder: join(folder, "blobs") },
      operator: { keyHash: hashKey(adminKey).toString("hex") },
    }),
  );
  const main = new URL("../control/src/main.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [main, file], {
    stdio: ["pipe", "pipe", "pipe"],
  }) as ChildProcessByStdio<Writable, Readable, Readable>;
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const end = async () => {
    // It ends when whoever started it is gone.
    child.stdin.end();
    await ended;
    await cloned[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    return { url: await listensAt(child, ended), adminKey, [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    throw error;
  }
}

function listensAt(
  child: ChildProcessByStdio<Writable, Readable, Readable>,
  ended: Promise<void>,
): Promise<string> {
  let output = "";
  return new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        const url = /"url":"(http:\/\/127\.0\.0\.1:\d+)"/.exec(output)?.[1];
        if (url !== undefined) resolve(url);
      });
    ended.then(() => reject(new Error(`the other control ended: ${output}`)));
  });
}
