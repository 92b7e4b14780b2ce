// SPDX-License-Identifier: Apache-2.0
/**
 * The host process: `node host/main.ts <config.json>`. It ends, machines and all, on SIGTERM or
 * SIGINT, and when its stdin ends: whoever started it over a pipe cannot die and leave it behind.
 * SIGUSR2 rotates the issuer key.
 */
import { createHash } from "node:crypto";
import { fstatSync, mkdirSync, realpathSync } from "node:fs";
import { closeInherited } from "#confine/inherited.ts";
import { DockerDriver } from "#drivers/docker/driver.ts";
import { SandboxDriver } from "#drivers/sandbox/driver.ts";
import type { NatsAccess } from "#link/nats/access.ts";
import { natsAccess } from "#link/nats/files.ts";
import { startHost } from "./assemble.ts";
import { readHostConfig } from "./config.ts";
import { openContainersOfHost } from "./kept/system-containers.ts";
import { openVirtualMachines } from "./kept/virtual-machines.ts";
import type { HostLog } from "./machine.ts";

closeInherited();

/** When the configuration names none: above the ranges that distributions hand out, and no other part's. */
const INGRESS_UID = 63_014;

/** Our exit code when another program has a port of the ingress. */
const PORT_IN_USE = 98;

const log: HostLog = (event, facts) => {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...facts })}\n`);
};
// Whoever reads our log may go before us; that must not end us half-way through a teardown.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

const path = process.argv[2];
if (path === undefined) {
  process.stderr.write("usage: node host/main.ts <config.json>\n");
  process.exit(2);
}

const {
  sandboxFolder,
  proberUid,
  ingressUid,
  uids,
  spareSandboxes,
  templates,
  traces,
  kept,
  linkPath,
  nats,
  ...config
} = readHostConfig(path);
mkdirSync(config.stateFolder, { recursive: true, mode: 0o700 });
const stop = new Promise<string>((resolve) => {
  process.on("SIGTERM", () => resolve("SIGTERM"));
  process.on("SIGINT", () => resolve("SIGINT"));
  // Not of /dev/null, which a supervisor gives and which is always at its end.
  const stdin = fstatSync(0);
  if (stdin.isFIFO() || stdin.isSocket()) process.stdin.on("end", () => resolve("stdin ended")).resume();
});

// Drivers end whatever bears their mark: two hosts on one machine must not share one.
const owner = `cm-${createHash("sha256").update(realpathSync(config.stateFolder)).digest("hex").slice(0, 12)}`;
const host = await startHost({
  ...config,
  link: meetingOf(linkPath, natsAccess(nats)),
  ...(kept !== null && {
    kept: {
      ...kept,
      ingressUid: ingressUid ?? INGRESS_UID,
      drivers: [
        new DockerDriver({ ...kept.docker, owner }),
        ...openVirtualMachines(kept.qemu ?? null, guestsOf(kept)),
        ...openContainersOfHost(kept.systemContainers ?? null, guestsOf(kept)),
      ],
    },
  }),
  drivers: [
    new SandboxDriver({
      folder: sandboxFolder,
      owner,
      templates: new Map(Object.entries(templates)),
      traces,
      spares: spareSandboxes,
      ...(proberUid !== null && { proberUid }),
      ...(uids && { uids }),
    }),
  ],
  log,
}).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  return process.exit(String(error).includes("EADDRINUSE") ? PORT_IN_USE : 1);
});
log("host.started", { hostId: host.hostId, engines: host.facts().engines });
process.on("SIGUSR2", () => {
  host.rotateIssuer().then(
    () => log("host.issuer-rotated", { issuers: host.facts().issuers }),
    (error: unknown) => log("host.rotation-failed", { error: String(error) }),
  );
});
log("host.stopping", { why: await stop });
await host.stop();
log("host.stopped", {});
process.exit(0);

function guestsOf({ docker }: { docker: { registriesInside?: string[] } }) {
  return { owner, imagesFolder: config.imagesFolder, log, registriesInside: docker.registriesInside ?? [] };
}

function meetingOf(path: string | null, access: NatsAccess | null): { path: string } | { nats: NatsAccess } {
  if ((path === null) === (access === null))
    throw new Error("a host needs one of linkPath and nats.servers to meet its control");
  return path === null ? { nats: access! } : { path };
}
