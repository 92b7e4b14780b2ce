// SPDX-License-Identifier: Apache-2.0
/**
 * A call of each operation on models and devices, as somebody pastes it into a shell: what stands in the
 * documents, and what a test runs (control/src/http/samples.test.ts). `$NAME` is a variable of that shell;
 * in the document's own example a value of the right form stands in its place.
 */
import type { Operation } from "./operation.ts";

/** What a variable may look like. */
const FORMS: Record<string, string> = {
  WORD: "cm_site_3Vb7cRr0nB1q5iXy2wT8uJk4hLm6sZa9",
  CODE: "BCDF-GHJK",
};
const uuid = (name: string): string =>
  `5c2cbb0b-3f4b-4ef1-9d2e-${Buffer.from(name.padEnd(6, "_").slice(0, 6)).toString("hex")}`;
const formOf = (name: string): string => FORMS[name] ?? uuid(name);

/** What the item is that a segment of a path is followed by. */
const ITEMS: Record<string, string> = {
  ...{
    system: "SITE",
    available: "SITE",
    server: "SERVER",
    device: "DEVICE",
    devices: "DEVICE",
    group: "GROUP",
  },
  ...{ pipeline: "PIPELINE", rollout: "ROLLOUT", "registration-token": "REGISTRATION", claim: "CLAIM" },
  ...{
    function: "MODEL",
    functions: "MODEL",
    models: "MODEL",
    conversion: "CONVERSION",
    artifact: "ARTIFACT",
  },
  ...{ catalogue: "CATALOGUE", catalogues: "CATALOGUE" },
};
/** What is no variable. */
const WORDS: Record<string, string> = { ":name": "candidate", ":number": "1", ":customization": "any" };

const BODIES: Record<string, unknown> = {
  "devices.systems.create": { Name: "Harbour" },
  "devices.systems.change": { Name: "Harbour, north" },
  "devices.tokens.create": { SystemId: "$SITE", MaxUses: 10, LifetimeSeconds: 3600 },
  "devices.register": { ServerId: "$NEW", RegistrationToken: "$WORD", Name: "Lamp post" },
  "devices.claims.approve": { Code: "$CODE", Name: "Lamp post" },
  "devices.servers.change": { Name: "Gate house", Settings: { TelemetrySeconds: 60 } },
  "devices.servers.runtime": { Runtime: "cpu" },
  "devices.own.put": { Name: "Camera 2", Serial: "C-2", Type: "camera" },
  "devices.state.report": {
    ...{ Version: 1, Health: "ok" },
    Facts: {
      AvailableRuntimes: [{ Name: "cpu", Version: "1.30.0", Targets: ["application/x-onnx"] }],
      Supports: { Pipelines: true },
    },
  },
  "devices.telemetry.put": {
    Samples: [
      {
        ...{ Sequence: 1, AgeMs: 0, DurationMs: 60_000 },
        Devices: [{ UUID: "$DEVICE", Frames: 60, Errors: 0, Pipelines: [] }],
      },
    ],
  },
  "devices.devices.create": { Name: "Camera", Server: "$SERVER", Serial: "C-1", Tags: ["entrance"] },
  "devices.devices.change": { Active: true, Tags: ["entrance", "night"] },
  "devices.groups.create": { Name: "Entrances" },
  "devices.groups.change": { Name: "All entrances" },
  "devices.groups.add": { Devices: ["$DEVICE"] },
  "devices.pipelines.put": [{ modelUUID: "$MODEL", resizingMethod: "Letterbox" }],
  "devices.pipelines.add": { modelUUID: "$MODEL", Name: "A second look" },
  "devices.pipelines.functions": [{ FunctionUUID: "$MODEL" }],
  "devices.pipelines.clone": { Devices: ["$OTHER"] },
  "devices.pipelines.assign": { Devices: ["$DEVICE"], Functions: ["$MODEL"] },
  "devices.pipelines.rollback": { Version: 1 },
  "devices.rollouts.create": {
    ...{ Name: "Night watch", Pipelines: [{ modelUUID: "$MODEL" }], Target: { Systems: ["$SITE"] } },
    Stages: [
      { Count: 1, HoldSeconds: 300 },
      { Percent: 100, HoldSeconds: 0 },
    ],
    Abort: { FailurePercent: 5, MinDevices: 5 },
  },
  "devices.rollouts.act": { Action: "pause" },
  "models.aliases.put": { Version: 1 },
  "models.conversions.create": { Targets: ["application/x-onnx"], Options: { level: "extended" } },
  "models.conversions.lease": { Targets: ["application/x-tensorrt"] },
  "models.catalogues.create": { Name: "Traffic", Visibility: "private" },
  "models.catalogues.change": { Name: "Traffic, day" },
  "models.catalogues.add": { FunctionUUID: "$MODEL" },
  "models.benchmarks.create": { Hardware: "this machine" },
};

/** Of what is no JSON: the rest of the line. */
const OTHERS: Record<string, string> = {
  "models.functions.create": `-F 'data={"Name":"Cats"};type=application/json' -F file=@model.onnx`,
  "models.functions.change": `-F 'data={"Notes":"trained on more"};type=application/json' -F file=@model.onnx`,
  "models.infer": "-H 'content-type: image/png' --data-binary @picture.png",
  "models.conversions.artifact": '-H "X-Lease: $LEASE" --data-binary @compiled.bin',
};

const TOKEN: Partial<Record<Operation["access"], string>> = {
  public: "",
  server: "$SERVER_KEY",
  serverOrAnyone: "",
};

/** Null: of this one nothing is known that could be sent. */
export function sampleOf(operation: Operation): { curl: string; body?: unknown } | null {
  const { method, path, access, bodyKind, responses } = operation;
  const id = operation.id.replace(/\.alias$/, "");
  const sends = bodyKind !== "none";
  const body = BODIES[id];
  const rest =
    OTHERS[id] ?? (body === undefined ? null : `-H 'content-type: application/json' -d '${inShell(body)}'`);
  if (sends && rest === null) return null;
  const key = TOKEN[access] ?? "$TOKEN";
  const streams = Object.values(responses).some(({ mediaType }) => mediaType === "text/event-stream");
  const implied = sends ? "POST" : "GET";
  const words = [
    ...["curl", streams ? "-fsSN" : "-fsS"],
    ...(method === "HEAD" ? ["-I"] : method === implied ? [] : ["-X", method]),
    ...(key === "" ? [] : [`-H "Authorization: Bearer ${key}"`]),
    `"$URL${pathOf(path)}"`,
    ...(rest === null ? [] : [rest]),
  ];
  return { curl: words.join(" "), ...(body !== undefined && { body: inDocument(body) }) };
}

function pathOf(path: string): string {
  const parts = path.split("/");
  return parts
    .map((part, at) => {
      if (!part.startsWith(":")) return part;
      return WORDS[part] ?? `$${ITEMS[parts[at - 1]!] ?? part.slice(1).toUpperCase()}`;
    })
    .join("/");
}

/** Out of the quotes that hold the rest. */
const inShell = (body: unknown): string =>
  JSON.stringify(body).replaceAll(/\$[A-Z]+/g, (name) => `'${name}'`);

const inDocument = (body: unknown): unknown =>
  JSON.parse(JSON.stringify(body).replaceAll(/\$([A-Z]+)/g, (_, name: string) => formOf(name)));
