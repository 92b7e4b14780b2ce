// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by `npm run generate`; not edited by hand.
/** Casemate workloads: every operation by its id. */
export interface Operations {
  /** Run a docker-compose file */
  "workloads.create": {
    method: "POST";
    path: "/api/v1/workloads/create";
    query: {
      dryRun?: "0" | "1";
    };
    body: {
      name: string;
      artifactsVersion: string;
      dockerCompose: string;
      envVars?: Record<string, string>;
      /** Name → base64; a service mounts one as $FILES/<name> */
      files?: Record<string, string>;
      dockerCredentials?: ({
        server: string;
        username: string;
        password: string;
      })[];
      /** A domain of your own, in lower case and ASCII form, beside the workload's own name. Shown to be yours by a TXT record at _casemate-challenge.<domain>, whose text is your account's: a refused create names it. Lead the domain here by an alias (CNAME) of metalInstanceDomain. The record is looked for again daily; missing, it is warned about, and later the domain leads nowhere. */
      domain?: string;
      publicContainerName?: string;
      publicContainerPort?: number;
      serviceToExpose?: string;
      servicePortToExpose?: number;
      /** MB */
      memory: number;
      cpus: number;
      /** GB */
      disk: number;
      gpus: number;
      /** container: processes of the host. vm: a kernel of its own. vm-vtpm: the same, its start measured; the operator is trusted. vm-snp, vm-tdx: memory that the operator cannot read. Without it: your account's rule, then the installation's. */
      isolation?: Isolations;
      /** Names of variables whose values you will seal to the machine's key with each of its starts (`casemate workloads seal`) */
      sealedEnv?: string[];
    };
    answers: {
      200: {
        valid: boolean;
        issues: Issue[];
        warnings: Issue[];
        creditRate: number | null;
        usdCostPerMin: number | null;
        /** What the machine's evidence will have to show; null for a container, which has none. The name in it is one of the dry run's own unless you brought a domain. */
        expectedMeasurement: null | Measurement;
      };
      201: Workload;
    };
    errors: "identity.unauthorized" | "limits.rate" | "workload.compose" | "workload.reserved-variable" | "workload.tier" | "workload.file" | "workload.domain" | "workload.domain-exists" | "artifact.not-semver" | "artifact.not-found" | "ledger.not-enough" | "fleet.no-capacity" | "host.not-ready" | "workload.isolation";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** The account's workloads, oldest first */
  "workloads.list": {
    method: "GET";
    path: "/api/v1/workloads/list";
    query: {
      limit?: number;
      cursor?: string;
      status?: string;
    };
    answers: {
      200: Workload[];
    };
    errors: "identity.unauthorized";
  };
  /** The account's workloads, oldest first */
  "workloads.list-by-post": {
    method: "POST";
    path: "/api/v1/workloads/list";
    query: {
      limit?: number;
      cursor?: string;
      status?: string;
    };
    answers: {
      200: Workload[];
    };
    errors: "identity.unauthorized";
  };
  /** One workload */
  "workloads.get": {
    method: "GET";
    path: "/api/v1/workloads/:id";
    params: {
      id: string;
    };
    answers: {
      200: Workload;
    };
    errors: "identity.unauthorized" | "workload.not-found";
  };
  /** Start a stopped workload */
  "workloads.start": {
    method: "POST";
    path: "/api/v1/workloads/start";
    body: WorkloadId;
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "workload.not-found" | "ledger.not-enough" | "fleet.no-capacity";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Stop a workload; its disk stays */
  "workloads.stop": {
    method: "POST";
    path: "/api/v1/workloads/stop";
    body: WorkloadId;
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "workload.not-found";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Start a workload anew, with other variables when given */
  "workloads.restart": {
    method: "POST";
    path: "/api/v1/workloads/restart";
    body: {
      workloadId: string;
      envVars?: Record<string, string>;
    };
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "workload.not-found" | "workload.reserved-variable" | "workload.compose" | "ledger.not-enough" | "fleet.no-capacity";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Run something else under the same id, name and disk */
  "workloads.update": {
    method: "PUT";
    path: "/api/v1/workloads/update";
    body: {
      workloadId: string;
      dockerCompose?: string;
      envVars?: Record<string, string>;
      /** Name → base64; a service mounts one as $FILES/<name> */
      files?: Record<string, string>;
      artifactsVersion?: string;
    };
    answers: {
      200: Workload;
    };
    errors: "identity.unauthorized" | "workload.not-found" | "workload.reserved-variable" | "workload.compose" | "workload.file" | "artifact.not-semver" | "artifact.not-found" | "host.not-ready";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Remove a workload with everything it has */
  "workloads.delete": {
    method: "POST";
    path: "/api/v1/workloads/delete";
    body: WorkloadId;
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "workload.not-found";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** The machine's own log: its starts, progress and faults */
  "workloads.logs": {
    method: "POST";
    path: "/api/v1/workloads/logs";
    query: {
      follow?: "0" | "1";
    };
    body: {
      workloadId: string;
      source?: string;
      tail?: boolean;
      maxLines?: number;
      /** Only lines after this time, ISO 8601; UTC when it names no zone */
      since?: string;
      timestamps?: boolean;
    };
    answers: {
      200: {
        lines: string[];
      };
    };
    errors: "identity.unauthorized" | "workload.not-found" | "machine.not-running" | "host.away";
  };
  /** Memory, cpus and disks */
  "workloads.stats": {
    method: "POST";
    path: "/api/v1/workloads/stats";
    body: WorkloadId;
    answers: {
      200: {
        memory: {
          total: number;
          used: number;
        };
        cpus: ({
          name: string;
          usage: number;
          frequency: number;
        })[];
        disks: ({
          name: string;
          mountPoint: string;
          filesystem: string;
          size: number;
          used: number;
        })[];
      };
    };
    errors: "identity.unauthorized" | "workload.not-found" | "machine.not-running" | "host.away";
  };
  /** Containers of a workload */
  "workloads.containers.list": {
    method: "POST";
    path: "/api/v1/workload-containers/list";
    body: WorkloadId;
    answers: {
      200: ({
        names: string[];
        image: string;
        imageId: string;
        state: string;
      })[];
    };
    errors: "identity.unauthorized" | "workload.not-found" | "machine.not-running" | "host.away";
  };
  /** What a container wrote */
  "workloads.containers.logs": {
    method: "POST";
    path: "/api/v1/workload-containers/logs";
    query: {
      follow?: "0" | "1";
    };
    body: {
      workloadId: string;
      container: string;
      stream?: "stdout" | "stderr" | "both";
      tail?: boolean;
      maxLines?: number;
      /** Only lines after this time, ISO 8601; UTC when it names no zone */
      since?: string;
      timestamps?: boolean;
    };
    answers: {
      200: {
        lines: string[];
      };
    };
    errors: "identity.unauthorized" | "workload.not-found" | "machine.not-running" | "host.away" | "machine.no-container";
  };
  /** What happened to a workload, in order */
  "workloads.events.list": {
    method: "POST";
    path: "/api/v1/workload-events/list";
    body: WorkloadId;
    answers: {
      200: {
        events: ({
          eventId: string;
          details: {
            kind: string;
            error?: string;
            message?: string;
            /** Of imageResolved: the name as it was read */
            image?: string;
            /** Of imageResolved: what it meant then */
            digest?: string;
            /** Of imageResolved: the key that asked */
            by?: string;
          };
          /** ISO 8601, UTC */
          timestamp: string;
        })[];
      };
    };
    errors: "identity.unauthorized" | "workload.not-found";
  };
  /** A host says what happened to one of its workloads */
  "workloads.events.submit": {
    method: "POST";
    path: "/api/v1/workload-events/submit";
    body: {
      workloadId: string;
      event: {
        eventId?: string;
        details: {
          kind: EventKind;
          error?: string;
          message?: string;
        };
      };
    };
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "workload.not-found" | "request.invalid";
  };
  /** What a workload's machine was started as, newest first */
  "workloads.launches.list": {
    method: "POST";
    path: "/api/v1/workloads/launches/list";
    body: WorkloadId;
    answers: {
      200: ({
        /** Of the guest image's metadata */
        imageSha256: string;
        /** Of the launch manifest, as it is on the measured command line */
        launchSha256: string;
        /** null: secrets were refused to it */
        approvedAt: string | null;
        /** The key that did */
        approvedBy: string | null;
        /** ISO 8601, UTC */
        seenAt: string;
      })[];
    };
    errors: "identity.unauthorized" | "workload.not-found";
  };
  /** Let a launch have the workload's secrets and disk */
  "workloads.launches.approve": {
    method: "POST";
    path: "/api/v1/workloads/launches/approve";
    body: {
      workloadId: string;
      imageSha256: string;
      launchSha256: string;
    };
    answers: {
      200: {
        /** Of the guest image's metadata */
        imageSha256: string;
        /** Of the launch manifest, as it is on the measured command line */
        launchSha256: string;
        /** null: secrets were refused to it */
        approvedAt: string | null;
        /** The key that did */
        approvedBy: string | null;
        /** ISO 8601, UTC */
        seenAt: string;
      };
    };
    errors: "identity.unauthorized" | "workload.not-found" | "machine.not-attested";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Give a waiting machine variables that only it can read */
  "workloads.sealed-env.give": {
    method: "POST";
    path: "/api/v1/workloads/sealed-env";
    body: {
      workloadId: string;
      /** Base64 of the key that the box is sealed to */
      sealingKey: string;
      /** Base64 */
      box: string;
    };
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "workload.not-found" | "machine.not-attested";
  };
  /** Sizes a workload can have, cheapest first */
  "workloads.tiers.list": {
    method: "GET";
    path: "/api/v1/workload-tiers/list";
    answers: {
      200: Tier[];
    };
    errors: "identity.unauthorized";
  };
  /** Offer a size */
  "workloads.tiers.create": {
    method: "POST";
    path: "/api/v1/workload-tiers/create";
    body: {
      name: string;
      cpus: number;
      gpus: number;
      memoryMb: number;
      diskGb: number;
      /** Credits a minute */
      cost: number;
    };
    answers: {
      201: Tier;
    };
    errors: "identity.unauthorized" | "tier.exists";
  };
  /** Change a size; workloads that exist keep theirs and its price */
  "workloads.tiers.update": {
    method: "PUT";
    path: "/api/v1/workload-tiers/update";
    body: {
      tierId: string;
      name: string;
      cpus: number;
      gpus: number;
      memoryMb: number;
      diskGb: number;
      /** Credits a minute */
      cost: number;
    };
    answers: {
      200: Tier;
    };
    errors: "identity.unauthorized" | "tier.not-found" | "tier.exists";
  };
  /** Offer a size no more */
  "workloads.tiers.delete": {
    method: "POST";
    path: "/api/v1/workload-tiers/delete";
    body: {
      tierId: string;
    };
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "tier.not-found";
  };
  /** Versions of what workloads run on, newest first */
  "workloads.artifacts.list": {
    method: "GET";
    path: "/api/v1/artifacts/list";
    answers: {
      200: ({
        version: string;
        /** ISO 8601, UTC */
        builtAt: string;
        image: {
          name: string;
          /** Of its metadata, hex: what approvals of machines name */
          sha256: string;
          /** Of its files together */
          sizeBytes: number;
        } | null;
      })[];
    };
    errors: "identity.unauthorized";
  };
  /** Offer a version that a host has; its guest image, if it is built, is read and every file held against its hash */
  "workloads.artifacts.enable": {
    method: "POST";
    path: "/api/v1/artifacts/enable";
    body: {
      version: string;
    };
    answers: {
      200: {
        version: string;
        /** ISO 8601, UTC */
        builtAt: string;
        image: {
          name: string;
          /** Of its metadata, hex: what approvals of machines name */
          sha256: string;
          /** Of its files together */
          sizeBytes: number;
        } | null;
      };
    };
    errors: "identity.unauthorized" | "artifact.not-semver" | "artifact.not-found" | "artifact.image-altered";
  };
  /** Offer a version no more; workloads that exist keep it */
  "workloads.artifacts.disable": {
    method: "POST";
    path: "/api/v1/artifacts/disable";
    body: {
      version: string;
    };
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "artifact.not-semver" | "artifact.not-found";
  };
  /** Open an account; its key is shown once */
  "workloads.accounts.create": {
    method: "POST";
    path: "/api/v1/accounts/create";
    body: {
      name: string;
      credits?: number;
      balance?: number;
      walletAddress?: string;
    };
    answers: {
      201: {
        accountId: string;
        name: string;
        /** ISO 8601, UTC */
        createdAt: string;
        credits: number;
        balance: number;
        creditRate: number;
        burnRatePerMin: number;
        walletAddress?: string;
        /** The least that the account's workloads run in; null: the installation's standard */
        isolation: Isolations | null;
        /** change: creating and updating a workload approves the launch that it makes. explicit: each other launch than the first is approved by itself */
        launchApproval: "change" | "explicit";
        apiToken: string;
      };
    };
    errors: "identity.unauthorized";
  };
  /** List accounts */
  "workloads.accounts.list": {
    method: "GET";
    path: "/api/v1/accounts/list";
    answers: {
      200: ({
        accountId: string;
        name: string;
        /** ISO 8601, UTC */
        createdAt: string;
        credits: number;
        balance: number;
        creditRate: number;
        burnRatePerMin: number;
        walletAddress?: string;
        /** The least that the account's workloads run in; null: the installation's standard */
        isolation: Isolations | null;
        /** change: creating and updating a workload approves the launch that it makes. explicit: each other launch than the first is approved by itself */
        launchApproval: "change" | "explicit";
      })[];
    };
    errors: "identity.unauthorized";
  };
  /** The caller's account, its usage and limits */
  "workloads.accounts.me": {
    method: "GET";
    path: "/api/v1/accounts/me";
    answers: {
      200: {
        accountId: string;
        name: string;
        /** ISO 8601, UTC */
        createdAt: string;
        credits: number;
        balance: number;
        creditRate: number;
        burnRatePerMin: number;
        walletAddress?: string;
        /** The least that the account's workloads run in; null: the installation's standard */
        isolation: Isolations | null;
        /** change: creating and updating a workload approves the launch that it makes. explicit: each other launch than the first is approved by itself */
        launchApproval: "change" | "explicit";
        usage: {
          workloads: number;
          cpus: number;
          memoryMb: number;
          diskGb: number;
          gpus: number;
        };
        limits: {
          workloads: number;
          cpus: number;
          memoryMb: number;
          diskGb: number;
          gpus: number;
          requestsPerMinute: number | null;
        };
      };
    };
    errors: "identity.unauthorized";
  };
  /** One account: any for the operator, its own for a key */
  "workloads.accounts.get": {
    method: "GET";
    path: "/api/v1/accounts/:id";
    params: {
      id: string;
    };
    answers: {
      200: {
        accountId: string;
        name: string;
        /** ISO 8601, UTC */
        createdAt: string;
        credits: number;
        balance: number;
        creditRate: number;
        burnRatePerMin: number;
        walletAddress?: string;
        /** The least that the account's workloads run in; null: the installation's standard */
        isolation: Isolations | null;
        /** change: creating and updating a workload approves the launch that it makes. explicit: each other launch than the first is approved by itself */
        launchApproval: "change" | "explicit";
      };
    };
    errors: "identity.unauthorized" | "account.not-found";
  };
  /** Rename an account, and say what its workloads are to run in */
  "workloads.accounts.update": {
    method: "PUT";
    path: "/api/v1/accounts/update";
    body: {
      accountId: string;
      name: string;
      /** The least that the account's workloads run in; null: the installation's standard */
      isolation?: Isolations | null;
      /** change: creating and updating a workload approves the launch that it makes. explicit: each other launch than the first is approved by itself */
      launchApproval?: "change" | "explicit";
      walletAddress?: string;
    };
    answers: {
      200: {
        accountId: string;
        name: string;
        /** ISO 8601, UTC */
        createdAt: string;
        credits: number;
        balance: number;
        creditRate: number;
        burnRatePerMin: number;
        walletAddress?: string;
        /** The least that the account's workloads run in; null: the installation's standard */
        isolation: Isolations | null;
        /** change: creating and updating a workload approves the launch that it makes. explicit: each other launch than the first is approved by itself */
        launchApproval: "change" | "explicit";
      };
    };
    errors: "identity.unauthorized" | "account.not-found";
  };
  /** Add credits to an account */
  "workloads.accounts.add-credits": {
    method: "POST";
    path: "/api/v1/accounts/add-credits";
    body: {
      accountId: string;
      credits: number;
    };
    answers: {
      200: {
        accountId: string;
        name: string;
        /** ISO 8601, UTC */
        createdAt: string;
        credits: number;
        balance: number;
        creditRate: number;
        burnRatePerMin: number;
        walletAddress?: string;
        /** The least that the account's workloads run in; null: the installation's standard */
        isolation: Isolations | null;
        /** change: creating and updating a workload approves the launch that it makes. explicit: each other launch than the first is approved by itself */
        launchApproval: "change" | "explicit";
      };
    };
    errors: "identity.unauthorized" | "account.not-found";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Add US dollars to an account */
  "workloads.accounts.add-balance": {
    method: "POST";
    path: "/api/v1/accounts/add-balance";
    body: {
      accountId: string;
      balance: number;
    };
    answers: {
      200: {
        accountId: string;
        name: string;
        /** ISO 8601, UTC */
        createdAt: string;
        credits: number;
        balance: number;
        creditRate: number;
        burnRatePerMin: number;
        walletAddress?: string;
        /** The least that the account's workloads run in; null: the installation's standard */
        isolation: Isolations | null;
        /** change: creating and updating a workload approves the launch that it makes. explicit: each other launch than the first is approved by itself */
        launchApproval: "change" | "explicit";
      };
    };
    errors: "identity.unauthorized" | "account.not-found";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Make a key of an account; it is shown once */
  "workloads.api-keys.create": {
    method: "POST";
    path: "/api/v1/api-keys/create";
    body: {
      accountId?: string;
      name: string;
      scopes?: ("workloads:*" | "workloads:read" | "workloads:write" | "workloads:approve")[];
      expiresAt?: string;
    };
    answers: {
      201: {
        apiKeyId: string;
        accountId: string;
        name: string;
        /** What may be shown of the key */
        prefix: string;
        scopes: string[];
        /** ISO 8601, UTC */
        createdAt: string;
        expiresAt: string | null;
        apiKey: string;
      };
    };
    errors: "identity.unauthorized" | "keys.not-found";
  };
  /** Keys of an account */
  "workloads.api-keys.list": {
    method: "GET";
    path: "/api/v1/api-keys/account/:id";
    params: {
      id: string;
    };
    answers: {
      200: ({
        apiKeyId: string;
        accountId: string;
        name: string;
        /** What may be shown of the key */
        prefix: string;
        scopes: string[];
        /** ISO 8601, UTC */
        createdAt: string;
        expiresAt: string | null;
      })[];
    };
    errors: "identity.unauthorized" | "keys.not-found";
  };
  /** Rename a key or change when it ends */
  "workloads.api-keys.update": {
    method: "PUT";
    path: "/api/v1/api-keys/update";
    body: {
      apiKeyId: string;
      name?: string;
      expiresAt?: string | null;
    };
    answers: {
      200: {
        apiKeyId: string;
        accountId: string;
        name: string;
        /** What may be shown of the key */
        prefix: string;
        scopes: string[];
        /** ISO 8601, UTC */
        createdAt: string;
        expiresAt: string | null;
      };
    };
    errors: "identity.unauthorized" | "keys.not-found";
  };
  /** Revoke a key at once */
  "workloads.api-keys.delete": {
    method: "POST";
    path: "/api/v1/api-keys/delete";
    body: {
      apiKeyId: string;
    };
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "keys.not-found";
  };
  /** What was credited to the account, newest first */
  "workloads.payments.list": {
    method: "GET";
    path: "/api/v1/payments/list";
    answers: {
      200: ({
        paymentId: string;
        credits: number;
        balance: number;
        reference: string | null;
        /** ISO 8601, UTC */
        createdAt: string;
      })[];
    };
    errors: "identity.unauthorized";
  };
  /** A host says where and how large it is */
  "workloads.metal-instances.register": {
    method: "POST";
    path: "/api/v1/metal-instances/register";
    body: {
      metalInstanceId: string;
      agentVersion: string;
      /** Address, or a name of its own. Only the operator's key may change it */
      publicIp: string;
      token: string;
      hostname: string;
      /** `reserved` is kept from workloads */
      memoryMb: {
        reserved: number;
        total: number;
      };
      /** `reserved` is kept from workloads */
      cpus: {
        reserved: number;
        total: number;
      };
      /** `reserved` is kept from workloads */
      diskSpaceGb: {
        reserved: number;
        total: number;
      };
      gpus: number;
      gpuModel?: string;
    };
    answers: {
      200: {
        metalInstanceId: string;
        hostname: string;
        agentVersion: string;
        publicIp: string;
        domain: string;
        memoryMb: {
          reserved: number;
          total: number;
        };
        cpus: {
          reserved: number;
          total: number;
        };
        diskSpaceGb: {
          reserved: number;
          total: number;
        };
        gpus: number;
        availableArtifactVersions: string[];
        isolations: string[];
        /** ISO 8601, UTC */
        lastSeenAt: string;
        /** ISO 8601, UTC */
        createdAt: string;
      };
    };
    errors: "identity.unauthorized" | "host.not-found" | "host.token-taken" | "request.invalid";
  };
  /** A host is there, and has these artifacts */
  "workloads.metal-instances.heartbeat": {
    method: "POST";
    path: "/api/v1/metal-instances/heartbeat";
    body: {
      metalInstanceId: string;
      availableArtifactVersions: string[];
    };
    answers: {
      200: {
        metalInstanceId: string;
        expectedArtifactVersions: string[];
      };
    };
    errors: "identity.unauthorized" | "host.not-found";
  };
  /** Hosts */
  "workloads.metal-instances.list": {
    method: "GET";
    path: "/api/v1/metal-instances/list";
    answers: {
      200: ({
        metalInstanceId: string;
        hostname: string;
        agentVersion: string;
        publicIp: string;
        domain: string;
        memoryMb: {
          reserved: number;
          total: number;
        };
        cpus: {
          reserved: number;
          total: number;
        };
        diskSpaceGb: {
          reserved: number;
          total: number;
        };
        gpus: number;
        availableArtifactVersions: string[];
        isolations: string[];
        /** ISO 8601, UTC */
        lastSeenAt: string;
        /** ISO 8601, UTC */
        createdAt: string;
      })[];
    };
    errors: "identity.unauthorized";
  };
  /** One host */
  "workloads.metal-instances.get": {
    method: "GET";
    path: "/api/v1/metal-instances/:id";
    params: {
      id: string;
    };
    answers: {
      200: {
        metalInstanceId: string;
        hostname: string;
        agentVersion: string;
        publicIp: string;
        domain: string;
        memoryMb: {
          reserved: number;
          total: number;
        };
        cpus: {
          reserved: number;
          total: number;
        };
        diskSpaceGb: {
          reserved: number;
          total: number;
        };
        gpus: number;
        availableArtifactVersions: string[];
        isolations: string[];
        /** ISO 8601, UTC */
        lastSeenAt: string;
        /** ISO 8601, UTC */
        createdAt: string;
      };
    };
    errors: "identity.unauthorized" | "host.not-found";
  };
  /** Put a host out that has no workloads */
  "workloads.metal-instances.delete": {
    method: "POST";
    path: "/api/v1/metal-instances/delete";
    body: {
      metalInstanceId: string;
    };
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "host.not-found" | "host.has-workloads";
  };
  /** Certificates of the authorities that sign for workloads here, to be given to a client */
  "workloads.ca": {
    method: "GET";
    path: "/ca.pem";
    answers: {
      200: Uint8Array;
    };
    errors: never;
  };
  /** Roots that vouch for the TPMs of machines here: the hosts' own, for `casemate attest verify --roots` */
  "workloads.tpm-roots": {
    method: "GET";
    path: "/tpm-roots.pem";
    answers: {
      200: Uint8Array;
    };
    errors: never;
  };
  /** What is known of a guest image, by its hash: every package and file it was made from */
  "workloads.guest-image": {
    method: "GET";
    path: "/guest-images/:sha256";
    params: {
      sha256: string;
    };
    answers: {
      200: unknown;
    };
    errors: "guest-image.not-found";
  };
  /** Where the guest image is in the transparency log */
  "workloads.guest-image.transparency": {
    method: "GET";
    path: "/guest-images/:sha256/transparency";
    params: {
      sha256: string;
    };
    query: {
      /** Show it in the tree of this many entries, of which you hold the checkpoint. */
      size?: number;
      /** Also show that the tree of this many entries is the beginning of that one. */
      from?: number;
    };
    answers: {
      200: {
        /** The log's name. */
        origin: string;
        /** Of the entry, from 0. */
        index: number;
        /** Entries of the tree it is shown in. */
        size: number;
        /** Hashes in base64, from the leaf up. */
        proof: string[];
        /** The signed note over that tree (C2SP tlog-checkpoint). */
        checkpoint: string;
        consistency?: {
          from: number;
          proof: string[];
        };
      };
      202: {
        status: "pending";
      };
    };
    errors: "guest-image.not-found" | "log.no-such-tree" | "limits.rate";
  };
  /** Whether workloads can be run here */
  "workloads.health": {
    method: "GET";
    path: "/health";
    answers: {
      200: {
        status: "ok";
        hosts: number;
        /** Classes of machines that can be started now */
        isolations: string[];
        /** What is missing, one line each */
        missing: string[];
      };
    };
    errors: never;
  };
}

/** What an answer of status 400 and above holds. */
export type Failure = ErrorBody;

export interface ErrorBody {
  /** ISO 8601, UTC */
  ts: string;
  error: string;
  kind: string;
  issues?: Issue[];
  requestId: string;
}

export type EventKind = "starting" | "vmRestarted" | "awaitingCert" | "running" | "stopped" | "failedToStart" | "warning";

export type Isolations = "container" | "vm" | "vm-vtpm" | "vm-snp" | "vm-tdx";

export interface Issue {
  path: string;
  message: string;
  line?: number;
}

export interface Measurement {
  isolation: string;
  imageSha256: string;
  launchSha256: string;
  /** The launch manifest; its SHA-256 is launchSha256 */
  manifest: string;
  commandLine: string;
  /** A policy file for `casemate attest verify` */
  policy: Record<string, unknown>;
}

export interface Tier {
  tierId: string;
  name: string;
  cpus: number;
  gpus: number;
  memoryMb: number;
  diskGb: number;
  cost: number;
  usdCostPerMin: number;
}

export interface Workload {
  workloadId: string;
  accountId: string;
  name: string;
  artifactsVersion: string;
  dockerCompose: string;
  /** Values are redacted */
  envVars?: Record<string, string>;
  /** Bodies are redacted */
  files?: Record<string, string>;
  dockerCredentials?: ({
    server: string;
    username: string;
    password: string;
  })[];
  publicContainerName: string;
  publicContainerPort: number;
  serviceToExpose: string;
  servicePortToExpose: number;
  /** MB */
  memory: number;
  cpus: number;
  /** GB */
  disk: number;
  gpus: number;
  status: WorkloadStatus;
  /** Of your own, if you brought one */
  domain: string;
  /** What a domain of your own is to be an alias (CNAME) of */
  metalInstanceDomain: string;
  /** What keeps others out; `container` keeps out no operator */
  isolation: string;
  /** Of the guest image's metadata; absent for a container */
  imageSha256?: string;
  /** Names; the values were never here */
  sealedEnv?: string[];
  /** clear: values of variables came here in clear, and whoever runs this installation could have read them. sealed: those named in sealedEnv come sealed to the machine's key */
  secrets: "clear" | "sealed";
  creditRate: number;
  usdCostPerMin: number;
  /** Where the public container answers */
  url: string;
  /** ISO 8601, UTC */
  createdAt: string;
  /** ISO 8601, UTC */
  updatedAt: string;
  warnings?: ({
    path: string;
    line: number;
    message: string;
  })[];
}

export interface WorkloadId {
  workloadId: string;
}

export type WorkloadStatus = "scheduled" | "starting" | "awaitingCert" | "running" | "stopped" | "error";
