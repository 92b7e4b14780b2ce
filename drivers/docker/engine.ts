// SPDX-License-Identifier: Apache-2.0
/** The engine's side of a machine: finding what is there by its labels, stopping it and removing it. */
import type Docker from "dockerode";
import type { Endpoint } from "../kept-driver.ts";
import { LABEL_INSTALLATION, LABEL_LEVEL, LABEL_MACHINE, LABEL_OWNER, LABEL_SERVICE } from "./marks.ts";

/** A client may ask for hours; a host that stops has not got them. */
const GRACE_SECONDS_MAX = 60;
const GRACE_SECONDS = 10;
const CALL_MS = 60_000;

export interface MachineContainer {
  id: string;
  service: string;
  level: number;
  info: Docker.ContainerInfo;
}

const filtersOf = (owner: string, machineId?: string) => ({
  label: [`${LABEL_OWNER}=${owner}`, ...(machineId === undefined ? [] : [`${LABEL_MACHINE}=${machineId}`])],
});

export async function listContainers(
  engine: Docker,
  owner: string,
  machineId: string,
): Promise<MachineContainer[]> {
  const filters = filtersOf(owner, machineId);
  const infos = await engine.listContainers({
    all: true,
    filters,
    abortSignal: AbortSignal.timeout(CALL_MS),
  });
  return infos
    .map((info) => ({
      id: info.Id,
      service: info.Labels[LABEL_SERVICE] ?? "",
      level: Number(info.Labels[LABEL_LEVEL] ?? 0),
      info,
    }))
    .sort((a, b) => a.level - b.level || a.info.Names.join().localeCompare(b.info.Names.join()));
}

/** Those that stand on others first, each with the time it asked for. */
export async function stopContainers(engine: Docker, owner: string, machineId: string): Promise<void> {
  const running = (await listContainers(engine, owner, machineId)).filter(
    ({ info }) => !["created", "exited", "dead"].includes(info.State),
  );
  for (const level of [...new Set(running.map((each) => each.level))].sort((a, b) => b - a))
    await Promise.all(
      running
        .filter((each) => each.level === level)
        .map(async ({ id }) => {
          const container = engine.getContainer(id);
          await unlessGone(async () => {
            const { Config } = await container.inspect({ abortSignal: AbortSignal.timeout(CALL_MS) });
            const { StopTimeout } = Config as { StopTimeout?: number };
            const seconds = Math.min(StopTimeout ?? GRACE_SECONDS, GRACE_SECONDS_MAX);
            await container.stop({ t: seconds, abortSignal: AbortSignal.timeout(seconds * 1000 + CALL_MS) });
          });
        }),
    );
}

/** Containers and networks; the volumes stay. With the containers goes the engine's own copy of their environment. */
export async function removeContainers(engine: Docker, owner: string, machineId: string): Promise<void> {
  const containers = await listContainers(engine, owner, machineId);
  await Promise.all(
    containers.map(({ id }) =>
      unlessGone(() =>
        engine.getContainer(id).remove({ force: true, v: true, abortSignal: AbortSignal.timeout(CALL_MS) }),
      ),
    ),
  );
  const networks = await engine.listNetworks({ filters: filtersOf(owner, machineId) as never });
  for (const { Id } of networks) await unlessGone(() => engine.getNetwork(Id).remove());
}

export async function removeVolumes(engine: Docker, owner: string, machineId: string): Promise<void> {
  for (const { Name } of await listVolumes(engine, owner, machineId))
    await unlessGone(() => engine.getVolume(Name).remove());
}

export async function listVolumes(engine: Docker, owner: string, machineId: string) {
  const { Volumes } = await engine.listVolumes({
    filters: filtersOf(owner, machineId) as never,
    abortSignal: AbortSignal.timeout(CALL_MS),
  });
  return Volumes ?? [];
}

/** Ids of all machines that the engine has anything of. */
export async function listMachines(engine: Docker, owner: string): Promise<Set<string>> {
  return idsOf(await listLabels(engine, owner));
}

/** Those of them that another installation left something of, or one of which nobody knows. */
export async function listStrangers(
  engine: Docker,
  owner: string,
  installation: string,
): Promise<Set<string>> {
  const labels = await listLabels(engine, owner);
  return idsOf(labels.filter((each) => each[LABEL_INSTALLATION] !== installation));
}

const idsOf = (labels: readonly Record<string, string>[]) =>
  new Set(labels.map((each) => each[LABEL_MACHINE]).filter((id) => id !== undefined));

async function listLabels(engine: Docker, owner: string): Promise<Record<string, string>[]> {
  const filters = filtersOf(owner);
  const [containers, networks, { Volumes }] = await Promise.all([
    engine.listContainers({ all: true, filters, abortSignal: AbortSignal.timeout(CALL_MS) }),
    engine.listNetworks({ filters: filters as never }),
    engine.listVolumes({ filters: filters as never }),
  ]);
  return [...containers, ...networks, ...(Volumes ?? [])].map((each) => each.Labels ?? {});
}

/** Where the host reaches the public port, as the engine says. */
export async function findEndpoint(
  engine: Docker,
  owner: string,
  machineId: string,
  service: string,
  port: number,
): Promise<Endpoint | null> {
  for (const container of await listContainers(engine, owner, machineId)) {
    if (container.service !== service || container.info.State !== "running") continue;
    const { NetworkSettings } = await engine.getContainer(container.id).inspect();
    const bound = NetworkSettings.Ports[`${port}/tcp`]?.find((each) => each.HostIp === "127.0.0.1");
    if (bound !== undefined && Number(bound.HostPort) > 0)
      return { host: "127.0.0.1", port: Number(bound.HostPort) };
  }
  return null;
}

export const statusCodeOf = (error: unknown) => (error as { statusCode?: number }).statusCode;

/** 304: it was stopped already; 404: it is gone; 409: somebody else is removing it at this moment. */
export async function unlessGone<T>(work: () => Promise<T>): Promise<T | undefined> {
  for (let tries = 0; ; tries++) {
    try {
      return await work();
    } catch (error) {
      const status = statusCodeOf(error);
      if (status === 304 || status === 404) return undefined;
      if (status !== 409 || tries > 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
