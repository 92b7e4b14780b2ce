// SPDX-License-Identifier: Apache-2.0
/** A TPM in software that takes commands on a socket, with a certificate of an authority made on the spot. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { TpmAuthority } from "#drivers/qemu/tpm-authority.ts";
import { concatBytes } from "#evidence/bytes.ts";
import { u16, u32 } from "#evidence/tpm/wire.ts";

export interface SoftwareTpm {
  socket: string;
  /** Certificates above that of its endorsement key, DER in base64; the last is the root. */
  chain: string[];
  extend(pcr: number, digest: Uint8Array): Promise<void>;
  stop(): Promise<void>;
}

export async function startSoftwareTpm(): Promise<SoftwareTpm> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-tpm-"));
  const state = join(folder, "state");
  const socket = join(folder, "socket");
  mkdirSync(state);
  const authority = new TpmAuthority({ folder: join(folder, "authority"), program: "/usr/bin/swtpm_setup" });
  const chain = await authority.chain();
  await authority.endow(state, AbortSignal.timeout(60_000));
  const unix = (path: string) => `type=unixio,path=${path}`;
  const words = ["socket", "--tpm2", "--tpmstate", `dir=${state}`, "--server", unix(socket)];
  const child = spawn(
    "swtpm",
    [...words, "--ctrl", unix(`${socket}.ctrl`), "--flags", "not-need-init,startup-clear"],
    { stdio: "ignore" },
  );
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  // TPM2_PCR_Extend with the empty password.
  const extend = (pcr: number, digest: Uint8Array) => {
    const password = concatBytes(u32(0x40000009), u16(0), Uint8Array.of(0), u16(0));
    const body = concatBytes(u32(pcr), u32(password.length), password, u32(1), u16(0x000b), digest);
    return command(socket, concatBytes(u16(0x8002), u32(10 + body.length), u32(0x182), body));
  };
  for (const end = Date.now() + 20_000; ; await sleep(50)) {
    try {
      // TPM2_GetRandom of one byte.
      await command(socket, concatBytes(u16(0x8001), u32(12), u32(0x17b), u16(1)));
      break;
    } catch (error) {
      if (Date.now() > end || child.exitCode !== null) throw error;
    }
  }
  return {
    socket,
    chain,
    extend,
    stop: async () => {
      child.kill();
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function command(path: string, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.write(bytes));
    socket.once("error", reject);
    socket.once("data", (answer) => {
      socket.destroy();
      const code = answer.readUInt32BE(6);
      if (code === 0) resolve();
      else reject(new Error(`the TPM refuses with 0x${code.toString(16)}`));
    });
  });
}
