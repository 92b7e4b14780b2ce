// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate attest measure <compose file> --image <image.json>`: the launch manifest of what would be created, its hash, and the policy
 * that a machine of it meets: before there is one, and without asking anybody. `?dryRun=1` of the API answers the same.
 */
import { createHash } from "node:crypto";
import { parseDocument } from "yaml";
import { type LaunchManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import { commandLine } from "#images/metadata.ts";
import { imageBytesOf } from "./evidence-files.ts";
import { UsageFault } from "./usage.ts";
import { filesOf, metadataOf, partsOf, rootKeysOf } from "./verify-served.ts";

export interface LaunchOptions {
  image: string;
  domain: string[];
  service: string;
  port: string;
  file: string[] | undefined;
  pin: string[] | undefined;
  disk: boolean;
  roots: string | undefined;
}

export interface MeasuredLaunch {
  manifest: string;
  launchSha256: string;
  commandLine: string;
  policy: object;
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Throws `UsageFault` for what cannot be meant, `TpmFault` for an image that cannot be measured. */
export async function measureLaunch(composeFile: string, options: LaunchOptions): Promise<MeasuredLaunch> {
  const compose = await imageBytesOf(composeFile);
  const files = await filesOf(options.file);
  const publicPort = Number(options.port);
  if (!Number.isInteger(publicPort) || publicPort < 1 || publicPort > 65535)
    throw new UsageFault("--port is one from 1 to 65535.");
  const manifest: LaunchManifest = {
    ...{
      v: 1,
      compose: sha256(compose),
      domains: options.domain,
      publicService: options.service,
      publicPort,
    },
    files: Object.fromEntries([...(files ?? [])].map(([name, bytes]) => [name, sha256(bytes)])),
    images: { ...digestsIn(compose, composeFile), ...pinsOf(options.pin) },
    stateDisk: options.disk,
  };
  const bytes = manifestBytes(manifest);
  const metadata = metadataOf(await imageBytesOf(options.image));
  const line = commandLine(metadata, sha256(bytes));
  const roots = await rootKeysOf(options.roots);
  const { tpm, tdx } = await partsOf(metadata, sha256(bytes), roots);
  return {
    manifest: Buffer.from(bytes).toString(),
    launchSha256: sha256(bytes),
    commandLine: line,
    policy: { tpm, ...(Object.keys(tdx.rtmrs).length > 0 && { tdx }) },
  };
}

const DIGEST = /@sha256:[0-9a-f]{64}$/;

/** Images that the file itself names by digest. What a tag in this installation's registry became, `--pin` says. */
function digestsIn(compose: Uint8Array, name: string): Record<string, string> {
  const document = parseDocument(new TextDecoder().decode(compose), { version: "1.2", uniqueKeys: true });
  if (document.errors.length > 0) throw new UsageFault(`${name} is no YAML: ${document.errors[0]!.message}`);
  const value = document.toJS({ maxAliasCount: 100 }) as {
    services?: Record<string, { image?: unknown } | null>;
  } | null;
  const images = Object.entries(value?.services ?? {}).flatMap(([service, each]) =>
    typeof each?.image === "string" && DIGEST.test(each.image) ? [[service, each.image] as const] : [],
  );
  return Object.fromEntries(images);
}

function pinsOf(given: readonly string[] | undefined): Record<string, string> {
  const pins = (given ?? []).map((each) => {
    const [, service, image] = /^([^=]+)=(.+)$/.exec(each) ?? [];
    if (service === undefined || image === undefined || !DIGEST.test(image))
      throw new UsageFault("--pin is <service=name@sha256:…>.");
    return [service, image] as const;
  });
  return Object.fromEntries(pins);
}
