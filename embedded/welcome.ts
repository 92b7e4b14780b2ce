// SPDX-License-Identifier: Apache-2.0
/** What a person sees when it is up: what runs here and what cannot, the key once, an example that works. */
import type { AdminKey } from "./admin-key.ts";
import { askOwn } from "./ask-own.ts";
import type { Demo } from "./demo/demo.ts";
import type { Layout } from "./layout.ts";
import { type ByName, wordsOf } from "./names/words.ts";

const CASEMATE = new URL("../casemate", import.meta.url).pathname;

interface Welcome {
  url: string;
  /** The same API over TLS, when the ingress serves it. */
  secureUrl: string | null;
  layout: Layout;
  admin: AdminKey;
  json: boolean;
  /** Null: none runs. */
  demo: Demo | null;
  /** Null: names of instances are not ours to answer for. */
  byName: ByName | null;
}

interface Isolation {
  class: string;
  ready: boolean;
  limits: string;
  missing: string | null;
}

export async function welcome({
  url,
  secureUrl,
  layout,
  admin,
  json,
  demo,
  byName,
}: Welcome): Promise<string[]> {
  const answer = await askOwn(`${url}/v1/health`);
  const health = JSON.parse(answer?.text ?? '{"status":"unknown"}') as {
    status: string;
    isolation?: Isolation[];
  };
  if (json) {
    return [
      JSON.stringify({
        url,
        secure_url: secureUrl,
        status: health.status,
        admin_key_file: layout.path("admin.key"),
        isolation: health.isolation ?? [],
        instances: byName,
        demo: demo === null ? null : demoJson(demo),
      }),
    ];
  }
  const driver = ({ class: name, ready, limits, missing }: Isolation) =>
    ready
      ? `  isolation ${name}: ready (limits by ${/^v\d$/.test(limits) ? `cgroup ${limits}` : limits})`
      : `  isolation ${name}: not here: ${missing}`;
  return [
    `casemate ready ${url}`,
    ...(health.isolation ?? []).map(driver),
    `  API pages     ${url}/v1/openapi.html  ${url}/openapi.html  ${url}/cpt/openapi.html  ${url}/dev/openapi.html`,
    ...(secureUrl === null ? [] : [`  over TLS      ${secureUrl}   (its authority: ${url}/ca.pem)`]),
    admin.fresh
      ? `  admin key     ${admin.key}   (shown this once; kept in ${layout.path("admin.key")})`
      : `  admin key     in ${layout.path("admin.key")}`,
    "",
    "Try a sealed session (paste into another terminal):",
    "",
    ...example(url).map((line) => `  ${line}`),
    ...(health.isolation?.some((one) => one.class === "container" && one.ready)
      ? [
          "",
          "Try a workload (containers: nothing keeps this machine's operator out of them):",
          "",
          ...workloadExample(url, layout.path("admin.key")).map((line) => `  ${line}`),
        ]
      : []),
    ...(health.isolation?.some((one) => one.class === "vm-vtpm" || one.class === "vm")
      ? [
          "",
          "Try an instance (a virtual machine; its image is built in the background, and the create says until then what is missing):",
          "",
          ...instanceExample(url).map((line) => `  ${line}`),
          ...(byName === null ? [] : ["", ...wordsOf(byName, CASEMATE, url)]),
        ]
      : []),
    "",
    "Try a model on a device (for this organization's programs; the whole example is in the README):",
    "",
    ...tenantExample(url).map((line) => `  ${line}`),
    ...(demo === null
      ? []
      : [
          "",
          `A demo camera is being looked at. What is found in its pictures: tail -f ${demo.log}`,
          "",
          ...demoExample(url, demo).map((line) => `  ${line}`),
        ]),
  ];
}

const demoJson = ({ clientFile, log, system, device, model }: Demo) => ({
  ...{ client_file: clientFile, log_file: log, system_id: system, device_id: device, model_id: model },
});

/** From the state of the camera to a change of what it looks for. */
const demoExample = (url: string, { clientFile, log, system, device, model }: Demo): string[] => [
  `URL=${url}`,
  `field() { grep -o "\\"$1\\": *\\"[^\\"]*\\"" | head -1 | cut -d'"' -f4; }`,
  `TOKEN=$(curl -s $URL/cdb/oauth2/token -d grant_type=client_credentials -d client_id=$(field client_id < ${clientFile}) \\`,
  `  -d client_secret=$(field client_secret < ${clientFile}) | field access_token)`,
  'call() { curl -s -H "Authorization: Bearer $TOKEN" "$@"; }',
  `call $URL/dev/system/${system}/devices`,
  ...(model === null
    ? []
    : [
        `call -X PUT $URL/dev/device/${device}/pipelines -d '[{"modelUUID":"${model}","Classes":["Green"]}]'`,
        `sleep 5; tail -n 3 ${log}`,
      ]),
];

/** The beginning of the README's third example. */
const tenantExample = (url: string): string[] => [
  `URL=${url}`,
  `field() { grep -o "\\"$1\\": *\\"[^\\"]*\\"" | head -1 | cut -d'"' -f4; }`,
  "(umask 077; ./casemate tenants create acme --json > acme.json)",
  "TOKEN=$(curl -s $URL/cdb/oauth2/token -d grant_type=client_credentials -d client_id=$(field client_id < acme.json) \\",
  "  -d client_secret=$(field client_secret < acme.json) | field access_token)",
  'curl -s $URL/cpt/configuration -H "Authorization: Bearer $TOKEN"',
];

/** The second example of the README. */
export const workloadExample = (url: string, adminKeyFile: string): string[] => [
  `URL=${url}`,
  `KEY=$(curl -s $URL/api/v1/accounts/create -H "x-api-key: $(cat ${adminKeyFile})" -d '{"name":"me","credits":1000}' | grep -o 'cm_wl_[A-Za-z0-9]*')`,
  `ART=$(curl -s $URL/api/v1/artifacts/list -H "x-api-key: $KEY" | grep -o '[0-9]*\\.[0-9]*\\.[0-9]*' | head -1)`,
  `SITE=$(curl -s $URL/api/v1/workloads/create -H "x-api-key: $KEY" -d '{"name":"hello","artifactsVersion":"'$ART'",`,
  `  "dockerCompose":"services:\\n  api:\\n    image: caddy:2\\n    command: caddy respond --listen :80 --body hello",`,
  `  "publicContainerName":"api","publicContainerPort":80,"memory":512,"cpus":1,"disk":5,"gpus":0}' | grep -o 'https://[^"]*')`,
  "curl -s $URL/ca.pem > casemate-ca.pem",
  `until curl -sf --cacert casemate-ca.pem "\${SITE:?the create was refused}"; do sleep 1; done`,
];

/** A machine of one's own; a journey test runs these very lines. */
export const instanceExample = (url: string): string[] => [
  `URL=${url}`,
  `field() { grep -o "\\"$1\\": *\\"[^\\"]*\\"" | head -1 | cut -d'"' -f4; }`,
  "(umask 077; ./casemate tenants create mine --json > mine.json; ssh-keygen -q -t ed25519 -N '' -f mine.key)",
  "export CASEMATE_INSTANCES_KEY=$(field api_key < mine.json)",
  `call() { curl -s -H "Authorization: Bearer $CASEMATE_INSTANCES_KEY" "$@"; }`,
  `NAME=$(call $URL/v1/instances -d '{"agent":"none","public_key":"'"$(cat mine.key.pub)"'"}' | field name)`,
  `call "$URL/v1/instances/\${NAME:?the create was refused}?wait=ready&timeout=300"; echo`,
  "./casemate ssh --url $URL -i mine.key $NAME uname -a",
  `call -X DELETE $URL/v1/instances/$NAME; echo`,
];

/** The README's example; a journey test runs these very lines. */
export const example = (url: string): string[] => [
  `URL=${url}`,
  `KEY=$(curl -s $URL/v1/signup -d '{"email":"you-'$(date +%s)'@company.com"}' | grep -o 'nrx_live_[A-Za-z0-9]*')`,
  `ID=$(curl -s $URL/v1/sessions -H "Authorization: Bearer $KEY" -d '{"data_classification":"PHI"}' | grep -o 'sess_[0-9a-f]*')`,
  `curl -s $URL/v1/sessions/$ID/exec -H "Authorization: Bearer $KEY" \\`,
  `  -d '{"command":"python3 -c \\"import os; print(len(open(os.environ[\\\\\\"INPUT_DATA\\\\\\"]).read().split()), \\\\\\"words\\\\\\")\\"","input_data":"four words of data"}'`,
  `curl -s -X DELETE $URL/v1/sessions/$ID -H "Authorization: Bearer $KEY" > destroyed.json`,
  "curl -s $URL/v1/verify -d @destroyed.json",
  "curl -s $URL/platform/v1/issuers > issuers.json",
  "./casemate verify-proof destroyed.json --issuer-file issuers.json",
];
