// SPDX-License-Identifier: Apache-2.0
/**
 * Control's configuration: one schema, resolved once into a complete value. Order: defaults, the file,
 * then the environment (`CASEMATE_HTTP_PORT` is `http.port`). Unknown keys are refused: a misspelt
 * limit must not be a missing limit. Secrets are named by file, so that no listing of the environment
 * or of this value shows one.
 */
import { readFileSync } from "node:fs";
import { type Static, type TObject, type TSchema, Type } from "typebox";
import { Value } from "typebox/value";
import { NatsFiles } from "#link/nats/files.ts";

const closed = <P extends Record<string, TSchema>>(properties: P) =>
  Type.Object(properties, { additionalProperties: false });
const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const limit = nullable(Type.Integer({ minimum: 0 }));

const Tier = closed({
  rpm: limit,
  concurrentSessions: limit,
  ttlSeconds: limit,
  cdpsPerCycle: limit,
  memoryMiB: Type.Integer({ minimum: 16 }),
  cpuMillis: Type.Integer({ minimum: 10 }),
  pidsMax: Type.Integer({ minimum: 4 }),
});

export const ControlConfig = closed({
  http: closed({
    host: Type.String(),
    port: Type.Integer({ minimum: 0, maximum: 65535 }),
    /** Addresses whose X-Forwarded-For is believed; empty: the socket's address counts. */
    trustedProxies: Type.Array(Type.String()),
    /** SHA-256 (hex) of what the ingress in front shows, whose X-Forwarded-For is believed then. */
    ingressProofHash: nullable(Type.String({ pattern: "^[0-9a-f]{64}$" })),
    /** PEM files; replaced ones are taken over while it runs. Null: plain HTTP. */
    tls: nullable(closed({ certFile: Type.String(), keyFile: Type.String() })),
    /** Plain HTTP also where others could listen in. */
    insecure: Type.Boolean(),
    /** Between the first word of a stop (`/readyz` says 503) and the last request taken. */
    drainMs: Type.Integer({ minimum: 0, maximum: 600_000 }),
  }),
  database: closed({
    /** Folder of a unix socket, or null when `urlFile` is used. */
    socket: nullable(Type.String()),
    name: Type.String(),
    user: Type.String(),
    /** File that holds a postgres:// URL; wins over `socket`. */
    urlFile: nullable(Type.String()),
    poolMax: Type.Integer({ minimum: 2, maximum: 200 }),
  }),
  link: closed({
    /** Hosts of this machine dial it. */
    socket: Type.String(),
    /** Hosts of other machines meet control at a broker. */
    nats: NatsFiles,
    /** A broker whose users this replica keeps, on its own machine and under its own user; null: kept by hand. */
    broker: nullable(
      closed({
        /** Written here: the whole configuration of the nats-server. */
        configPath: Type.String(),
        pidPath: Type.String(),
        host: Type.String(),
        port: Type.Integer({ minimum: 1, maximum: 65535 }),
        /** PEM files of the broker; null with `nats.tls` "off", or on loopback. */
        certPath: nullable(Type.String()),
        keyPath: nullable(Type.String()),
      }),
    ),
    /** What a host that joins is told of the broker; empty: as in `nats`. */
    hostServers: Type.Array(Type.String()),
  }),
  /** Told in `/readyz`, so that whoever started this process knows its answers from another's. */
  instance: Type.String({ pattern: "^[a-z0-9-]{0,64}$" }),
  /** Control's own folder: its key ring. */
  folder: Type.String(),
  /** SHA-256 of the operator's key, hex, and what may be shown of the key. */
  operator: closed({
    keyHash: nullable(Type.String({ pattern: "^[0-9a-f]{64}$" })),
    keyPrefix: Type.String(),
  }),
  sessions: closed({
    tiers: closed({ free: Tier, starter: Tier, business: Tier, enterprise: Tier }),
    startTimeoutMs: Type.Integer({ minimum: 100 }),
    endTimeoutMs: Type.Integer({ minimum: 100 }),
    /** Root template of new sessions, which every host that takes them has; null: the host's own /usr. */
    template: nullable(Type.String({ pattern: "^[a-z0-9][a-z0-9._-]{0,63}$" })),
  }),
  /** The log of proofs that everybody may read. */
  transparency: closed({
    /** Its name for all time, a URL without scheme; null: one is drawn at the first start. */
    origin: nullable(Type.String({ pattern: "^[a-z0-9][a-z0-9./-]{0,127}$" })),
    /** From an entry until the checkpoint that has it. */
    everyMs: Type.Integer({ minimum: 10 }),
    /** As many entries have one at once. */
    entries: Type.Integer({ minimum: 1 }),
    /** Who co-signs its checkpoints (C2SP tlog-witness): where each is asked, and its key as `casemate witness` prints it. */
    witnesses: Type.Array(
      closed({
        url: Type.String({ pattern: "^https?://" }),
        key: Type.String({ minLength: 1, maxLength: 256 }),
      }),
      { maxItems: 16 },
    ),
  }),
  attestation: closed({
    /** Where certificates and lists of the makers of processors are kept; null: below `folder`. */
    collateralFolder: nullable(Type.String()),
    /** AMD's key distribution service, or a mirror of it; null: files alone. */
    kdsUrl: nullable(Type.String({ pattern: "^https?://" })),
    /** Intel's provisioning certification service, or a cache of it; null: files alone. */
    pcsUrl: nullable(Type.String({ pattern: "^https?://" })),
    /** Where the revocation list of Intel's root is. */
    pcsRootUrl: nullable(Type.String({ pattern: "^https?://" })),
    /** Policy of this installation for machines of vm-snp, as `casemate attest verify` takes it; null: none is accepted. */
    policyFile: nullable(Type.String()),
    /** What an account may keep of evidence that it brings: verdicts, and their bytes. */
    broughtMax: Type.Integer({ minimum: 0 }),
    broughtMiB: Type.Integer({ minimum: 1 }),
    /** With what hosts start machines of vm-snp (`host.kept.qemu.snp`): what they measure is computed from it. */
    snp: nullable(closed({ firmwareFile: Type.String(), cpuModel: Type.String() })),
  }),
  /** Guest images of this machine, with their metadata; null: there are none. */
  imagesFolder: nullable(Type.String()),
  workloads: closed({
    /** Domain below which every workload has a name. */
    zone: Type.String({ pattern: "^[a-z0-9-]+(\\.[a-z0-9-]+)*$" }),
    /** Micro-units of USD a credit is, a power of ten. */
    microsPerCredit: Type.Integer({ minimum: 1 }),
    requestsPerMinute: limit,
    /** What the workloads of an account may have of disks together, stopped ones included. */
    diskGbPerAccount: limit,
    jurisdiction: Type.String(),
    /** What machines of accounts that ask for nothing are; see `Isolations`. */
    isolation: Type.Enum(["container", "vm", "vm-vtpm", "vm-snp", "vm-tdx"]),
    meterEveryMs: Type.Integer({ minimum: 100 }),
    lowMs: Type.Integer({ minimum: 0 }),
    graceMs: Type.Integer({ minimum: 0 }),
  }),
  instances: closed({
    /** Domain below which every tenant has a slug, and every instance of it a name. */
    zone: Type.String({ pattern: "^[a-z0-9-]+(\\.[a-z0-9-]+)*$" }),
    /** What one may send in its life, in bytes. */
    egressLimitBytes: Type.Integer({ minimum: 0 }),
    /** Chosen for who asks for no model. */
    inferenceModel: Type.String({ minLength: 1, maxLength: 200 }),
    cpus: Type.Integer({ minimum: 1 }),
    memoryMiB: Type.Integer({ minimum: 128 }),
    /** Only machines that a processor keeps from their host (vm-snp, vm-tdx); a create is refused otherwise, and not weakened. */
    requireHardware: Type.Boolean(),
    /** Machines that wait booted and attested for whoever creates an instance: of which agent, and how many. */
    warm: Type.Array(
      closed({
        agent: Type.String({ minLength: 1, maxLength: 64 }),
        count: Type.Integer({ minimum: 1, maximum: 1000 }),
      }),
      { maxItems: 20 },
    ),
    /** An older one is ended, and another booted. */
    warmMaxAgeMs: Type.Integer({ minimum: 1000 }),
    /** Agents also in machines whose processor is emulated; many minutes, and some do not come up at all. */
    allowSlowAgents: Type.Boolean(),
    /** Of the disk that outlives a stop, and has what is written in an instance; of those that are made from then on. */
    diskMiB: Type.Integer({ minimum: 64 }),
    /** What other public variants of this API do otherwise than its seed. */
    dialect: closed({
      sshRsa: Type.Enum(["refuse", "accept"]),
      /** What a delete is answered: the record as it is by then, or always one that is terminating. */
      deleteBody: Type.Enum(["final", "terminating"]),
      publicKeyInList: Type.Boolean(),
      /** Takes `inference_mode: custom`: models of the tenant's own, with an endpoint, a key and a name. */
      customInference: Type.Boolean(),
    }),
    requestsPerMinute: limit,
    /** Of a cycle, in micro-units of USD and whole cents: bills have two decimals. */
    /** The gateway of models, `/inference/v1`. */
    inference: closed({
      /** Servers that speak OpenAI's protocol, and whose models they are. */
      upstreams: Type.Array(
        closed({
          name: Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,39}$" }),
          /** As `https://api.example.com/v1`. */
          baseUrl: Type.String({ pattern: "^https?://[^?#\\s@]+$" }),
          /** What is sent as the bearer; null: nothing. */
          keyFile: nullable(Type.String()),
          models: Type.Array(
            closed({
              id: Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$" }),
              inputMicrosPerMillion: Type.Integer({ minimum: 0, maximum: 1e12 }),
              outputMicrosPerMillion: Type.Integer({ minimum: 0, maximum: 1e12 }),
            }),
          ),
        }),
      ),
      /** How instances reach it, `https://api.example.com/inference/v1`; null: through a door to this API on their host's loopback. */
      baseUrl: nullable(Type.String({ pattern: "^https?://[A-Za-z0-9.:-]{1,260}(/[A-Za-z0-9._~-]+)*$" })),
      /** Addresses and blocks that upstreams may have though they are not public. */
      allowNetworks: Type.Array(Type.String()),
      /** What one instance may spend in its life. */
      spendLimitMicros: limit,
      /** Of one instance. */
      requestsPerMinute: limit,
      /** For one call, from its first byte to its last. */
      timeoutMs: Type.Integer({ minimum: 100, maximum: 3_600_000 }),
      /** Between two pieces of an answer that is streamed. */
      idleMs: Type.Integer({ minimum: 100, maximum: 3_600_000 }),
    }),
    pricing: closed({
      subscriptionMicros: Type.Integer({ minimum: 0, maximum: 1e15, multipleOf: 10_000 }),
      hoursIncluded: Type.Integer({ minimum: 0, maximum: 1e9 }),
      overageMicrosPerHour: Type.Integer({ minimum: 0, maximum: 1e12, multipleOf: 10_000 }),
    }),
  }),
  /** Access tokens for models and devices, and who gets them. */
  identity: closed({
    /** How clients reach this API from outside, `https://api.example.com`; the issuer of tokens, and where the codes on certificates lead. Null: what is listened on. */
    publicUrl: nullable(Type.String({ pattern: "^https?://[^/?#\\s]+$" })),
    accessTokenSeconds: Type.Integer({ minimum: 60, maximum: 86_400 }),
    /** Who may become a user: whoever comes, or only who was invited (or made by the operator). */
    signUp: Type.Enum(["open", "invited"]),
    /** An OpenID Connect provider outside through which people may sign in. */
    outside: nullable(
      closed({
        issuer: Type.String({ pattern: "^https?://" }),
        clientId: Type.String(),
        /** Null: a public client. */
        clientSecretFile: nullable(Type.String()),
        /** What people know it by. */
        name: Type.String({ minLength: 1, maxLength: 64 }),
        /** Whoever comes with an address that is new here becomes a user. */
        signUp: Type.Boolean(),
        /** It gives only addresses that it has checked, though it does not say so. */
        trustEmail: Type.Boolean(),
      }),
    ),
    /** Of one person or client. */
    requestsPerMinute: limit,
  }),
  /** Where bytes that clients store are kept. */
  blobs: closed({
    folder: Type.String(),
    /** A bucket instead of the folder, of any service that speaks S3. */
    s3: closed({
      /** Null: Amazon's of the region. */
      endpoint: nullable(Type.String()),
      region: Type.String(),
      /** Null: the folder. */
      bucket: nullable(Type.String()),
      prefix: Type.String({ pattern: "^([A-Za-z0-9._-]+/)*$" }),
      accessKeyId: nullable(Type.String()),
      secretAccessKeyFile: nullable(Type.String()),
    }),
  }),
  models: closed({
    /** Sign-in by a password without a browser, for older programs; only while `http.host` is loopback. */
    legacyAuth: Type.Boolean(),
    /** Of one file, at most 2 GiB. */
    uploadBytesMax: Type.Integer({ minimum: 1, maximum: 2 * 1024 ** 3 }),
    /** Bytes that all models of an account may take. */
    bytesPerAccount: limit,
    /** Models with newer operators, or of a newer form, do not conform. */
    opsetMax: Type.Integer({ minimum: 1, maximum: 24 }),
    irVersionMax: Type.Integer({ minimum: 3, maximum: 12 }),
    /** Processes at once that read models for conversions, and as many for those who wait for an answer. */
    children: Type.Integer({ minimum: 1, maximum: 64 }),
    threads: Type.Integer({ minimum: 1, maximum: 64 }),
    /** Of one such process. */
    memoryMiB: Type.Integer({ minimum: 256 }),
    timeoutMs: Type.Integer({ minimum: 1000 }),
    /** Media types that workers outside make. */
    externalTargets: Type.Array(Type.String({ pattern: "^[a-z0-9+./; =_-]{1,200}$" })),
    /** How long a worker may take for one. */
    leaseMs: Type.Integer({ minimum: 1000 }),
  }),
  /** The registry of images below `/v2/`. */
  registry: closed({
    /** The name by which images say that they are here, `host` or `host:port`; null: the address that is listened on. */
    host: nullable(Type.String({ pattern: "^[a-z0-9.-]+(:[0-9]{1,5})?$" })),
    /** Bytes an account may store. */
    bytesPerAccount: limit,
    /** How long what nothing points at is kept: longer than anybody pushes one image. */
    collectAfterMs: Type.Integer({ minimum: 0 }),
    /** How long an upload waits for its next piece. */
    uploadMs: Type.Integer({ minimum: 1000 }),
  }),
  /** The name server of `workloads.zone`; needs nothing when that is below `localhost`. */
  names: closed({
    /** Null: no name server. */
    host: nullable(Type.String()),
    /** UDP and TCP. */
    port: Type.Integer({ minimum: 0, maximum: 65535 }),
    /** As the parent zone delegates. */
    nameServers: Type.Array(closed({ name: Type.String(), addresses: Type.Array(Type.String()) })),
    contact: Type.String(),
    ttlSeconds: Type.Integer({ minimum: 1 }),
    negativeTtlSeconds: Type.Integer({ minimum: 1 }),
    /** Name servers that are asked about customers' domains, `address` or `address:port`; none: the system's. */
    resolvers: Type.Array(Type.String()),
    /** Between two looks at the proof that a customer's domain is theirs. */
    domainCheckMs: Type.Integer({ minimum: 100 }),
    /** How long it may be missing until the domain leads nowhere. */
    domainGraceMs: Type.Integer({ minimum: 0 }),
    /** A server of the operator's own that serves the zone, kept by signed updates. */
    update: closed({
      /** Null: none. */
      server: nullable(Type.String()),
      port: Type.Integer({ minimum: 1, maximum: 65535 }),
      /** Null: `workloads.zone` is a zone there by itself. */
      zone: nullable(Type.String()),
      keyName: nullable(Type.String()),
      /** File with the key's secret in base64 (hmac-sha256). */
      tsigKeyFile: nullable(Type.String()),
    }),
  }),
  webhooks: closed({
    /** Plain http besides https. */
    allowHttp: Type.Boolean(),
    /** Addresses and blocks that receivers may have though they are not public. */
    allowNetworks: Type.Array(Type.String()),
    /** Name servers that are asked for receivers, `address` or `address:port`; none: as the system resolves. */
    resolvers: Type.Array(Type.String()),
    /** Of one account. */
    endpointsMax: Type.Integer({ minimum: 0, maximum: 100 }),
    /** For one try: name, connection, answer. */
    timeoutMs: Type.Integer({ minimum: 100, maximum: 60_000 }),
    /** Pause before the second try; later ones grow. */
    retryFirstMs: Type.Integer({ minimum: 1 }),
  }),
  payments: closed({
    secretKeyFile: nullable(Type.String()),
    webhookSecretFile: nullable(Type.String()),
    priceStarter: nullable(Type.String()),
    priceBusiness: nullable(Type.String()),
    successUrl: nullable(Type.String()),
    cancelUrl: nullable(Type.String()),
    apiBase: nullable(Type.String()),
  }),
  devices: closed({
    /** Between two looks at a rollout that is under way. */
    rolloutEveryMs: Type.Integer({ minimum: 50, maximum: 3_600_000 }),
    /** Days that rollouts are kept when they are over. */
    rolloutDays: Type.Integer({ minimum: 1 }),
    /** Of each server and device one sample is kept for an interval of this length. */
    telemetryEveryMs: Type.Integer({ minimum: 100, maximum: 3_600_000 }),
    telemetryHours: Type.Integer({ minimum: 1, maximum: 10_000 }),
  }),
  retention: closed({
    /** Days that journal payloads are kept; afterwards they are erased and the chain still holds. */
    journalPayloadDays: Type.Integer({ minimum: 1 }),
    /** Days that journal entries are kept; afterwards a signed checkpoint stands for them. */
    journalDays: Type.Integer({ minimum: 1 }),
    /** Days that calls of models are kept one by one, more than any cycle has; afterwards their sums by days are. */
    inferenceCallDays: Type.Integer({ minimum: 33 }),
  }),
  log: closed({ level: Type.Enum(["silent", "error", "warn", "info", "debug"]) }),
  /** Names this process among replicas; its rows are taken back at its next start. */
  replica: Type.String({ pattern: "^[a-z0-9-]{1,40}$" }),
});

export type ControlConfig = Static<typeof ControlConfig>;

/** `given` over `defaults`, then the environment over both. Throws with the key's path. */
export function resolveConfig(
  defaults: ControlConfig,
  given: unknown,
  environment: Record<string, string | undefined>,
): ControlConfig {
  const merged = overlay(structuredClone(defaults), given, "");
  for (const { path, schema } of leaves(ControlConfig, [])) {
    const name = `CASEMATE_${path.map((part) => part.replace(/([A-Z])/g, "_$1").toUpperCase()).join("_")}`;
    const text = environment[name];
    // An empty variable counts as unset: compose files and unit files often pass them through empty.
    if (text !== undefined && text !== "") assign(merged, path, fromText(schema, text));
  }
  const first = [...Value.Errors(ControlConfig, merged)][0];
  if (first !== undefined)
    throw new Error(`config ${first.instancePath.slice(1).replaceAll("/", ".")}: ${first.message}`);
  return merged as ControlConfig;
}

export function readConfigFile(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new Error(`config file ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

type Tree = Record<string, unknown>;
const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function overlay(base: Tree, given: unknown, at: string): Tree {
  if (!isTree(given)) throw new Error(`config ${at === "" ? "file" : at} must be an object`);
  for (const [key, value] of Object.entries(given)) {
    const path = at === "" ? key : `${at}.${key}`;
    if (!Object.hasOwn(base, key)) throw new Error(`config ${path}: there is no such key`);
    base[key] = isTree(base[key]) ? overlay(base[key], value, path) : value;
  }
  return base;
}

function leaves(schema: TObject, at: string[]): { path: string[]; schema: TSchema }[] {
  return Object.entries(schema.properties).flatMap(([key, property]) =>
    "properties" in property
      ? leaves(property as TObject, [...at, key])
      : [{ path: [...at, key], schema: property as TSchema }],
  );
}

function fromText(schema: TSchema, text: string): unknown {
  const kinds = JSON.stringify(schema);
  if (kinds.includes('"array"')) return text.split(",").map((part) => part.trim());
  if (kinds.includes('"null"') && text === "null") return null;
  if (kinds.includes('"boolean"') && (text === "true" || text === "false")) return text === "true";
  return kinds.includes('"integer"') ? Number(text) : text;
}

function assign(tree: Tree, path: string[], value: unknown): void {
  const last = path.at(-1)!;
  const parent = path.slice(0, -1).reduce<Tree>((at, key) => at[key] as Tree, tree);
  parent[last] = value;
}
