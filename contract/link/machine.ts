// SPDX-License-Identifier: Apache-2.0
/**
 * The waist. A machine is an isolated place on a host: control sends a `MachineSpec` down, the host
 * sends `Observation`s up, and no message does both. Nothing here knows a surface: a session, a
 * workload and an instance all arrive as a machine.
 */
import { type Static, Type } from "typebox";

/** `container`: compose's services. `system-container`: one that is a machine to those in it, with a server to log in to. */
export const Isolation = Type.Enum([
  "process",
  "gvisor",
  "container",
  "system-container",
  "vm",
  "vm-vtpm",
  "vm-snp",
  "vm-tdx",
]);

/** Words for the proof of the machine's end; the host copies them into the proof's context unread. */
export const EndProof = Type.Object(
  {
    profile: Type.Literal("casemate-cdp/1"),
    subject: Type.Object(
      {
        session_id: Type.String(),
        created_at: Type.String(),
        data_classification: Type.String(),
        jurisdiction: Type.String(),
        ttl_seconds: Type.Union([Type.Integer(), Type.Null()]),
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);

export const MachineSpec = Type.Object(
  {
    isolation: Isolation,
    /** Name of a root template, or null for the host's own /usr. */
    image: Type.Union([Type.String({ pattern: "^[a-z0-9][a-z0-9._-]{0,63}$" }), Type.Null()]),
    /** CPU time granted, in thousandths of one CPU. */
    cpuMillis: Type.Integer({ minimum: 1 }),
    /** Memory with the tmpfs contents included. */
    memoryMiB: Type.Integer({ minimum: 1 }),
    pidsMax: Type.Integer({ minimum: 1 }),
    /** `own`: a network of the machine's own, from which the host and other machines cannot be reached. */
    network: Type.Union([Type.Literal("none"), Type.Literal("own")]),
    /** Null for a kept machine: it is halted and started again, and its end has no proof. */
    endProof: Type.Union([EndProof, Type.Null()]),
    /** Kept machines only, and absent from what was written before there were any. */
    kept: Type.Optional(
      Type.Object(
        {
          diskMiB: Type.Integer({ minimum: 0 }),
          /** Of the host's disk beside that, for what need not outlive a start. Its room is kept as the disk's is: a start never waits for it. */
          scratchMiB: Type.Optional(Type.Integer({ minimum: 0 })),
          /** What it may send to the world in its life, over all its starts; absent: what it likes. A host that cannot count does not. */
          egressLimitBytes: Type.Optional(Type.Integer({ minimum: 0 })),
          /** Marks for whoever looks at the host: account, workload. */
          labels: Type.Record(Type.String(), Type.String()),
          /** Names under which the host's ingress carries requests to the payload's public port. */
          domains: Type.Array(Type.String({ pattern: "^[a-z0-9.-]{1,253}$" }), { maxItems: 100 }),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);

/** What a kept machine takes of its host's disk as long as it is there. */
export const diskMiBOf = ({ kept }: Pick<Static<typeof MachineSpec>, "kept">): number =>
  (kept?.diskMiB ?? 0) + (kept?.scratchMiB ?? 0);

/** What control wants of one machine. `generation` grows with every change of mind. */
export const Desired = Type.Object(
  {
    machineId: Type.String({ pattern: "^mach_[0-9a-f]{32}$" }),
    generation: Type.Integer({ minimum: 1 }),
    /** `halted` is for kept machines: nothing runs, the disk stays. */
    want: Type.Union([Type.Literal("up"), Type.Literal("halted"), Type.Literal("down")]),
    /** Kept machines only: grows with every wish for a new start, so that a restart is told from a repeat. */
    incarnation: Type.Optional(Type.Integer({ minimum: 1 })),
    spec: MachineSpec,
    /** Milliseconds the machine may still live, counted by the host's monotonic clock from receipt; null for ever. */
    remainingMs: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
    /**
     * Kept machines only: their disk is on another host and comes by a `disk-put` stream of this number. Nothing is started, and
     * no disk made, before a wish comes without this.
     */
    disk: Type.Optional(
      Type.Object({ carry: Type.Integer({ minimum: 1 }) }, { additionalProperties: false }),
    ),
    /** Why it must go down; read only when `want` is `down`. */
    trigger: Type.Enum(["api", "ttl", "oom", "shutdown", "recovery"]),
  },
  { additionalProperties: false },
);

/** `warning`: somebody should look. `image`: which reference became which digest. */
export const Notice = Type.Object(
  {
    id: Type.String({ pattern: "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" }),
    kind: Type.Enum(["warning", "image"]),
    message: Type.String({ minLength: 1, maxLength: 1000 }),
  },
  { additionalProperties: false },
);
export const NOTICES_MAX = 32;

/**
 * What the host saw. Reports are repeated until control acknowledges them; control drops what is
 * about an older generation, so a late report about an old incarnation changes nothing.
 */
export const Observation = Type.Object(
  {
    machineId: Type.String(),
    generation: Type.Integer({ minimum: 1 }),
    /** `starting` and `halted` are of kept machines; a start that failed is `halted` with a code. */
    state: Type.Enum(["starting", "running", "halted", "refused", "failed", "ended"]),
    /** Of a kept machine: the start that this is about. */
    incarnation: Type.Optional(Type.Integer({ minimum: 1 })),
    /** Of `starting`: nothing of it runs, so it costs nothing. */
    idle: Type.Optional(Type.Boolean()),
    /** Of `starting`: it ran, and what ran has ended without anybody's wish. */
    restarted: Type.Optional(Type.Boolean()),
    /** What happened beside the state. Said again until control has it, and told apart by its id. */
    notices: Type.Optional(Type.Array(Notice, { maxItems: NOTICES_MAX })),
    /** The host cannot go on without the payload: control opens a `payload` stream. */
    wantsPayload: Type.Optional(Type.Boolean()),
    /** Of `starting`: the machine waits for its secrets; control opens an `attest` stream. */
    wantsSecrets: Type.Optional(Type.Boolean()),
    /** Of `running`, where people log in to it: in which place, and by which keys they know it. */
    ssh: Type.Optional(
      Type.Object(
        {
          address: Type.String({ pattern: "^[0-9a-f.:]{2,45}$" }),
          port: Type.Integer({ minimum: 1, maximum: 65535 }),
          hostKeys: Type.Array(Type.String({ pattern: "^[a-z0-9-]{1,40} [A-Za-z0-9+/]{1,2000}={0,2}$" }), {
            maxItems: 4,
          }),
        },
        { additionalProperties: false },
      ),
    ),
    /** Of `starting` and `halted`: the machine waits for its disk; control opens a `disk-put` stream. */
    wantsDisk: Type.Optional(Type.Boolean()),
    /** Dotted code for `refused`, `failed` and a failed start, from contract/errors.ts. */
    code: Type.Optional(Type.String()),
    /** Public words beside the code. */
    detail: Type.Optional(Type.String({ maxLength: 1000 })),
    /** Present when the machine ends with a proof. */
    ended: Type.Optional(
      Type.Object(
        {
          trigger: Type.String(),
          outcome: Type.Union([Type.Literal("complete"), Type.Literal("incomplete")]),
          /** End of the last teardown probe, host wall clock, ISO 8601. */
          endedAt: Type.String(),
          /** The CDP as the exact bytes to store, UTF-8. */
          proof: Type.String({ maxLength: 262144 }),
          /** The per-machine salt, hex; for the owner only. */
          saltHex: Type.String({ pattern: "^[0-9a-f]{64}$" }),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);

/** Work on a live machine, carried by a stream. */
export const StreamRequest = Type.Union([
  Type.Object(
    {
      kind: Type.Literal("exec"),
      machineId: Type.String(),
      command: Type.String(),
      /** Absolute path inside the machine; default /session. */
      cwd: Type.Optional(Type.String()),
      env: Type.Optional(Type.Record(Type.String(), Type.String())),
      timeoutMs: Type.Integer({ minimum: 1 }),
      /** True when the opener will send bytes to be placed at /run/casemate/input/data before the command starts. */
      hasInput: Type.Boolean(),
      /** Bytes kept of each of stdout and stderr; null for no limit. What exceeds it is read and dropped. */
      outputLimitBytes: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
    },
    { additionalProperties: false },
  ),
  Type.Object(
    {
      kind: Type.Literal("file-put"),
      machineId: Type.String(),
      path: Type.String(),
      limitBytes: Type.Integer(),
    },
    { additionalProperties: false },
  ),
  Type.Object(
    { kind: Type.Literal("file-get"), machineId: Type.String(), path: Type.String() },
    { additionalProperties: false },
  ),
  Type.Object(
    { kind: Type.Literal("file-remove"), machineId: Type.String(), path: Type.String() },
    { additionalProperties: false },
  ),
  /** The payload of one incarnation, as JSON bytes from the opener (contract/link/payload.ts). */
  Type.Object(
    {
      kind: Type.Literal("payload"),
      machineId: Type.String(),
      incarnation: Type.Integer({ minimum: 1 }),
      sizeBytes: Type.Integer({ minimum: 0 }),
    },
    { additionalProperties: false },
  ),
  /** A conversation with the machine about its evidence (contract/link/attest.ts). */
  Type.Object(
    {
      kind: Type.Literal("attest"),
      machineId: Type.String(),
      /** Of the start that waits for its secrets; null: only evidence is asked for. */
      incarnation: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()]),
    },
    { additionalProperties: false },
  ),
  /** The disk of a machine that is halted, as bytes to the opener (contract/link/disk.ts). Trailer: DiskWhole. */
  Type.Object({ kind: Type.Literal("disk-get"), machineId: Type.String() }, { additionalProperties: false }),
  /** The same bytes from the opener, and DiskWhole behind them. `carry`: of the wish that it is for. Trailer: DiskWhole. */
  Type.Object(
    {
      kind: Type.Literal("disk-put"),
      machineId: Type.String(),
      carry: Type.Integer({ minimum: 1 }),
    },
    { additionalProperties: false },
  ),
  /** Of all machines of the host that have a limit of what they send. Trailer: EgressTold (contract/link/kept.ts). */
  Type.Object({ kind: Type.Literal("egress") }, { additionalProperties: false }),
  /** Trailer: the list of ContainerFacts. */
  Type.Object(
    { kind: Type.Literal("containers"), machineId: Type.String() },
    { additionalProperties: false },
  ),
  /** Trailer: MachineStats. */
  Type.Object({ kind: Type.Literal("stats"), machineId: Type.String() }, { additionalProperties: false }),
  /** Lines, each ended by LF. */
  Type.Object(
    {
      kind: Type.Literal("logs"),
      machineId: Type.String(),
      /** Null: the machine's own log. */
      container: Type.Union([Type.String(), Type.Null()]),
      stream: Type.Enum(["stdout", "stderr", "both"]),
      tail: Type.Boolean(),
      linesMax: Type.Integer({ minimum: 1, maximum: 100_000 }),
      since: Type.Optional(Type.String()),
      follow: Type.Boolean(),
      timestamps: Type.Boolean(),
    },
    { additionalProperties: false },
  ),
]);

/** Trailer of an exec stream. Output chunks come on channel 1 (stdout) and 2 (stderr). */
export const ExecResult = Type.Object(
  {
    exitCode: Type.Integer(),
    timedOut: Type.Boolean(),
    oomKilled: Type.Boolean(),
    outputTruncated: Type.Boolean(),
    durationMs: Type.Integer({ minimum: 0 }),
  },
  { additionalProperties: false },
);

/** What a host says of itself when it joins and whenever it changes. */
export const HostFacts = Type.Object(
  {
    hostId: Type.String(),
    version: Type.String(),
    bootId: Type.String(),
    cpus: Type.Integer(),
    memoryMiB: Type.Integer(),
    drivers: Type.Array(
      Type.Object(
        {
          isolation: Isolation,
          ready: Type.Boolean(),
          /** One line: what is missing, and what to do about it. */
          missing: Type.Union([Type.String(), Type.Null()]),
          /** v2, v1, rlimits. */
          limits: Type.String(),
          privileged: Type.Boolean(),
          /** Of virtual machines: whether a processor runs their instructions, or a program does, many times slower. */
          accelerator: Type.Optional(Type.Enum(["kvm", "tcg"])),
          /** It is not ready and is finding out whether it will be. */
          looking: Type.Optional(Type.Boolean()),
          /** Of machines with a TPM: what vouches for it, DER in base64, its root last. */
          endorsers: Type.Optional(Type.Array(Type.String({ maxLength: 8192 }), { maxItems: 8 })),
        },
        { additionalProperties: false },
      ),
    ),
    /** The signing side's public keys, so that control can answer for its own proofs. */
    issuers: Type.Array(
      Type.Object({ issuerId: Type.String(), publicKey: Type.String() }, { additionalProperties: false }),
    ),
    /** Results of the engine self-tests, by engine name. */
    engines: Type.Record(Type.String(), Type.Boolean()),
    /** Where strangers reach kept machines of this host, and the CA of its certificates; absent without ingress. */
    ingress: Type.Optional(
      Type.Object(
        { host: Type.String(), httpPort: Type.Integer(), httpsPort: Type.Integer(), caPem: Type.String() },
        { additionalProperties: false },
      ),
    ),
    /** Room for kept machines: what the host's operator allows them. */
    kept: Type.Optional(
      Type.Object(
        { cpuMillis: Type.Integer(), memoryMiB: Type.Integer(), diskMiB: Type.Integer() },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);

export type Isolation = Static<typeof Isolation>;
export type EndProof = Static<typeof EndProof>;
export type MachineSpec = Static<typeof MachineSpec>;
export type Desired = Static<typeof Desired>;
export type Notice = Static<typeof Notice>;
export type Observation = Static<typeof Observation>;
export type StreamRequest = Static<typeof StreamRequest>;
export type ExecResult = Static<typeof ExecResult>;
export type HostFacts = Static<typeof HostFacts>;
