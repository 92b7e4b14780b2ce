// SPDX-License-Identifier: Apache-2.0
/** A host by itself, on a machine of its own, whose control it meets at a broker; and the images of its virtual machines. */
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { findProgram } from "#confine/spawn.ts";
import { hostConfig, type ImagesChoice, imagesOf, ingressPortsHere, readUserConfig } from "./config.ts";
import { HOST_GRACE_MS, startHost } from "./host.ts";
import { type ImageKeeper, keepImages } from "./images/keep.ts";
import { hasIssuer } from "./images/signing.ts";
import { type Layout, prepareLayout } from "./layout.ts";
import { lockFolder } from "./lock.ts";
import { withoutRoot } from "./without-root.ts";

const SIGNER_EVERY_MS = 200;

export interface HostRun {
  state: string;
  /** As the host's configuration names its broker. */
  nats: object;
  /** Where strangers reach workloads here; null: only from this machine. */
  address: string | null;
  configFile: string | null;
  signal: AbortSignal;
  say(line: string): void;
}

/** Until the signal; then its machines are ended. */
export async function runHost(options: HostRun): Promise<void> {
  const { state, nats, address, configFile, signal, say } = options;
  const user = readUserConfig(configFile);
  const imagesChoice = imagesOf(user, process.env);
  const layout = prepareLayout(state);
  const lock = lockFolder(layout.path("lock"));
  try {
    if (layout.root && findProgram("bwrap") === null)
      throw new Error(
        "bubblewrap is missing, and as root nothing starts unconfined: apt-get install -y bubblewrap",
      );
    if (!layout.root) for (const line of withoutRoot(process.getuid?.() ?? 0)) say(line);
    const path = layout.path("keys", "host.json");
    const writeConfig = async () => {
      const ports = address === null ? await ingressPortsHere() : { httpPort: 80, httpsPort: 443 };
      const ingress = { host: address ?? "127.0.0.1", ...ports };
      const config = hostConfig({ layout, meeting: { nats }, user, ingress, registriesInside: [] });
      writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    };
    await writeConfig();
    const host = startHost(layout, user, path, say, writeConfig);
    say(`casemate host runs (log: ${layout.path("logs", "host.log")})`);
    const images = await keepImagesOnceSigned(layout, imagesChoice, signal, say);
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
    // While the host ends its machines: a build has much to take away.
    await Promise.all([host.stop(HOST_GRACE_MS), images?.stop()]);
    layout.clear();
  } finally {
    lock.release();
  }
}

/** A build is signed by the host's own signer, which makes its key with its first start. Null: not before the signal. */
async function keepImagesOnceSigned(
  layout: Layout,
  choice: ImagesChoice,
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<ImageKeeper | null> {
  while (!hasIssuer(layout.state))
    if (!(await sleep(SIGNER_EVERY_MS, true, { signal }).catch(() => false))) return null;
  return signal.aborted ? null : keepImages(layout, choice, say);
}
