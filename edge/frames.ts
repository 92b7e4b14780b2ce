// SPDX-License-Identifier: Apache-2.0
/**
 * Where pictures come from: a folder, once through or over and over, or anything that ffmpeg reads, a file
 * or a camera's RTSP address. ffmpeg is given the address as an argument and no shell; what it may speak
 * is listed, so that a playlist cannot lead it to this machine's files.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface Frame {
  name: string;
  picture: Buffer;
}

export interface FrameOptions {
  /** A folder of pictures, a video file, or `rtsp://…`. */
  source: string;
  framesPerSecond: number;
  /** Begin again at the end. */
  loop: boolean;
  signal: AbortSignal;
}

/** It goes on whether or not somebody looks. */
export const isLive = (source: string): boolean => /^rtsps?:\/\//i.test(source);

const PICTURE = /\.(png|jpe?g|webp)$/i;
const FRAME_BYTES_MAX = 32 * 1024 * 1024;
const AGAIN_MS = 2_000;

export async function* readFrames(options: FrameOptions): AsyncGenerator<Frame> {
  const folder = existsSync(options.source) && statSync(options.source).isDirectory();
  do {
    let seen = 0;
    for await (const frame of folder ? fromFolder(options) : fromFfmpeg(options)) {
      seen++;
      yield frame;
    }
    if (seen === 0 && options.loop)
      await sleep(AGAIN_MS, undefined, { signal: options.signal }).catch(() => {});
  } while (options.loop && !options.signal.aborted);
}

async function* fromFolder({ source, framesPerSecond, signal }: FrameOptions): AsyncGenerator<Frame> {
  for (const name of readdirSync(source)
    .filter((each) => PICTURE.test(each))
    .sort()) {
    if (signal.aborted) return;
    const from = performance.now();
    yield { name, picture: readFileSync(join(source, name)) };
    const left = 1000 / framesPerSecond - (performance.now() - from);
    if (left > 0) await sleep(left, undefined, { signal }).catch(() => {});
  }
}

async function* fromFfmpeg({ source, framesPerSecond, signal }: FrameOptions): AsyncGenerator<Frame> {
  const live = isLive(source);
  const protocols = live ? "rtsp,rtp,tcp,udp,tls" : "file";
  const child = spawn(
    "ffmpeg",
    [
      ...["-nostdin", "-loglevel", "error", "-protocol_whitelist", protocols],
      ...(live ? ["-rtsp_transport", "tcp"] : ["-re"]),
      ...["-i", live ? source : `file:${source}`, "-an", "-sn", "-vf", `fps=${framesPerSecond}`],
      ...["-f", "image2pipe", "-c:v", "mjpeg", "-q:v", "2", "pipe:1"],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let words = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    words = (words + text).slice(-500);
  });
  const ended = new Promise<Error | null>((resolve) => {
    child.once("error", (error) => resolve(error));
    child.once("close", (code) => resolve(code === 0 ? null : new Error(`ffmpeg ended with ${code}`)));
  });
  const kill = () => child.kill("SIGKILL");
  signal.addEventListener("abort", kill, { once: true });
  try {
    let number = 0;
    for await (const picture of split(child.stdout)) yield { name: String(++number), picture };
    const error = await ended;
    // An address may have a password in it: it is not repeated.
    if (error !== null && !signal.aborted)
      throw new Error(`${error.message}: ${words.replaceAll(source, "the source").trim()}`);
  } finally {
    signal.removeEventListener("abort", kill);
    kill();
  }
}

const [BEGIN, END] = [Buffer.from([0xff, 0xd8, 0xff]), Buffer.from([0xff, 0xd9])];

/** JPEG pictures one after another; the mark of an end cannot stand within one. */
export async function* split(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  for await (const chunk of source) {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      const from = rest.indexOf(BEGIN);
      const to = from < 0 ? -1 : rest.indexOf(END, from);
      if (to < 0) break;
      yield rest.subarray(from, to + END.length);
      rest = rest.subarray(to + END.length);
    }
    if (rest.length > FRAME_BYTES_MAX) throw new Error("a picture of the video is too large");
  }
}
