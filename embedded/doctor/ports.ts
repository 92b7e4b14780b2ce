// SPDX-License-Identifier: Apache-2.0
/**
 * The ports that `up` listens on, tried by listening. Who has a taken one is looked up from the socket to
 * the process, and on to whoever started it; a process of somebody else's cannot be looked into without root, and then that is said.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type Check, type Finding, type Here, missing, ok, warning } from "./check.ts";

const PARTS = ["/control/src/main.ts", "/host/main.ts"];
/** The ingress, what confines it (two processes), the host. */
const GENERATIONS_MAX = 5;

function portCheck(which: "api" | "http" | "https", name: string, taken: (says: string) => Finding): Check {
  return {
    id: `port-${which}`,
    group: "this computer",
    name,
    needed: which === "api" ? ["sessions", "workloads"] : [],
    timeoutMs: 5_000,
    look: async (here) => {
      const port = here.ports[which];
      const fault = await listen(port);
      if (fault === null) return ok(`${port} is free`);
      if (fault !== "EADDRINUSE") return missing(`${port} cannot be listened on: ${fault}`);
      const holder = holderOf(port, here);
      if (holder.ours) return ok(`${port} is this installation's own, ${holder.name}`);
      return taken(`${port} is taken by ${holder.name}`);
    },
  };
}

const api = portCheck("api", "port of the API", (says) => missing(says, "./casemate up --port <another>"));
/** The ingress takes any other port then, and workloads' addresses carry it. */
const http = portCheck("http", "port of the ingress, HTTP", (says) =>
  warning(`${says}; another one will be used`),
);
const https = portCheck("https", "port of the ingress, HTTPS", (says) =>
  warning(`${says}; another one will be used`),
);

function listen(port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(null)));
  });
}

function holderOf(port: number, here: Here): { name: string; ours: boolean } {
  const sockets = new Set(["/proc/net/tcp", "/proc/net/tcp6"].flatMap((path) => listening(path, port)));
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    if (!socketsOf(pid).some((inode) => sockets.has(inode))) continue;
    const state = stateOf(pid);
    if (state === null) return { name: `${read(`/proc/${pid}/comm`).trim()} (pid ${pid})`, ours: false };
    return { name: `casemate on ${state} (pid ${pid})`, ours: state === here.state };
  }
  return { name: "a program that cannot be looked into from here", ours: false };
}

/** The state folder that a process serves: its own words say it, or those of the host that started it (the ingress). */
function stateOf(pid: string): string | null {
  let each = pid;
  for (let generations = 0; generations < GENERATIONS_MAX; generations++) {
    const words = read(`/proc/${each}/cmdline`).split("\0").filter(Boolean);
    const config = words.find((word) => /\/(?:config\/control|keys\/host)\.json$/.test(word));
    if (config !== undefined && words.some((word) => PARTS.some((end) => word.endsWith(end))))
      return join(config, "../..");
    const parent = /^PPid:\t(\d+)$/m.exec(read(`/proc/${each}/status`))?.[1];
    if (parent === undefined || Number(parent) <= 1) return null;
    each = parent;
  }
  return null;
}

/** Inodes of sockets that listen (state 0A) on the port, at whatever address. */
function listening(path: string, port: number): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return read(path)
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(`:${hex}`) && fields[3] === "0A")
    .map((fields) => fields[9]!);
}

function socketsOf(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

export const PORTS: readonly Check[] = [api, http, https];
