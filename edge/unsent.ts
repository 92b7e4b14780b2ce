// SPDX-License-Identifier: Apache-2.0
/**
 * Samples that the control plane does not have yet, a file each, so that an agent that is killed loses none
 * that had ended. Not forced to the disk: a power cut may take the last of them, and flash lives longer.
 *
 * How long ago a sample ended is told by the machine's uptime while it is up. After a restart the wall clock
 * is all there is, and it may be anything here: the sample is at least as old as the machine is up.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { uptime } from "node:os";
import { join } from "node:path";

const NAME = /^(\d{1,16})\.json$/;

interface Numbered {
  Sequence: number;
}

interface File<S> {
  sample: S;
  /** When it ended. */
  boot: string | null;
  uptimeS: number;
  wallMs: number;
}

export class Unsent<S extends Numbered> {
  readonly #folder: string;
  readonly #boot = bootId();

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  keep(sample: S, ageMs: number): void {
    const file: File<S> = {
      ...{ sample, boot: this.#boot, uptimeS: uptime() - ageMs / 1000, wallMs: Date.now() - ageMs },
    };
    const path = this.#pathOf(sample);
    writeFileSync(`${path}.new`, JSON.stringify(file), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  forget(sample: Numbered): void {
    rmSync(this.#pathOf(sample), { force: true });
  }

  /** The oldest first, and how many were there that cannot be read. */
  take(): { kept: { sample: S; ageMs: number }[]; lost: number } {
    const kept: { sample: S; ageMs: number }[] = [];
    let lost = 0;
    for (const name of readdirSync(this.#folder)) {
      const number = NAME.exec(name)?.[1];
      const file = number === undefined ? null : this.#read(name, Number(number));
      if (file !== null) kept.push({ sample: file.sample, ageMs: this.#ageOf(file) });
      else {
        // What was being written is counted by whoever wrote it.
        if (number !== undefined) lost++;
        rmSync(join(this.#folder, name), { force: true });
      }
    }
    return { kept: kept.sort((a, b) => a.sample.Sequence - b.sample.Sequence), lost };
  }

  #read(name: string, number: number): File<S> | null {
    try {
      const file = JSON.parse(readFileSync(join(this.#folder, name), "utf8")) as File<S>;
      const times = [file.uptimeS, file.wallMs].every((time) => Number.isFinite(time));
      return times && file.sample.Sequence === number ? file : null;
    } catch {
      return null;
    }
  }

  #ageOf({ boot, uptimeS, wallMs }: File<S>): number {
    if (boot !== null && boot === this.#boot) return Math.max(0, (uptime() - uptimeS) * 1000);
    return Math.max(uptime() * 1000, Date.now() - wallMs);
  }

  #pathOf = ({ Sequence }: Numbered): string => join(this.#folder, `${Sequence}.json`);
}

/** Null where the system has none: then the wall clock has to do. */
function bootId(): string | null {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return null;
  }
}
