// SPDX-License-Identifier: Apache-2.0
/**
 * A kept machine as tests ask for it, and a way to look out from inside: its public service runs the
 * shell command that comes with a request and answers with what it said. So nothing of a driver's own
 * is needed to see what a machine sees.
 */
import type { MachineSpec } from "#contract/link/machine.ts";
import type { ComposePayload } from "#contract/link/payload.ts";
import type { Endpoint, KeptChange, KeptDriver, LogsAsk } from "../kept-driver.ts";

export const KEPT_SPEC: MachineSpec = {
  isolation: "container",
  image: null,
  cpuMillis: 2000,
  memoryMiB: 128,
  pidsMax: 64,
  network: "own",
  endProof: null,
  kept: { diskMiB: 1024, labels: { "casemate.test": "conformance" }, domains: [] },
};

export interface PayloadParts {
  /** An image with busybox: sh, httpd, nc, base64. */
  image: string;
  services?: Record<string, object>;
  /** More members of the public service. */
  web?: Record<string, unknown>;
  top?: Record<string, unknown>;
  env?: Record<string, string>;
  files?: Record<string, string>;
}

const base64 = (text: string) => Buffer.from(text).toString("base64");

/** Of a web server with CGI: runs the shell command in the query. */
export const ASK = `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
printf %s "$QUERY_STRING" | tr '_-' '/+' | base64 -d | sh 2>&1
`;

export function payloadOf({ image, services, web, top, env, files }: PayloadParts): ComposePayload {
  const { volumes = [], ...more } = (web ?? {}) as { volumes?: unknown[] };
  // Whatever runs as process 1 and has no handler does not hear SIGTERM, and would cost ten seconds.
  const common = { image, stop_signal: "SIGKILL" };
  const others = Object.entries(services ?? {}).map(([name, each]) => [name, { ...common, ...each }]);
  return {
    kind: "compose",
    // The document has been through interpolation, so a dollar stands in it twice.
    compose: JSON.stringify({
      services: {
        web: {
          ...common,
          command: ["httpd", "-f", "-p", "80", "-h", "/www"],
          volumes: ["/__files__/www:/www:ro", ...volumes],
          ...more,
        },
        ...Object.fromEntries(others),
      },
      ...top,
    }).replaceAll("$", "$$$$"),
    env: env ?? {},
    files: {
      "www/cgi-bin/ask": base64(ASK),
      ...Object.fromEntries(Object.entries(files ?? {}).map(([name, text]) => [name, base64(text)])),
    },
    registries: [],
    publicService: "web",
    publicPort: 80,
  };
}

/** Where the public service runs a command. */
export function askPath(command: string): string {
  const query = base64(command).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  // busybox takes no base64 without its padding.
  return `/cgi-bin/ask?${query}${"=".repeat((4 - (query.length % 4)) % 4)}`;
}

/** What a shell in the public service says to a command. */
export async function ask({ host, port }: Endpoint, command: string): Promise<string> {
  const response = await fetch(`http://${host}:${port}${askPath(command)}`, {
    signal: AbortSignal.timeout(20_000),
  });
  if (response.status !== 200) throw new Error(`the machine answered ${response.status}`);
  return (await response.text()).trimEnd();
}

/** Which of the targets (`host:port`) take a connection from inside. All are tried at once. */
export async function reachable(endpoint: Endpoint, targets: readonly string[]): Promise<string[]> {
  const tries = targets.map((target) => {
    const [host, port] = target.split(":");
    return `(nc -w 2 ${host} ${port} </dev/null >/dev/null 2>&1 && echo ${target}) &`;
  });
  const said = await ask(endpoint, `${tries.join("\n")}\nwait`);
  return said.split("\n").filter((line) => targets.includes(line));
}

export async function startKept(
  driver: KeptDriver,
  machineId: string,
  payload: ComposePayload,
  { spec = KEPT_SPEC, signal = new AbortController().signal, progress = [] as string[] } = {},
) {
  return driver.start(machineId, spec, payload, {
    onRecord: async () => {},
    onProgress: (text) => void progress.push(text),
    onImage: () => {},
    signal,
  });
}

export async function linesOf(
  driver: KeptDriver,
  machineId: string,
  container: string | null,
  more: Partial<LogsAsk> = {},
): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of driver.logs(machineId, {
    container,
    stream: "both",
    tail: true,
    linesMax: 100,
    follow: false,
    timestamps: false,
    signal: AbortSignal.timeout(20_000),
    ...more,
  }))
    lines.push(line);
  return lines;
}

/** The first change that fits, from the moment of the call on. */
export function nextChange(
  changes: ({ machineId: string } & KeptChange)[],
  machineId: string,
  fits: RegExp,
): Promise<KeptChange> {
  const until = Date.now() + 20_000;
  return new Promise((resolve, reject) => {
    const look = () => {
      const found = changes.find((each) => each.machineId === machineId && fits.test(each.detail));
      if (found !== undefined) return resolve(found);
      if (Date.now() > until) return reject(new Error(`no change like ${fits}: ${JSON.stringify(changes)}`));
      setTimeout(look, 20);
    };
    look();
  });
}
