// SPDX-License-Identifier: Apache-2.0
/**
 * A host process for tests, in a network namespace that its starter made: runs one workload in a machine with a measured boot, whose
 * image is in a registry on this host's loopback, or finds it again. Answers calls, each a line of JSON.
 */
import { createHash, randomBytes } from "node:crypto";
import { request } from "node:https";
import { createInterface } from "node:readline";
import type { LaunchPayload } from "#contract/link/payload.ts";
import { KEPT_SPEC, linesOf } from "#drivers/conformance/kept-machine.ts";
import { fakeRegistry } from "#drivers/docker/fake-registry.ts";
import type { Endpoint, KeptChange } from "#drivers/kept-driver.ts";
import { QemuDriver } from "#drivers/qemu/driver.ts";
import { AddressPool } from "#drivers/qemu/network/addresses.ts";
import { Taps } from "#drivers/qemu/network/taps.ts";
import { type LaunchManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import type { GuestSecrets } from "#guest/protocol.ts";
import { sealBox } from "#guest/seal.ts";
import { openAuthority } from "#host/ingress/authority.ts";
import { certifyRequest } from "#host/ingress/certify.ts";

const DOMAIN = "a.workloads.test";
const PASSWORD = "of-the-registry-1";
const { options, image, machineId, folder } = JSON.parse(process.argv[2]!);
const sha = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");
const base64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString("base64");
const spec = {
  ...KEPT_SPEC,
  ...{ isolation: "vm-vtpm" as const, cpuMillis: 1000, memoryMiB: 1024 },
  kept: { diskMiB: 300, labels: {}, domains: [DOMAIN] },
};

const registry = await fakeRegistry("user", PASSWORD);
const { authority } = await openAuthority(`${folder}/authority`, new Date());
const certify = async (asked: Uint8Array) =>
  (await certifyRequest(authority, [DOMAIN], asked, new Date())).certificatePem;
const driver = new QemuDriver({
  ...options,
  networks: { taps: new Taps(options.owner), addresses: new AddressPool("10.233.0.0/24") },
  registriesInside: [registry.server],
  lacking: () => null,
});
driver.certifyBy((_, asked) => certify(asked));

const changes: KeptChange[] = [];
driver.onChange((_, change) => changes.push(change));

/** Its page counts the starts that its volume has seen, and it ends when it finds `end` there. */
async function start({ stateKey, word }: { stateKey: string; word: string }) {
  const count = "echo $WORD >> /data/starts; b='/busybox'; $b tr '\\n' ' ' < /data/starts > /www/index.html";
  const serve = `/busybox mkdir /www; ${count}; echo to stdout; echo to stderr >&2; trap "exit 0" TERM; /busybox httpd -f -p 8080 -h /www & wait`;
  const command = JSON.stringify(["/busybox", "sh", "-c", serve.replaceAll("$", "$$$$")]);
  const compose = `services: {web: {image: "${registry.image}", command: ${command}, restart: always, environment: [WORD], volumes: ["data:/data"]}}\nvolumes: {data: {}}\n`;
  const manifest: LaunchManifest = {
    ...{ v: 1, compose: sha(compose), files: {}, domains: [DOMAIN], publicService: "web", publicPort: 8080 },
    ...{ images: {}, stateDisk: true },
  };
  const bytes = manifestBytes(manifest);
  const payload: LaunchPayload = {
    ...{ kind: "launch", image, manifest: base64(bytes) },
    registries: [registry.server],
  };
  const secrets: GuestSecrets = {
    ...{ v: 1, machineId, incarnation: 1, compose, env: { WORD: word }, files: {}, stateKey },
    registries: [{ server: registry.server, username: "user", password: PASSWORD }],
  };
  const progress: string[] = [];
  const { endpoint } = await driver.start(machineId, spec, payload, {
    onRecord: async () => {},
    onProgress: (text) => void progress.push(text),
    onImage: () => {},
    inside: {
      certify,
      secrets: async () => {
        const { keys } = await driver.attested(machineId);
        const to = {
          sealingKey: Buffer.from(keys.sealing, "base64"),
          launchSha256: Buffer.from(sha(bytes), "hex"),
        };
        return sealBox("secrets", to, Buffer.from(JSON.stringify(secrets)));
      },
    },
    signal: new AbortController().signal,
  });
  return { endpoint, progress };
}

function page({ host, port }: Endpoint): Promise<string> {
  return new Promise((resolve) => {
    const asked = request({ host, port, servername: DOMAIN, headers: { host: DOMAIN }, ca: authority.caPem });
    asked.setTimeout(60_000, () => asked.destroy(new Error("no answer")));
    asked.on("error", (error) => resolve(error.message));
    asked.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      response.on("end", () => resolve(`${response.statusCode} ${text.trim()}`));
    });
    asked.end();
  });
}

const calls: Record<string, (args: never) => Promise<unknown>> = {
  start,
  page,
  find: () => driver.find(machineId, {}),
  containers: () => driver.containers(machineId),
  logs: () => linesOf(driver, machineId, "web"),
  stats: () => driver.stats(machineId),
  evidence: async () => {
    const { evidence } = await driver.attested(machineId);
    return (await evidence("report", randomBytes(32).toString("hex"))).platform;
  },
  errors: () => linesOf(driver, machineId, "web", { stream: "stderr", linesMax: 1 }),
  changes: async () => changes,
  halt: () => driver.halt(machineId, null),
  reap: () => driver.reap(new Set()),
};
for await (const line of createInterface({ input: process.stdin })) {
  const [name, args] = JSON.parse(line) as [string, never];
  const answer = await calls[name]!(args).then(
    (ok) => ({ ok: ok ?? null }),
    (error: Error) => ({ error: error.message }),
  );
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
