// SPDX-License-Identifier: Apache-2.0
/**
 * Whether something in the network namespace of a process listens on a port, as the kernel says. Nothing
 * is connected: the engine's proxy would take a connection for a program that does not listen yet, and
 * a program that serves one caller and ends would have served us.
 */
import { readFileSync } from "node:fs";

const LISTEN = "0A";
/** 127.0.0.0/8 as the kernel prints it, ::1, and the former in IPv6 clothes: nobody outside reaches those. */
const LOOPBACK = /^(?:[0-9A-F]{6}7F|0{24}01000000|0{16}FFFF0000[0-9A-F]{6}7F)$/;

export function listensOutside(pid: number, port: number): boolean {
  return ["tcp", "tcp6"].some((family) => rows(pid, family).some((row) => isIt(row, port)));
}

function isIt(row: string, port: number): boolean {
  const [, local = "", , state] = row.trim().split(/\s+/, 4);
  const [address = "", hex = ""] = local.split(":");
  return state === LISTEN && Number.parseInt(hex, 16) === port && !LOOPBACK.test(address);
}

function rows(pid: number, family: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/net/${family}`, "utf8").split("\n").slice(1);
  } catch {
    return []; // It has ended, or the kernel knows no such family.
  }
}
