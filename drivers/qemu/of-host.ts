// SPDX-License-Identifier: Apache-2.0
/**
 * By which owners and folders one host has its virtual machines and system containers, one of each for each isolation: two drivers that
 * shared a mark would end each other's machines.
 */
import { join } from "node:path";
import { OWNER } from "../docker/marks.ts";

const SHORT = { vm: "v", "vm-vtpm": "t", "vm-snp": "s", "vm-tdx": "x", "system-container": "c" } as const;
export type GuestIsolation = keyof typeof SHORT;
export type VmIsolation = Exclude<GuestIsolation, "system-container">;

/** Sockets are below the folder, and an owner has 40 characters. */
export function placeOfDriver(isolation: GuestIsolation, owner: string, folder: string) {
  const own = { owner: `${owner}-${SHORT[isolation]}`, folder: join(folder, SHORT[isolation]) };
  if (!OWNER.test(own.owner)) throw new TypeError("the owner of virtual machines is too long");
  return own;
}

export const GUEST_ISOLATIONS = Object.keys(SHORT) as GuestIsolation[];
export const VM_ISOLATIONS: readonly VmIsolation[] = ["vm", "vm-vtpm", "vm-snp", "vm-tdx"];
