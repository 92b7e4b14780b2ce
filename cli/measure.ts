// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate attest measure`: what the registers of a TPM, and those of TDX, come to when an image is started with a command line, as
 * parts of a policy. Computed from the files alone, before anything is started.
 */

import { stringify } from "yaml";
import { expectedRtmrs } from "#evidence/tdx/expected.ts";
import { bootFactsOf, expectedPcrs } from "#evidence/tpm/expected.ts";
import { TpmFault } from "#evidence/tpm/wire.ts";
import { commandLine, parseMetadata } from "#images/metadata.ts";
import { imageBytesOf } from "./evidence-files.ts";
import { measureLaunch } from "./measure-launch.ts";
import { commandOf, type Given, type Printing, UsageFault } from "./usage.ts";

const USAGE = `Usage: casemate attest measure <docker-compose.yaml> --image <image.json> --domain <name> --service <name> --port <n>
       casemate attest measure <image.json> --launch <sha256>
       casemate attest measure <image.efi> --command-line <line>

  <docker-compose.yaml>    What is to run; with it the launch manifest and its hash are printed too.
  --domain <name>          A name that the machine serves. Repeatable, in order.
  --service <name>         The public service, and
  --port <n>               its port.
  --file <name=file>       A file that is uploaded with it. Repeatable.
  --pin <service=image>    The digest that the platform's registry gave for a tag. Repeatable.
  --disk                   The workload has a disk.
  --roots <file|dir>       Certificates of roots that may vouch for a TPM.
  <image.json>             What is known of an image; the command line is the image's own for the launch.
  <image.efi>              The image that firmware starts.
  --launch <sha256>        The hash of the launch manifest, 64 lower-case hex digits.
  --command-line <line>    The whole line that the image is started with.
  --json                   Print {"tpm": {"pcrs": {"4": ["…"], …}}, "tdx": {"rtmrs": {"1": ["…"], …}}} instead of YAML.

The part for TDX lacks mrTds and register 0, which are those of the host's firmware: as it is it accepts nothing. An image that was
built before its hashes of SHA-384 were kept has no such part.

Exit codes: 0 computed, 1 the image or the line cannot be measured, 2 usage.
`;

const OPTIONS = {
  launch: { type: "string" },
  image: { type: "string" },
  domain: { type: "string", multiple: true },
  service: { type: "string" },
  port: { type: "string" },
  file: { type: "string", multiple: true },
  pin: { type: "string", multiple: true },
  disk: { type: "boolean" },
  roots: { type: "string" },
  "command-line": { type: "string" },
  json: { type: "boolean" },
} as const;

export const measureCommand = commandOf(USAGE, OPTIONS, run);

async function run({ values, positionals }: Given<typeof OPTIONS>, io: Printing): Promise<number> {
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) throw new UsageFault("Name one image.");
  const { launch, "command-line": line } = values;
  if (values.image !== undefined) return launchOf(file, values, io);
  if ((launch === undefined) === (line === undefined))
    throw new UsageFault("Give either --launch or --command-line.");
  const bytes = await imageBytesOf(file);
  try {
    const { boot, commandLine: whole } =
      launch === undefined
        ? { boot: await bootFactsOf(bytes), commandLine: line! }
        : fromMetadata(bytes, launch);
    const listed = (registers: Record<string, string>) =>
      Object.fromEntries(Object.entries(registers).map(([register, value]) => [register, [value]]));
    const pcrs = await expectedPcrs(boot, whole);
    const rtmrs = await expectedRtmrs(boot, whole);
    const parts = {
      tpm: { pcrs: listed(pcrs) },
      ...(rtmrs !== null && { tdx: { rtmrs: listed(rtmrs) } }),
    };
    io.out(values.json === true ? `${JSON.stringify(parts)}\n` : stringify(parts));
    return 0;
  } catch (fault) {
    if (!(fault instanceof TpmFault)) throw fault;
    io.err(`The image cannot be measured: ${fault.message}.\n`);
    return 1;
  }
}

async function launchOf(
  composeFile: string,
  values: Given<typeof OPTIONS>["values"],
  io: Printing,
): Promise<number> {
  const { image, domain = [], service, port, file, pin, disk = false, roots } = values;
  if (image === undefined || service === undefined || port === undefined || domain.length === 0)
    throw new UsageFault("A compose file needs --image, --domain, --service and --port.");
  try {
    const ask = { image, domain, service, port, file, pin, disk, roots };
    const { manifest, launchSha256, commandLine: whole, policy } = await measureLaunch(composeFile, ask);
    if (values.json === true) {
      io.out(`${JSON.stringify({ manifest, launchSha256, commandLine: whole, policy })}\n`);
      return 0;
    }
    io.out(`# launch ${launchSha256}\n# ${manifest}\n# ${whole}\n${stringify(policy)}`);
    return 0;
  } catch (fault) {
    if (!(fault instanceof TpmFault)) throw fault;
    io.err(`The image cannot be measured: ${fault.message}.\n`);
    return 1;
  }
}

function fromMetadata(bytes: Uint8Array, launch: string) {
  if (!/^[0-9a-f]{64}$/.test(launch)) throw new UsageFault("--launch is 64 lower-case hex digits.");
  let metadata: ReturnType<typeof parseMetadata>;
  try {
    metadata = parseMetadata(new TextDecoder().decode(bytes));
  } catch (fault) {
    throw new TpmFault(fault instanceof Error ? fault.message : "its metadata cannot be read");
  }
  return { boot: metadata.boot, commandLine: commandLine(metadata, launch) };
}
