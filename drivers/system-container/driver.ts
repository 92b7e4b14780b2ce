// SPDX-License-Identifier: Apache-2.0
/** The driver of system containers: that of guests, whose guests are in containers (docs/decisions/0058). */
import { QemuDriver } from "../qemu/driver.ts";
import { type ContainerOptions, SystemContainers } from "./containers.ts";

export interface SystemContainerOptions extends ContainerOptions {
  imagesFolder: string;
  registriesInside: readonly string[];
  lookMs: number;
  lacking(): string | null;
}

export const openSystemContainers = (options: SystemContainerOptions): QemuDriver =>
  new QemuDriver(
    {
      ...{ isolation: "system-container", confidential: null, firmware: null },
      folder: options.folder,
      networks: options.networks,
      ...{ imagesFolder: options.imagesFolder, registriesInside: options.registriesInside },
      ...{ answerMs: options.answerMs, lookMs: options.lookMs, lacking: options.lacking },
    },
    new SystemContainers(options),
  );
