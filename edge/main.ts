// SPDX-License-Identifier: Apache-2.0
/**
 *     casemate-edge --url URL (--token WORD | --site UUID) --frames SOURCE …
 *
 * Lets itself into the site when it was not yet, then runs what it is told. What is found goes to standard
 * output, one line of JSON for each picture and device; what happens goes to standard error.
 */
import { readFileSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { Agent } from "./agent.ts";
import { enrol } from "./enrol.ts";
import { Folder } from "./folder.ts";
import { isLive, readFrames } from "./frames.ts";
import { newest } from "./newest.ts";
import { whyNoWalls } from "./walls.ts";

const USAGE = `casemate-edge --frames SOURCE [--url URL (--token WORD | --site UUID)]

  --url URL       the control plane, e.g. https://api.example.com
  --token WORD    a registration token, or @file that holds it; it says which site
  --site UUID     the site; without a token somebody types a code there
  --name NAME     what the server is called there
  --ca FILE       PEM of the authority of the control plane's certificate
  --state FOLDER  what is kept (./casemate-edge)
  --frames SOURCE a folder of pictures, a video file, or rtsp://…; the devices it has are given these
  --fps NUMBER    pictures a second (1)
  --once          end when the source has ended
  --attached      end when standard input ends
  --threads N     of each model (1)
  --telemetry SECONDS  between two samples of what was counted, 0: none (30)
  --memory MIB    that models may take together (2048)
`;

function optionsOf() {
  const text = { type: "string" } as const;
  try {
    return parseArgs({
      options: {
        ...{ url: text, site: text, token: text, name: text, ca: text, state: text, frames: text, fps: text },
        ...{
          threads: text,
          memory: text,
          telemetry: text,
          attached: { type: "boolean" },
          once: { type: "boolean" },
          help: { type: "boolean" },
        },
      },
    }).values;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}

/** Of a camera that is faster than its models: what is looked at is no older than this many pictures. */
const WAITING_MAX = 2;
const say = (line: string) => process.stderr.write(`${new Date().toISOString()} ${line}\n`);
const versionOf = (url: URL): string =>
  (JSON.parse(readFileSync(url, "utf8")) as { version: string }).version;

async function main(): Promise<number> {
  const given = optionsOf();
  const usage = (why: string) => {
    process.stderr.write(`${why}\n\n${USAGE}`);
    return 2;
  };
  if (given.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const [framesPerSecond, threads] = [Number(given.fps ?? 1), Number(given.threads ?? 1)];
  if (!(framesPerSecond > 0 && framesPerSecond <= 1000)) return usage("--fps is a number up to 1000");
  if (!Number.isInteger(threads) || threads < 1) return usage("--threads is a number");
  const memoryMiB = Number(given.memory ?? 2048);
  if (!Number.isInteger(memoryMiB) || memoryMiB < 1) return usage("--memory is a number of MiB");
  const telemetryS = Number(given.telemetry ?? 30);
  if (!(telemetryS >= 0 && telemetryS <= 3600)) return usage("--telemetry is a number up to 3600");
  const folder = new Folder(given.state ?? "casemate-edge");
  let identity = folder.identity();
  if (identity === null) {
    if (given.url === undefined || (given.site === undefined && given.token === undefined))
      return usage("It is in no site yet: --url and --token say which, or --url and --site.");
    identity = await enrol(folder, {
      ...{ url: given.url, systemId: given.site, name: given.name, say },
      token: given.token?.startsWith("@") ? readFileSync(given.token.slice(1), "utf8").trim() : given.token,
      ca: given.ca === undefined ? undefined : readFileSync(given.ca, "utf8"),
    });
    say(`is server ${identity.serverId} of site ${identity.systemId}`);
  }
  // The same control plane under another address, as whoever starts this says.
  if (given.url !== undefined && given.url !== identity.url) {
    identity = { ...identity, url: given.url };
    folder.keepIdentity(identity);
  }
  const unwalled = await whyNoWalls();
  if (unwalled !== null) say(`models run with all that this user may: ${unwalled}`);
  const agent = new Agent({
    ...{ identity, folder, threads, say, walls: unwalled === null ? { memoryMiB } : null },
    telemetryMs: telemetryS === 0 ? null : Math.max(100, telemetryS * 1000),
    version: versionOf(pathToFileURL(findPackageJSON(import.meta.url)!)),
    runtimeVersion: versionOf(new URL("../package.json", import.meta.resolve("onnxruntime-node"))),
  });
  const stopping = new AbortController();
  const stop = () => {
    stopping.abort();
    agent.stop();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
  if (given.attached) process.stdin.resume().once("end", stop);
  const following = agent.follow();
  if (given.frames !== undefined) {
    const source = {
      source: given.frames,
      framesPerSecond,
      loop: given.once !== true,
      signal: stopping.signal,
    };
    await watch(agent, source, stopping.signal);
    if (given.once) agent.stop();
  }
  await following;
  return 0;
}

async function watch(
  agent: Agent,
  source: Parameters<typeof readFrames>[0],
  signal: AbortSignal,
): Promise<void> {
  // Nothing is looked at before it is known by whom.
  while (agent.devices().length === 0 && !signal.aborted)
    await new Promise((resolve) => setTimeout(resolve, 200));
  // While one is looked at, the next is read and on its way.
  let before: Promise<void> = Promise.resolve();
  const options = { waitingMax: isLive(source.source) ? WAITING_MAX : null, onDrop: () => agent.dropped() };
  for await (const { one, waiting } of newest(readFrames(source), options))
    for (const device of agent.devices()) {
      const { name, picture } = one;
      if (signal.aborted) return;
      const seen = agent.look(device, picture, waiting).then(
        ({ found, tookMs }) => {
          const line = {
            Device: device.UUID,
            Frame: name,
            TookMs: Math.round(tookMs * 10) / 10,
            Found: found,
          };
          process.stdout.write(`${JSON.stringify(line)}\n`);
        },
        () => {},
      );
      await before;
      before = seen;
    }
  await before;
}

process.exitCode = await main().catch((error: Error) => {
  say(error.message);
  return 1;
});
