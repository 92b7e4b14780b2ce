// SPDX-License-Identifier: Apache-2.0
/** Every default in one place; `docs/configuration.md` tells what each means. */
import { NO_NATS } from "#link/nats/files.ts";
import type { ControlConfig } from "./config.ts";
import { DEFAULT_TIERS } from "./surfaces/sessions/tiers.ts";

export const DEFAULT_CONFIG: ControlConfig = {
  http: {
    host: "127.0.0.1",
    port: 8787,
    trustedProxies: [],
    ingressProofHash: null,
    tls: null,
    insecure: false,
    drainMs: 0,
  },
  database: { socket: null, name: "casemate", user: "casemate", urlFile: null, poolMax: 10 },
  link: { socket: "link.sock", nats: NO_NATS, broker: null, hostServers: [] },
  instance: "",
  folder: ".",
  operator: { keyHash: null, keyPrefix: "cm_admin_" },
  sessions: { tiers: DEFAULT_TIERS, startTimeoutMs: 20_000, endTimeoutMs: 60_000, template: null },
  workloads: {
    zone: "workloads.localhost",
    microsPerCredit: 10_000,
    requestsPerMinute: 600,
    diskGbPerAccount: 1000,
    jurisdiction: "OTHER",
    meterEveryMs: 10_000,
    lowMs: 3_600_000,
    graceMs: 300_000,
  },
  identity: {
    publicUrl: null,
    accessTokenSeconds: 3600,
    signUp: "invited",
    outside: null,
    requestsPerMinute: 1200,
  },
  blobs: {
    folder: "blobs",
    s3: {
      ...{ endpoint: null, region: "us-east-1", bucket: null, prefix: "" },
      ...{ accessKeyId: null, secretAccessKeyFile: null },
    },
  },
  models: {
    legacyAuth: false,
    ...{ uploadBytesMax: 2 * 1024 ** 3, bytesPerAccount: 20 * 1024 ** 3, opsetMax: 17, irVersionMax: 9 },
    ...{ children: 1, threads: 2, memoryMiB: 2048, timeoutMs: 600_000, leaseMs: 3_600_000 },
    externalTargets: [
      "application/x-onnx; device=hailo",
      "application/zip; device=mxa",
      "application/x-tensorrt",
      "application/x-openvino",
    ],
  },
  registry: {
    host: null,
    bytesPerAccount: 20 * 1024 ** 3,
    collectAfterMs: 86_400_000,
    uploadMs: 3_600_000,
  },
  names: {
    host: null,
    port: 5353,
    nameServers: [],
    contact: "hostmaster@localhost.localdomain",
    ttlSeconds: 60,
    negativeTtlSeconds: 30,
    resolvers: [],
    domainCheckMs: 86_400_000,
    domainGraceMs: 259_200_000,
    update: { server: null, port: 53, zone: null, keyName: null, tsigKeyFile: null },
  },
  webhooks: {
    ...{ allowHttp: false, allowNetworks: [], resolvers: [] },
    ...{ endpointsMax: 10, timeoutMs: 15_000, retryFirstMs: 5_000 },
  },
  payments: {
    secretKeyFile: null,
    webhookSecretFile: null,
    priceStarter: null,
    priceBusiness: null,
    successUrl: null,
    cancelUrl: null,
    apiBase: null,
  },
  devices: { rolloutEveryMs: 1000, rolloutDays: 400, telemetryEveryMs: 10_000, telemetryHours: 168 },
  retention: { journalPayloadDays: 400, journalDays: 800 },
  log: { level: "info" },
  replica: "control-1",
};
