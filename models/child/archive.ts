// SPDX-License-Identifier: Apache-2.0
/**
 * The one model of a zip, onto a file that is there. No name in the archive becomes a path. The attacker
 * wrote its directory, so sizes it promises are not believed: what comes out is counted, and the file
 * system's own limit holds behind that.
 */
import { createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Entry, openPromise } from "yauzl";
import { Refusal, refuse, rule } from "./refusal.ts";

const ENTRIES_MAX = 10_000;
const OUT_MAX = 2 * 1024 ** 3 - 1;
/** Weights hardly shrink; what grows by more than this was made to. */
const RATIO_MAX = 100;
const RATIO_FROM = 16 * 1024 * 1024;

export async function takeModelOut(archive: string, target: string): Promise<string> {
  const { size } = await stat(archive);
  try {
    // Names are checked by the library: absolute ones, `..` and backslashes are errors.
    const zip = await openPromise(archive, {
      ...{ lazyEntries: true, autoClose: false, strictFileNames: true, validateEntrySizes: true },
    });
    let model: Entry | null = null;
    let count = 0;
    for await (const entry of zip.eachEntry()) {
      if (++count > ENTRIES_MAX)
        refuse("archive.entries", `The archive has more than ${ENTRIES_MAX} entries.`);
      if (!/\.onnx$/i.test(entry.fileName)) continue;
      if (model !== null) refuse("archive.models", "The archive has more than one .onnx file.");
      model = entry;
    }
    if (model === null)
      return refuse(
        "archive.models",
        "The archive has no .onnx file; another kind of model is not read here.",
      );
    if (model.isEncrypted()) return refuse("archive.encrypted", "The model in the archive is encrypted.");
    if (model.externalFileAttributes >>> 28 === 0xa)
      return refuse("archive.link", "The model in the archive is a link.");
    const most = Math.min(OUT_MAX, Math.max(RATIO_FROM, size * RATIO_MAX));
    await pipeline(await zip.openReadStreamPromise(model), counting(most), createWriteStream(target));
    return target;
  } catch (error) {
    if (error instanceof Refusal) throw error;
    if ((error as { code?: string }).code === "EFBIG")
      return refuse("archive.bomb", "The model in the archive unpacks to more than may be written.");
    const words = error instanceof Error ? error.message : "";
    throw new Refusal([
      rule("error", "archive.unreadable", `The archive cannot be read: ${words.slice(0, 200)}`),
    ]);
  }
}

function counting(most: number): Transform {
  let size = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size > most)
        done(
          new Refusal([
            rule("error", "archive.bomb", `The model in the archive unpacks to more than ${most} bytes.`),
          ]),
        );
      else done(null, chunk);
    },
  });
}
