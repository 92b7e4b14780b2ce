// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by `npm run generate`; not edited by hand.
/** Casemate instances: every operation by its id. */
export interface Operations {
  /** Create an instance */
  "instances.create": {
    method: "POST";
    path: "/v1/instances";
    body: {
      /** One OpenSSH public key: ssh-ed25519 or ecdsa-sha2-nistp256, -384, -521 */
      public_key: string;
      /** openclaw, none */
      agent?: string;
      inference_mode?: string;
      inference_model?: string;
      /** With inference_mode custom, where the installation takes it */
      custom_inference_endpoint?: string;
      /** With inference_mode custom; never shown again */
      custom_inference_api_key?: string;
      /** With inference_mode custom */
      custom_inference_model_name?: string;
    };
    answers: {
      202: {
        request_id: string;
        correlation_id: string | null;
        data: CreatedInstance;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "request.invalid" | "instance.public-key" | "idempotency.mismatch" | "idempotency.in-flight" | "fleet.no-capacity" | "instance.no-tenant";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** List instances, newest first */
  "instances.list": {
    method: "GET";
    path: "/v1/instances";
    query: {
      limit?: number;
      cursor?: string;
      status?: InstanceStatus;
      agent?: string;
    };
    answers: {
      200: {
        request_id: string;
        correlation_id: string | null;
        data: {
          instances: Instance[];
          next_cursor: string | null;
        };
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "request.invalid";
  };
  /** Retrieve an instance */
  "instances.get": {
    method: "GET";
    path: "/v1/instances/:name";
    params: InstanceParams;
    query: {
      /** Answer when it has this status, or one of several with commas between, or `ended`; or at the timeout. */
      wait?: string;
      /** Seconds to wait; default 30. */
      timeout?: number;
    };
    answers: {
      200: {
        request_id: string;
        correlation_id: string | null;
        data: Instance;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found" | "request.invalid";
  };
  /** Delete an instance */
  "instances.delete": {
    method: "DELETE";
    path: "/v1/instances/:name";
    params: InstanceParams;
    answers: {
      202: {
        request_id: string;
        correlation_id: string | null;
        data: Instance;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found";
  };
  /** Stop an instance */
  "instances.stop": {
    method: "POST";
    path: "/v1/instances/:name/stop";
    params: InstanceParams;
    answers: {
      202: {
        request_id: string;
        correlation_id: string | null;
        data: Instance;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found" | "instance.not-ready";
  };
  /** Start an instance that is stopped */
  "instances.start": {
    method: "POST";
    path: "/v1/instances/:name/start";
    params: InstanceParams;
    answers: {
      202: {
        request_id: string;
        correlation_id: string | null;
        data: Instance;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found" | "instance.not-ready" | "fleet.no-capacity";
  };
  /** Restart an instance */
  "instances.restart": {
    method: "POST";
    path: "/v1/instances/:name/restart";
    params: InstanceParams;
    answers: {
      202: {
        request_id: string;
        correlation_id: string | null;
        data: Instance;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found" | "instance.not-ready" | "fleet.no-capacity";
  };
  /** Replace the key that may log in */
  "instances.replaceKey": {
    method: "PUT";
    path: "/v1/instances/:name/public_key";
    params: InstanceParams;
    body: {
      /** One OpenSSH public key, as for a create */
      public_key: string;
    };
    answers: {
      202: {
        request_id: string;
        correlation_id: string | null;
        data: Instance;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found" | "instance.not-ready" | "request.invalid" | "instance.public-key";
  };
  /** Get usage of the current cycle */
  "usage.get": {
    method: "GET";
    path: "/v1/usage";
    answers: {
      200: {
        request_id: string;
        correlation_id: string | null;
        data: Usage;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.no-tenant";
  };
  /** Get usage of the current cycle by days */
  "usage.daily": {
    method: "GET";
    path: "/v1/usage/daily";
    answers: {
      200: {
        request_id: string;
        correlation_id: string | null;
        data: DailyUsage;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.no-tenant";
  };
  /** Get usage of one instance */
  "instances.usage": {
    method: "GET";
    path: "/v1/instances/:name/usage";
    params: InstanceParams;
    answers: {
      200: {
        request_id: string;
        correlation_id: string | null;
        data: InstanceUsage;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found" | "instance.no-tenant";
  };
  /** Follow what happens to an instance (SSE) */
  "instances.events": {
    method: "GET";
    path: "/v1/instances/:name/events";
    params: InstanceParams;
    answers: {
      200: string;
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found" | "session.gone-events" | "request.invalid";
  };
  /** The machine's own log: its starts, progress and faults */
  "instances.logs": {
    method: "GET";
    path: "/v1/instances/:name/logs";
    params: InstanceParams;
    query: {
      /** Newest lines; 100 unless given */
      tail?: number;
      follow?: "0" | "1";
    };
    answers: {
      200: {
        request_id: string;
        correlation_id: string | null;
        data: {
          lines: string[];
        };
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found" | "machine.not-running" | "host.away" | "link.lost";
  };
  /** Memory, cpus and disks, now */
  "instances.metrics": {
    method: "GET";
    path: "/v1/instances/:name/metrics";
    params: InstanceParams;
    answers: {
      200: {
        request_id: string;
        correlation_id: string | null;
        data: {
          memory: {
            total_bytes: number;
            used_bytes: number;
          };
          cpus: ({
            name: string;
            usage_percent: number;
          })[];
          disks: ({
            name: string;
            mount_point: string;
            filesystem: string;
            size_bytes: number;
            used_bytes: number;
          })[];
        };
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found" | "machine.not-running" | "host.away" | "link.lost";
  };
  /** The verdicts on its machine, newest first */
  "instances.attestation": {
    method: "GET";
    path: "/v1/instances/:name/attestation";
    params: InstanceParams;
    answers: {
      200: {
        request_id: string;
        correlation_id: string | null;
        data: {
          isolation: string;
          /** What is to be known where there is no evidence: the host is trusted */
          note: string | null;
          /** Of the newest verdict: evidence of a processor */
          hardware: boolean;
          /** Of the image's metadata: /guest-images/<sha256> */
          image_sha256: string;
          /** On the measured command line; the same for every instance of the agent */
          launch_sha256: string;
          verdicts: ({
            id: string;
            purpose: string;
            platform: string | null;
            accepted: boolean;
            hardware: boolean;
            steps: ({
              name: string;
              ok: boolean;
              detail: string;
            })[];
            created_at: string;
          })[];
        };
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "limits.rate" | "instance.not-found";
  };
}

/** What an answer of status 400 and above holds. */
export type Failure = ErrorBody;

export interface CreatedInstance {
  name: string;
  status: InstanceStatus;
  agent: string;
  hostname: string;
  public_key: string;
  inference_mode: string;
  inference_model?: string;
  egress_limit_bytes: number;
  /** ISO 8601, UTC, to the second */
  created_at: string;
}

export interface DailyUsage {
  /** ISO 8601, UTC, to the second */
  period_start: string;
  /** ISO 8601, UTC, to the second */
  period_end: string;
  days: ({
    date: string;
    /** From ready until its end was wished for, or came */
    instance_hours_used: number;
    /** Through the default gateway */
    inference_cost_usd: string;
    inference_input_tokens: number;
    inference_output_tokens: number;
  })[];
}

export interface ErrorBody {
  request_id: string;
  correlation_id: string | null;
  error: {
    code: "invalid_request" | "unauthenticated" | "forbidden" | "not_found" | "conflict" | "internal_error" | "method_not_allowed" | "payload_too_large" | "unsupported_media_type" | "rate_limited" | "unavailable";
    message: string;
    param?: string;
  };
}

export interface Instance {
  name: string;
  status: InstanceStatus;
  agent: string;
  hostname: string;
  /** Left out of lists where the installation is set so */
  public_key?: string;
  inference_mode: string;
  inference_model: string | null;
  egress_limit_bytes: number;
  failure_code: "no_capacity" | "image_unavailable" | "boot_timeout" | "agent_setup_failed" | "attestation_failed" | "host_lost" | "internal" | null;
  failure_message: string | null;
  terminated_reason: "deleted_via_api" | "egress_limit" | "unpaid" | "host_lost" | "expired" | null;
  /** ISO 8601, UTC, to the second */
  created_at: string;
  ready_at: string | null;
  terminated_at: string | null;
  /** What keeps it from others; not in the seed */
  isolation: string;
  ssh: SshAddress | null;
  /** Its machine has shown that it lets in `public_key` and no other. Not in the seed */
  public_key_applied: boolean;
  power: "running" | "stopping" | "stopped" | "starting" | null;
  /** Of its last start, when it was through. Not in the seed */
  timings: Timings | null;
  /** Sent to the world in its life; not in the seed */
  egress_bytes: number;
  /** Null: its host does not count what it sends, or has not yet */
  egress_observed_at: string | null;
  /** It has reached its limit: of the world only SSH is left, slowly, and the gateway of models */
  egress_blocked: boolean;
  egress_block_applied_at: string | null;
  /** With inference_mode custom */
  custom_inference_endpoint?: string;
  custom_inference_model_name?: string;
}

export interface InstanceParams {
  /** As `4k9p2xq7` */
  name: string;
}

export type InstanceStatus = "provisioning" | "ready" | "failed" | "terminating" | "terminated";

export interface InstanceUsage {
  name: string;
  /** ISO 8601, UTC, to the second */
  period_start: string;
  /** ISO 8601, UTC, to the second */
  period_end: string;
  usage: {
    /** From ready until its end was wished for, or came */
    instance_hours_used: number;
    /** Through the default gateway */
    inference_cost_usd: string;
    inference_input_tokens: number;
    inference_output_tokens: number;
    /** As last observed, of what is there now; each instance's is of its life */
    egress_bytes: number;
    /** Of one instance */
    egress_limit_bytes: number;
    egress_observed_at: string | null;
    egress_blocked: boolean;
    egress_block_applied_at: string | null;
  };
  lifetime: {
    /** From ready until its end was wished for, or came */
    instance_hours_used: number;
    /** Through the default gateway */
    inference_cost_usd: string;
    inference_input_tokens: number;
    inference_output_tokens: number;
  };
}

export interface SshAddress {
  address: string;
  port: number;
  user: string;
  /** Lines for ssh's known_hosts: the keys that the machine made inside */
  known_hosts: string[];
}

export interface Timings {
  /** Milliseconds from the wish until its host began */
  queued_ms: number | null;
  /** Milliseconds until its machine was up and waited for its claim */
  booted_ms: number | null;
  /** Milliseconds until its evidence was accepted */
  attested_ms: number | null;
  /** Milliseconds until it was told, sealed, whose it is */
  claimed_ms: number | null;
  /** Milliseconds until SSH answered and evidence of its keys was accepted */
  ready_ms: number | null;
  /** Milliseconds of all of them */
  total_ms: number | null;
}

export interface Usage {
  pricing: {
    /** ISO 8601, UTC, to the second */
    period_start: string;
    /** ISO 8601, UTC, to the second */
    period_end: string;
    /** For the cycle */
    subscription_cost_usd: string;
    instance_hours_included: number;
    /** Of each hour beyond these */
    overage_per_hour_usd: string;
  };
  usage: {
    /** Of all instances */
    instance_hours_used: number;
    /** Through the default gateway */
    inference_cost_usd: string;
    /** As last observed, of what is there now; each instance's is of its life */
    egress_bytes: number;
    /** Of one instance */
    egress_limit_bytes: number;
    egress_observed_at: string | null;
    egress_blocked: boolean;
    egress_block_applied_at: string | null;
    /** Beyond those in the subscription; not in the seed */
    overage_hours: number;
    /** Not in the seed */
    overage_cost_usd: string;
    /** Subscription, overage and inference so far; not in the seed */
    total_cost_usd: string;
  };
}
