// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by `npm run generate`; not edited by hand.
/** Casemate sessions: every operation by its id. */
export interface Operations {
  /** Create a customer account */
  "sessions.signup": {
    method: "POST";
    path: "/v1/signup";
    body: {
      /** A valid email address */
      email: string;
      jurisdiction?: Jurisdiction;
    };
    answers: {
      201: {
        customer_id: string;
        api_key: string;
        tier: Tier;
        message: string;
      };
    };
    errors: "request.invalid" | "identity.email-taken" | "limits.rate";
  };
  /** Create an ephemeral session */
  "sessions.create": {
    method: "POST";
    path: "/v1/sessions";
    body?: {
      data_classification?: Classification;
      /** Seconds to live; default and limit are the tier's maximum. */
      ttl_seconds?: number;
    };
    answers: {
      201: Session;
    };
    errors: "identity.unauthorized" | "ledger.quota-exceeded" | "ledger.concurrent" | "limits.rate" | "session.ttl-too-long" | "fleet.no-capacity" | "machine.too-slow" | "machine.start-failed" | "host.above-ceiling";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** List sessions, newest first */
  "sessions.list": {
    method: "GET";
    path: "/v1/sessions";
    query: {
      limit?: number;
      cursor?: string;
      status?: SessionStatus;
    };
    answers: {
      200: {
        sessions: Session[];
        next_cursor: string | null;
      };
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate";
  };
  /** Get a session */
  "sessions.get": {
    method: "GET";
    path: "/v1/sessions/:id";
    params: SessionParams;
    query: {
      /** Answer when it has this status, or one of several with commas between, or `ended`; or at the timeout. */
      wait?: string;
      /** Seconds to wait; default 30. */
      timeout?: number;
    };
    answers: {
      200: Session;
    };
    errors: "identity.unauthorized" | "session.not-found" | "limits.rate";
  };
  /** Extend a session's time to live */
  "sessions.extend": {
    method: "PATCH";
    path: "/v1/sessions/:id";
    params: SessionParams;
    body: {
      /** The new total, counted from creation; it can only grow. */
      ttl_seconds: number;
    };
    answers: {
      200: Session;
    };
    errors: "identity.unauthorized" | "session.not-found" | "session.ended" | "session.ttl-too-long" | "limits.rate";
  };
  /** Follow a session's events (SSE) */
  "sessions.events": {
    method: "GET";
    path: "/v1/sessions/:id/events";
    params: SessionParams;
    answers: {
      200: string;
    };
    errors: "identity.unauthorized" | "session.not-found" | "session.gone-events" | "limits.rate";
  };
  /** Run a command inside the session */
  "sessions.exec": {
    method: "POST";
    path: "/v1/sessions/:id/exec";
    params: SessionParams;
    query: {
      /** 1: answer with server-sent events stdout, stderr (base64) and exit */
      stream?: "0" | "1";
    };
    body: {
      /** Run by /bin/sh -c in /session */
      command: string;
      /** Written to $INPUT_DATA before the command starts; at most 16 MiB */
      input_data?: string;
      /** Seconds before SIGTERM; default and limit are the session's remaining time */
      timeout?: number;
      env?: Record<string, string>;
      cwd?: string;
    };
    answers: {
      200: {
        output: string;
        stderr: string;
        exit_code: number;
        timed_out: boolean;
        oom_killed?: boolean;
        output_truncated?: boolean;
      };
    };
    errors: "identity.unauthorized" | "session.not-found" | "session.ended" | "session.executing" | "request.invalid" | "request.too-large" | "limits.rate" | "host.away" | "link.lost" | "machine.entry-refused";
  };
  /** Write a file below /session */
  "sessions.files.put": {
    method: "PUT";
    path: "/v1/sessions/:id/files/*";
    params: {
      id: string;
      "*": string;
    };
    body: Uint8Array;
    answers: {
      200: {
        path: string;
        size_bytes: number;
      };
    };
    errors: "identity.unauthorized" | "session.not-found" | "session.ended" | "session.file-path" | "limits.rate" | "machine.file-refused" | "machine.file-too-large";
  };
  /** Read a file below /session */
  "sessions.files.get": {
    method: "GET";
    path: "/v1/sessions/:id/files/*";
    params: {
      id: string;
      "*": string;
    };
    answers: {
      200: Uint8Array;
    };
    errors: "identity.unauthorized" | "session.not-found" | "session.ended" | "session.file-path" | "limits.rate" | "machine.file-not-found";
  };
  /** Remove a file below /session */
  "sessions.files.delete": {
    method: "DELETE";
    path: "/v1/sessions/:id/files/*";
    params: {
      id: string;
      "*": string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.unauthorized" | "session.not-found" | "session.ended" | "session.file-path" | "limits.rate" | "machine.file-not-found";
  };
  /** Destroy the session and get its destruction proof */
  "sessions.destroy": {
    method: "DELETE";
    path: "/v1/sessions/:id";
    params: SessionParams;
    answers: {
      200: {
        /** sess_ and 32 hex digits */
        session_id: string;
        status: SessionStatus;
        /** A casemate-cdp/1 document */
        cdp: {
          cdp_version: string;
        };
        regulatory_context: RegulatoryContext;
        session_context: {
          jurisdiction: Jurisdiction;
          data_classification: Classification;
        };
        salt: string;
      };
    };
    errors: "identity.unauthorized" | "session.not-found" | "machine.too-slow" | "limits.rate";
  };
  /** The stored proof of an ended session */
  "sessions.proof": {
    method: "GET";
    path: "/v1/proofs/:session_id";
    params: {
      session_id: string;
    };
    query: {
      /** The form of the document; the stored one by default. */
      format?: "casemate-cdp/1" | "auditproof-2.2" | "in-toto";
    };
    answers: {
      200: {
        cdp_version: string;
      };
    };
    errors: "identity.unauthorized" | "session.not-found" | "session.proof-pending" | "limits.rate";
  };
  /** The proof as a certificate, as a page */
  "sessions.proof.html": {
    method: "GET";
    path: "/v1/proofs/:session_id.html";
    params: {
      session_id: string;
    };
    answers: {
      200: string;
    };
    errors: "identity.unauthorized" | "session.not-found" | "session.proof-pending" | "limits.rate";
  };
  /** The proof as a certificate, as a PDF */
  "sessions.proof.pdf": {
    method: "GET";
    path: "/v1/proofs/:session_id.pdf";
    params: {
      session_id: string;
    };
    answers: {
      200: Uint8Array;
    };
    errors: "identity.unauthorized" | "session.not-found" | "session.proof-pending" | "limits.rate";
  };
  /** Where the proof is in the transparency log */
  "sessions.proof.transparency": {
    method: "GET";
    path: "/v1/proofs/:session_id/transparency";
    params: {
      session_id: string;
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
    errors: "identity.unauthorized" | "session.not-found" | "session.proof-pending" | "log.no-such-tree" | "limits.rate";
  };
  /** Account details, usage and limits */
  "sessions.me": {
    method: "GET";
    path: "/v1/customers/me";
    answers: {
      200: {
        customer_id: string;
        email: string;
        tier: Tier;
        jurisdiction: Jurisdiction;
        cdps_this_cycle: number;
        cdp_limit: number | null;
        /** Sessions live now */
        sessions_used: number;
        sessions_limit: number | null;
        rate_limit_rpm: number | null;
        /** UTC, whole seconds */
        billing_cycle_start: string;
        api_key_prefix: string;
      };
    };
    errors: "identity.unauthorized" | "limits.rate";
  };
  /** Verify a destruction proof */
  "sessions.verify": {
    method: "POST";
    path: "/v1/verify";
    body: Uint8Array;
    answers: {
      200: {
        valid: boolean;
        checks: {
          chain_integrity: boolean;
          final_hash: boolean;
          signature: boolean;
          step_count: number;
        };
        level: number;
        outcome: string | null;
        profile: string | null;
        warnings: string[];
        failures: string[];
      };
    };
    errors: "request.malformed" | "request.too-large" | "limits.rate";
  };
  /** A proof's public key and its certificate */
  "sessions.key": {
    method: "GET";
    path: "/v1/keys/:id";
    params: {
      id: string;
    };
    answers: {
      200: {
        key_id: string;
        algorithm: "Ed25519";
        public_key: string;
        /** UTC, whole seconds */
        created_at: string;
        certificate: {
          v: number;
        };
      };
    };
    errors: "keys.not-found" | "limits.rate";
  };
  /** The log's newest checkpoint */
  "sessions.log.checkpoint": {
    method: "GET";
    path: "/log/checkpoint";
    answers: {
      200: string;
    };
    errors: "log.empty" | "limits.rate";
  };
  /** A tile of the log, or a bundle of its entries */
  "sessions.log.tile": {
    method: "GET";
    path: "/log/tile/*";
    params: {
      "*": string;
    };
    answers: {
      200: Uint8Array;
    };
    errors: "log.no-such-tile" | "limits.rate";
  };
  /** The log's name and every key that signed for it */
  "sessions.log.keys": {
    method: "GET";
    path: "/log/keys";
    answers: {
      200: {
        origin: string;
        keys: ({
          /** As C2SP signed-note writes keys of verifiers. */
          key: string;
          retired: boolean;
        })[];
      };
    };
    errors: "limits.rate";
  };
  /** Health, by real probes */
  "sessions.health": {
    method: "GET";
    path: "/v1/health";
    answers: {
      200: {
        status: "healthy" | "degraded";
        engines: {
          /** A sandbox can be created and destroyed */
          eee: boolean;
          /** The signer signs and verifies */
          dire: boolean;
          /** The event chain holds */
          rzl: boolean;
          /** The prober can read the process and mount tables */
          fgx: boolean;
          /** A known-good proof verifies and a known-bad one does not */
          ave: boolean;
        };
        database: boolean;
        uptime_seconds: number;
        /** UTC, whole seconds */
        timestamp: string;
        isolation?: ({
          class: string;
          ready: boolean;
          /** cgroup v2, v1, or rlimits */
          limits: string;
          missing: string | null;
        })[];
      };
    };
    errors: never;
  };
  /** Upgrade to a paid tier through Stripe Checkout */
  "sessions.checkout": {
    method: "POST";
    path: "/v1/billing/checkout";
    body: {
      tier: "starter" | "business";
    };
    answers: {
      200: {
        checkout_url: string;
      };
    };
    errors: "identity.unauthorized" | "billing.unavailable" | "billing.upstream" | "limits.rate";
  };
  /** Stripe's own calls */
  "sessions.billing-webhook": {
    method: "POST";
    path: "/v1/billing/webhook";
    body: Uint8Array;
    answers: {
      200: {
        received: true;
      };
    };
    errors: "billing.unavailable" | "billing.signature";
  };
}

/** What an answer of status 400 and above holds. */
export type Failure = ErrorBody;

export type Classification = "general" | "PHI" | "PII" | "financial" | "credentials";

export interface ErrorBody {
  error: string;
  message: string;
  status: number;
}

export type Jurisdiction = "US" | "EU" | "UK" | "CA" | "AU" | "IN" | "OTHER";

export interface RegulatoryContext {
  notice: string;
  framework_version: string;
  jurisdiction: string;
  mappings: ({
    step: number;
    subsystem: string;
    frameworks: ({
      regulation: string;
      provision: string;
      description: string;
      relationship: "related_to";
    })[];
  })[];
}

export interface Session {
  /** sess_ and 32 hex digits */
  session_id: string;
  status: SessionStatus;
  ttl_seconds: number | null;
  /** UTC, whole seconds */
  created_at: string;
  data_classification: Classification;
  /** UTC, whole seconds */
  expires_at?: string;
  /** UTC, whole seconds */
  ended_at?: string;
  end_reason?: "api" | "ttl" | "oom" | "shutdown" | "recovery";
}

export interface SessionParams {
  id: string;
}

export type SessionStatus = "active" | "executing" | "destroyed" | "expired" | "expired_unclean";

export type Tier = "free" | "starter" | "business" | "enterprise";
