// SPDX-License-Identifier: Apache-2.0
/**
 * Images of virtual machines, made or found again while the installation runs. Nothing waits for them: a machine that needs one
 * before it is there is refused with words. A build is a process of its own, because it computes for a minute, with the least
 * claim to the processor; it ends with us, however we end.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { findImage } from "#images/store.ts";
import { lackingForBuild } from "#images/tools.ts";
import type { ImagesChoice } from "../config.ts";
import { passedOn } from "../host.ts";
import type { Layout } from "../layout.ts";

/** What workloads run on comes first, and what takes longest last. */
const NAMES = ["containers", "base", "openclaw"];
/** It has programs to end and a tree of 10,000 files to remove; what is left of it after that the next build removes. */
const GRACE_MS = 30_000;
const LINES_KEPT = 4;
const PROGRESS = /^\[\d+\/\d+\] /;
const ENTRY = new URL("../../cli/main.ts", import.meta.url).pathname;

export interface ImageKeeper {
  /** Ends a build in the middle; what it had begun is taken away by itself. */
  stop(): Promise<void>;
}

export function keepImages(layout: Layout, choice: ImagesChoice, say: (line: string) => void): ImageKeeper {
  if (!choice.build || !layout.root) return { stop: async () => {} };
  const lacking = lackingForBuild(0);
  if (lacking !== null) {
    const absent = NAMES.filter((name) => findImage(layout.path("images"), name) === undefined);
    if (absent.length > 0) say(`no image ${absent.join(", ")} for virtual machines can be built: ${lacking}`);
    return { stop: async () => {} };
  }
  const stop = new AbortController();
  const life = (async () => {
    let anew = false;
    for (const name of NAMES)
      if (!stop.signal.aborted) anew = (await build(name, layout, choice, stop.signal, say)) || anew;
    if (anew) await prune(layout, stop.signal, say);
  })();
  return {
    stop: async () => {
      stop.abort();
      await life;
    },
  };
}

/** Whether it was built now. */
async function build(
  name: string,
  layout: Layout,
  { lockFolder, sources }: ImagesChoice,
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<boolean> {
  let building = false;
  const complaint: string[] = [];
  const words = [
    ...["build", name, "--state", layout.state],
    ...(lockFolder === null ? [] : ["--lock", `${lockFolder}/${name}.lock.json`]),
    ...(sources === null ? [] : ["--sources", sources]),
  ];
  const code = await runImages(words, signal, (line) => {
    if (PROGRESS.test(line)) {
      building = true;
      say(`image ${name} ${line}`);
    } else if (complaint.length < LINES_KEPT) complaint.push(line);
  });
  if (signal.aborted) return false;
  if (code !== 0) say(`image ${name} was not built (${code}): ${complaint.join(" ")}`);
  else if (building) say(`image ${name} is built`);
  return code === 0 && building;
}

async function prune(layout: Layout, signal: AbortSignal, say: (line: string) => void): Promise<void> {
  const complaint: string[] = [];
  const code = await runImages(["prune", "--state", layout.state], signal, (line) => {
    if (complaint.length < LINES_KEPT) complaint.push(line);
  });
  if (code !== 0 && !signal.aborted) say(`images of former builds stay (${code}): ${complaint.join(" ")}`);
}

/** Resolves with how it ended, and hears what it says to its standard error. */
async function runImages(
  words: readonly string[],
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<number | string | null> {
  if (signal.aborted) return null;
  const child = spawn(
    "setpriv",
    [
      ...["--pdeathsig", "TERM", "nice", "-n", "19"],
      ...[process.execPath, "--disable-warning=ExperimentalWarning", ENTRY, "images", ...words],
    ],
    { env: passedOn(), stdio: ["ignore", "ignore", "pipe"] },
  );
  const kill = async () => {
    child.kill("SIGTERM");
    await sleep(GRACE_MS, undefined, { ref: false });
    child.kill("SIGKILL");
  };
  signal.addEventListener("abort", kill, { once: true });
  createInterface({ input: child.stderr }).on("line", (line) => {
    if (!signal.aborted) onLine(line);
  });
  const code = await new Promise<number | string | null>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (status, killed) => resolve(status ?? killed));
  });
  signal.removeEventListener("abort", kill);
  return code;
}
