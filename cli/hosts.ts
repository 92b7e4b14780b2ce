// SPDX-License-Identifier: Apache-2.0
/** `casemate hosts …`: the operator's view of the machines that run things. */
import { callAdmin, print, type Target } from "./operate.ts";

interface Host {
  id: string;
  name: string;
  state: string;
  version: string;
  isolations: string[];
  machines: number;
  last_seen_at: string;
}

export async function listHostsCommand(target: Target): Promise<number> {
  const { hosts } = (await callAdmin(target, "GET", "/platform/v1/hosts")) as unknown as { hosts: Host[] };
  const rows = hosts.map(({ id, name, state, machines, isolations }) => [
    id,
    state,
    `${machines} machines`,
    isolations.join(","),
    name,
  ]);
  const widths = [0, 1, 2, 3].map((at) => Math.max(0, ...rows.map((row) => row[at]!.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  print(target, { hosts }, lines.length === 0 ? "no host has come yet" : lines.join("\n"));
  return 0;
}

export async function inviteHostCommand(target: Target & { name?: string }): Promise<number> {
  const body = target.name === undefined ? {} : { name: target.name };
  const made = await callAdmin(target, "POST", "/platform/v1/hosts/invitations", body);
  print(
    target,
    made,
    `${made.token}\nShown this once. On the new machine, with it in a file that only root can read:\n` +
      "  ./casemate host join <url of this API> --invitation <file>\n" +
      `It is good for one host, until ${made.expires_at}.`,
  );
  return 0;
}

const SENTENCES = {
  drain: "it gets nothing new",
  resume: "it gets machines again",
  revoke: "it counts no more; its workloads are started anew elsewhere",
} as const;

export async function changeHostCommand(
  verb: keyof typeof SENTENCES,
  id: string,
  target: Target & { move?: boolean },
): Promise<number> {
  const body = verb === "drain" ? { move: target.move ?? false } : undefined;
  const path = `/platform/v1/hosts/${encodeURIComponent(id)}/${verb}`;
  const host = (await callAdmin(target, "POST", path, body)) as unknown as Host;
  print(target, host, `${host.id} ${host.name}: ${SENTENCES[verb]} (${host.machines} machines on it now)`);
  return 0;
}
