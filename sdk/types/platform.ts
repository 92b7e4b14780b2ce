// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by `npm run generate`; not edited by hand.
/** Casemate platform: every operation by its id. */
export interface Operations {
  /** Hosts, oldest first */
  "platform.hosts.list": {
    method: "GET";
    path: "/platform/v1/hosts";
    answers: {
      200: {
        hosts: ({
          id: string;
          object: "host";
          name: string;
          state: "connected" | "away" | "draining" | "put_out";
          version: string;
          isolations: string[];
          /** What it has of us now, sessions included, and disks that another host is still to fetch */
          machines: number;
          /** UTC, ISO 8601 */
          last_seen_at: string;
          /** UTC, ISO 8601 */
          created_at: string;
        })[];
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden";
  };
  /** A word that lets one host in, once */
  "platform.hosts.invite": {
    method: "POST";
    path: "/platform/v1/hosts/invitations";
    body?: {
      /** What you will know the host by */
      name?: string;
      /** Seconds */
      lifetime_s?: number;
    };
    answers: {
      201: {
        id: string;
        token: string;
        /** UTC, ISO 8601 */
        expires_at: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden";
  };
  /** Come in with an invitation */
  "platform.hosts.join": {
    method: "POST";
    path: "/platform/v1/hosts/join";
    body: {
      token: string;
      host_id: string;
      /** Of an nkey of a user */
      public_key: string;
      /** Made with the seed of `public_key`, base64url, over the lines `casemate host join 1`, the SHA-256 of `token` in hex, `host_id` and `public_key`, each ended by LF */
      signature: string;
    };
    answers: {
      200: {
        host_id: string;
        /** The host's own key for this API, shown this once */
        key: string;
        broker: {
          servers: string[];
          tls: "on" | "off";
          ca_pem: string | null;
        };
      };
    };
    errors: "host.invitation" | "host.no-broker" | "request.invalid" | "limits.rate";
  };
  /** Give a host nothing new */
  "platform.hosts.drain": {
    method: "POST";
    path: "/platform/v1/hosts/:id/drain";
    params: {
      id: string;
    };
    body?: {
      move?: boolean;
    };
    answers: {
      200: {
        id: string;
        object: "host";
        name: string;
        state: "connected" | "away" | "draining" | "put_out";
        version: string;
        isolations: string[];
        /** What it has of us now, sessions included, and disks that another host is still to fetch */
        machines: number;
        /** UTC, ISO 8601 */
        last_seen_at: string;
        /** UTC, ISO 8601 */
        created_at: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "host.not-found";
  };
  /** Give a host machines again */
  "platform.hosts.resume": {
    method: "POST";
    path: "/platform/v1/hosts/:id/resume";
    params: {
      id: string;
    };
    answers: {
      200: {
        id: string;
        object: "host";
        name: string;
        state: "connected" | "away" | "draining" | "put_out";
        version: string;
        isolations: string[];
        /** What it has of us now, sessions included, and disks that another host is still to fetch */
        machines: number;
        /** UTC, ISO 8601 */
        last_seen_at: string;
        /** UTC, ISO 8601 */
        created_at: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "host.not-found";
  };
  /** Put a host out, for good */
  "platform.hosts.revoke": {
    method: "POST";
    path: "/platform/v1/hosts/:id/revoke";
    params: {
      id: string;
    };
    answers: {
      200: {
        id: string;
        object: "host";
        name: string;
        state: "connected" | "away" | "draining" | "put_out";
        version: string;
        isolations: string[];
        /** What it has of us now, sessions included, and disks that another host is still to fetch */
        machines: number;
        /** UTC, ISO 8601 */
        last_seen_at: string;
        /** UTC, ISO 8601 */
        created_at: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "host.not-found";
  };
  /** The keys this installation certifies proofs with */
  "platform.issuers.list": {
    method: "GET";
    path: "/platform/v1/issuers";
    answers: {
      200: ({
        issuerId: string;
        /** `base64:` and the SPKI in DER */
        publicKey: string;
      })[];
    };
    errors: "limits.rate";
  };
  /** The same and what was revoked, signed by one key for good */
  "platform.issuers.manifest": {
    method: "GET";
    path: "/platform/v1/issuers/manifest";
    answers: {
      200: {
        format: "casemate-issuers/1";
        /** `base64:` and the SPKI in DER of the key that signs */
        identity_public_key: string;
        /** `sha256:` and the SHA-256 of that SPKI */
        fingerprint: string;
        issued_at: string;
        issuers: ({
          issuer_id: string;
          /** `base64:` and the SPKI in DER */
          public_key: string;
          revoked: boolean;
        })[];
        revoked_keys: string[];
        /** `base64:` and Ed25519 over ASCII `casemate/issuers/1`, a line feed, and the RFC 8785 form of all other members */
        signature: string;
      };
    };
    errors: "limits.rate";
  };
  /** Which key signs exports of proofs, as the AuditProof format has it */
  "platform.issuers.trust-chain": {
    method: "GET";
    path: "/platform/v1/issuers/trust-chain";
    answers: {
      200: {
        schema_version: "1";
        issued_at: string;
        /** `sha256:` and SHA-256 of the 32 bytes of the identity key */
        identity_fingerprint: string;
        identity_public_key_b64: string;
        authorities: Record<string, Record<string, unknown>>;
        manifest_signature: string;
      };
    };
    errors: "limits.rate";
  };
  /** Say that what an issuer certified, or one proof's key, is not to be believed */
  "platform.issuers.revoke": {
    method: "POST";
    path: "/platform/v1/issuers/revoke";
    body?: {
      issuer_id?: string;
      key_id?: string;
    };
    answers: {
      200: {
        revoked: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "keys.not-found" | "request.malformed";
  };
  /** Rotate the key-encryption key, and the key that signs access tokens */
  "platform.keys.rotate": {
    method: "POST";
    path: "/platform/v1/keys/rotate";
    answers: {
      200: {
        key_id: string;
        rewrapped: number;
        signing_key_id: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden";
  };
  /** Sign the transparency log with a new key */
  "platform.log.rotate": {
    method: "POST";
    path: "/platform/v1/log/rotate-key";
    answers: {
      200: {
        /** The key that signs from now on, as in `/log/keys`. */
        key: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden";
  };
  /** Abandon the transparency log and begin another with the same entries */
  "platform.log.restart": {
    method: "POST";
    path: "/platform/v1/log/restart";
    body: {
      /** The log's name, as in `/log/keys`. */
      abandon: string;
    };
    answers: {
      200: {
        /** The key that signs from now on, as in `/log/keys`. */
        key: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "log.another-name" | "request.malformed";
  };
  /** An organization, and a client that acts for it */
  "platform.tenants.create": {
    method: "POST";
    path: "/platform/v1/tenants";
    body: {
      name: string;
      /** Part of its instances' names; made of `name` without it */
      slug?: string;
    };
    answers: {
      201: {
        /** Its name */
        tenant: string;
        /** For X-Act-As-ID, with X-Act-As-Kind `organization` */
        organization_id: string;
        account_id: string;
        oauth_client: {
          client_id: string;
          client_secret: string;
        };
        token_url: string;
        api_keys: {
          workloads: string;
          instances: string;
        };
        slug: string;
        /** The same as api_keys.instances */
        api_key: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "request.invalid" | "tenant.slug-taken";
  };
  /** A channel partner, and an invitation for its first administrator */
  "platform.channel-partners.create": {
    method: "POST";
    path: "/platform/v1/channel-partners";
    body: {
      name: string;
      administrator_email: string;
    };
    answers: {
      201: {
        channel_partner_id: string;
        invitation: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "request.invalid";
  };
  /** Register a program that people sign in to */
  "platform.clients.create": {
    method: "POST";
    path: "/platform/v1/oauth-clients";
    body: {
      name: string;
      redirect_uris: string[];
      confidential?: boolean;
      require_pkce?: boolean;
      native?: boolean;
    };
    answers: {
      201: {
        client_id: string;
        client_secret: string | null;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "request.invalid";
  };
  /** Put a client out, for good */
  "platform.clients.revoke": {
    method: "DELETE";
    path: "/platform/v1/oauth-clients/:client_id";
    params: {
      client_id: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "client.not-found";
  };
  /** Make a user */
  "platform.users.create": {
    method: "POST";
    path: "/platform/v1/users";
    body: {
      email: string;
      name: string;
      password: string;
    };
    answers: {
      201: {
        user_id: string;
      };
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "request.invalid" | "identity.email-taken";
  };
  /** Delete a user */
  "platform.users.delete": {
    method: "DELETE";
    path: "/platform/v1/users/:user_id";
    params: {
      user_id: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.unauthorized" | "identity.forbidden" | "account.not-found";
  };
  /** What happened to the account, newest first */
  "platform.events.list": {
    method: "GET";
    path: "/platform/v1/events";
    query: {
      limit?: number;
      cursor?: string;
      type?: EventPattern;
    };
    answers: {
      200: {
        events: Event[];
        next_cursor: string | null;
      };
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate";
  };
  /** Follow the account's events (SSE) */
  "platform.events.stream": {
    method: "GET";
    path: "/platform/v1/events/stream";
    query: {
      type?: EventPattern;
    };
    answers: {
      200: string;
    };
    errors: "identity.unauthorized" | "request.invalid" | "event.pruned" | "limits.rate";
  };
  /** One event */
  "platform.events.get": {
    method: "GET";
    path: "/platform/v1/events/:id";
    params: {
      id: string;
    };
    answers: {
      200: Event;
    };
    errors: "identity.unauthorized" | "event.not-found" | "limits.rate";
  };
  /** Challenge a machine, or have evidence judged that you bring */
  "platform.attestations.create": {
    method: "POST";
    path: "/platform/v1/attestations";
    body?: {
      workload_id?: string;
      nonce?: string;
      /** seal: before you seal something to its key */
      purpose?: "report" | "seal";
      evidence?: string;
      beside?: string[];
      policy?: Record<string, unknown>;
      bound?: string;
      key_name?: string;
    };
    answers: {
      201: Attestation;
    };
    errors: "identity.unauthorized" | "request.invalid" | "workload.not-found" | "machine.not-running" | "machine.not-attested" | "host.away" | "attestation.limit" | "limits.rate";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Verdicts, newest first */
  "platform.attestations.list": {
    method: "GET";
    path: "/platform/v1/attestations";
    query: {
      limit?: number;
      cursor?: string;
      workload_id?: string;
      accepted?: "true" | "false";
    };
    answers: {
      200: {
        attestations: Attestation[];
        next_cursor: string | null;
      };
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate";
  };
  /** One verdict with the evidence, to be judged by somebody else */
  "platform.attestations.get": {
    method: "GET";
    path: "/platform/v1/attestations/:id";
    params: {
      id: string;
    };
    answers: {
      200: Attestation;
    };
    errors: "identity.unauthorized" | "attestation.not-found" | "limits.rate";
  };
  /** Delete a verdict on evidence that you brought */
  "platform.attestations.delete": {
    method: "DELETE";
    path: "/platform/v1/attestations/:id";
    params: {
      id: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.unauthorized" | "attestation.not-found" | "attestation.kept" | "limits.rate";
  };
  /** Let no evidence rest on this any more */
  "platform.revocations.create": {
    method: "POST";
    path: "/platform/v1/revocations";
    body: {
      value: string;
      reason: string;
    };
    answers: {
      201: {
        value: string;
        reason: string;
        /** UTC, ISO 8601 */
        revoked_at: string;
        verdicts_lost: number;
      };
    };
    errors: "identity.unauthorized" | "request.invalid";
  };
  /** What was revoked, newest first */
  "platform.revocations.list": {
    method: "GET";
    path: "/platform/v1/revocations";
    answers: {
      200: Revocation[];
    };
    errors: "identity.unauthorized";
  };
  /** Guest images that workloads are started from, or that their owners approved */
  "platform.guest-images.list": {
    method: "GET";
    path: "/platform/v1/guest-images";
    answers: {
      200: {
        images: ({
          sha256: string;
          workloads: number;
        })[];
      };
    };
    errors: "identity.unauthorized";
  };
  /** AMD: certificates above a key, the revocation list, or (by the chip's identity) a key's certificate */
  "platform.collateral.kds-shared": {
    method: "GET";
    path: "/platform/v1/collateral/:kind/v1/:line/:what";
    params: {
      kind: string;
      line: string;
      /** cert_chain, crl, or the chip's identity in hex */
      what: string;
    };
    query: {
      fmcSPL?: number;
      blSPL?: number;
      teeSPL?: number;
      snpSPL?: number;
      ucodeSPL?: number;
    };
    answers: {
      200: Uint8Array;
    };
    errors: "identity.unauthorized" | "request.invalid" | "collateral.not-found" | "limits.rate";
  };
  /** Intel: levels of a kind of platform */
  "platform.collateral.pcs-tcb": {
    method: "GET";
    path: "/platform/v1/collateral/tdx/certification/v4/tcb";
    query: {
      fmspc: string;
    };
    answers: {
      200: Uint8Array;
    };
    errors: "identity.unauthorized" | "request.invalid" | "collateral.not-found" | "limits.rate";
  };
  /** Intel: the quoting enclave */
  "platform.collateral.pcs-identity": {
    method: "GET";
    path: "/platform/v1/collateral/tdx/certification/v4/qe/identity";
    answers: {
      200: Uint8Array;
    };
    errors: "identity.unauthorized" | "request.invalid" | "collateral.not-found" | "limits.rate";
  };
  /** Intel: revocation list of an authority of platforms */
  "platform.collateral.pcs-crl": {
    method: "GET";
    path: "/platform/v1/collateral/sgx/certification/v4/pckcrl";
    query: {
      ca: "platform" | "processor";
      encoding?: "der";
    };
    answers: {
      200: Uint8Array;
    };
    errors: "identity.unauthorized" | "request.invalid" | "collateral.not-found" | "limits.rate";
  };
  /** Intel: revocation list of the root */
  "platform.collateral.pcs-root-crl": {
    method: "GET";
    path: "/platform/v1/collateral/sgx/certification/v4/rootcacrl";
    answers: {
      200: Uint8Array;
    };
    errors: "identity.unauthorized" | "request.invalid" | "collateral.not-found" | "limits.rate";
  };
  /** Have events sent to an address */
  "platform.webhooks.create": {
    method: "POST";
    path: "/platform/v1/webhooks";
    body: {
      /** https, to a public address */
      url: string;
      events?: EventPattern[];
      description?: string;
    };
    answers: {
      201: {
        /** whk_ and 32 hex digits */
        id: string;
        object: "webhook";
        url: string;
        events: EventPattern[];
        description: string;
        disabled: boolean;
        disabled_reason: "asked" | "gone" | "failing" | "backlog" | null;
        failing_since: string | null;
        /** UTC, ISO 8601 */
        created_at: string;
        /** UTC, ISO 8601 */
        updated_at: string;
        /** `whsec_` and base64. Shown here and never again. */
        secret: string;
      };
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate" | "webhook.limit";
  };
  /** The account's webhooks, oldest first */
  "platform.webhooks.list": {
    method: "GET";
    path: "/platform/v1/webhooks";
    answers: {
      200: {
        webhooks: ({
          /** whk_ and 32 hex digits */
          id: string;
          object: "webhook";
          url: string;
          events: EventPattern[];
          description: string;
          disabled: boolean;
          disabled_reason: "asked" | "gone" | "failing" | "backlog" | null;
          failing_since: string | null;
          /** UTC, ISO 8601 */
          created_at: string;
          /** UTC, ISO 8601 */
          updated_at: string;
        })[];
      };
    };
    errors: "identity.unauthorized" | "limits.rate";
  };
  /** One webhook */
  "platform.webhooks.get": {
    method: "GET";
    path: "/platform/v1/webhooks/:id";
    params: {
      id: string;
    };
    answers: {
      200: {
        /** whk_ and 32 hex digits */
        id: string;
        object: "webhook";
        url: string;
        events: EventPattern[];
        description: string;
        disabled: boolean;
        disabled_reason: "asked" | "gone" | "failing" | "backlog" | null;
        failing_since: string | null;
        /** UTC, ISO 8601 */
        created_at: string;
        /** UTC, ISO 8601 */
        updated_at: string;
      };
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate" | "webhook.not-found";
  };
  /** Change a webhook */
  "platform.webhooks.update": {
    method: "PATCH";
    path: "/platform/v1/webhooks/:id";
    params: {
      id: string;
    };
    body?: {
      /** https, to a public address */
      url?: string;
      events?: EventPattern[];
      description?: string;
      disabled?: boolean;
    };
    answers: {
      200: {
        /** whk_ and 32 hex digits */
        id: string;
        object: "webhook";
        url: string;
        events: EventPattern[];
        description: string;
        disabled: boolean;
        disabled_reason: "asked" | "gone" | "failing" | "backlog" | null;
        failing_since: string | null;
        /** UTC, ISO 8601 */
        created_at: string;
        /** UTC, ISO 8601 */
        updated_at: string;
      };
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate" | "webhook.not-found";
  };
  /** Delete a webhook with its deliveries */
  "platform.webhooks.delete": {
    method: "DELETE";
    path: "/platform/v1/webhooks/:id";
    params: {
      id: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate" | "webhook.not-found";
  };
  /** Make a new secret; the old one signs beside it for 24 hours */
  "platform.webhooks.rotate-secret": {
    method: "POST";
    path: "/platform/v1/webhooks/:id/rotate-secret";
    params: {
      id: string;
    };
    answers: {
      200: {
        id: string;
        /** `whsec_` and base64. Shown here and never again. */
        secret: string;
        /** UTC, ISO 8601 */
        previous_valid_until: string;
      };
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate" | "webhook.not-found" | "webhook.changed";
  };
  /** Send a `webhook.test` there, whatever events it is for */
  "platform.webhooks.test": {
    method: "POST";
    path: "/platform/v1/webhooks/:id/test";
    params: {
      id: string;
    };
    answers: {
      202: {
        event_id: string;
        delivery_id: string;
      };
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate" | "webhook.not-found" | "webhook.disabled";
  };
  /** What was sent there and how it went, newest first */
  "platform.webhooks.deliveries": {
    method: "GET";
    path: "/platform/v1/webhooks/:id/deliveries";
    params: {
      id: string;
    };
    query: {
      limit?: number;
      cursor?: string;
      state?: "pending" | "delivered" | "failed";
    };
    answers: {
      200: {
        deliveries: ({
          /** whd_ and 32 hex digits */
          id: string;
          event_id: string;
          event_type: "session.created" | "session.extended" | "session.exec_ended" | "session.destroyed" | "session.expired" | "session.expired_unclean" | "session.failed" | "workload.created" | "workload.starting" | "workload.restarting" | "workload.running" | "workload.stopping" | "workload.stopped" | "workload.failed" | "workload.deleted" | "instance.created" | "instance.ready" | "instance.stopping" | "instance.stopped" | "instance.starting" | "instance.restarting" | "instance.running" | "instance.key_replaced" | "instance.key_applied" | "instance.failed" | "instance.egress_blocked" | "instance.terminating" | "instance.terminated" | "attestation.accepted" | "attestation.refused" | "attestation.revoked" | "account.balance_low" | "account.balance_exhausted" | "account.tier_changed" | "webhook.disabled" | "webhook.test";
          state: "pending" | "delivered" | "failed";
          replay_of: string | null;
          /** UTC, ISO 8601 */
          created_at: string;
          next_attempt_at: string | null;
          attempts: ({
            number: number;
            /** UTC, ISO 8601 */
            at: string;
            duration_ms: number;
            status: number | null;
            obstacle: string | null;
          })[];
        })[];
        next_cursor: string | null;
      };
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate" | "webhook.not-found";
  };
  /** Send it again, under the same `webhook-id` */
  "platform.webhooks.replay": {
    method: "POST";
    path: "/platform/v1/webhooks/:id/deliveries/:delivery_id/replay";
    params: {
      id: string;
      delivery_id: string;
    };
    answers: {
      202: {
        delivery_id: string;
      };
    };
    errors: "identity.unauthorized" | "request.invalid" | "limits.rate" | "webhook.not-found" | "delivery.not-found" | "event.not-found" | "webhook.disabled";
  };
}

/** What an answer of status 400 and above holds. */
export type Failure = {
  error: string;
  message: string;
  status: number;
};

export interface Attestation {
  /** att_ and 32 hex digits */
  id: string;
  object: "attestation";
  workload_id: string | null;
  instance_id: string | null;
  /** report: asked for by you. seal: asked for by us before the machine was given its secrets. login: before an instance was ready, of the keys that its SSH server shows. brought: by you */
  purpose: "report" | "seal" | "login" | "brought";
  platform: "sev-snp" | "tdx" | "tpm" | null;
  accepted: boolean;
  /** Every step passed, and no policy says what was expected */
  uncheckable: boolean;
  /** Accepted evidence of a processor; never of a TPM */
  hardware: boolean;
  steps: ({
    name: string;
    ok: boolean;
    detail: string;
  })[];
  unasked: ({
    name: string;
    detail: string;
  })[];
  policy: Record<string, unknown> | null;
  nonce: string | null;
  bound: string | null;
  key_name: string | null;
  /** Base64 of the bytes that were judged; not in lists */
  evidence?: string;
  beside?: string[];
  /** Base64, of the machine that was asked: its X25519 key and the SubjectPublicKeyInfo of its TLS key. Evidence for `seal` binds both, for `report` the second */
  keys?: {
    sealing: string;
    tls: string;
  };
  /** Base64 of the launch manifest of the machine that was asked */
  manifest?: string;
  /** UTC, ISO 8601 */
  created_at: string;
  /** UTC, ISO 8601 */
  judged_at: string;
}

export interface Event {
  /** evt_ and 32 hex digits; the `webhook-id` of its deliveries */
  id: string;
  object: "event";
  type: "session.created" | "session.extended" | "session.exec_ended" | "session.destroyed" | "session.expired" | "session.expired_unclean" | "session.failed" | "workload.created" | "workload.starting" | "workload.restarting" | "workload.running" | "workload.stopping" | "workload.stopped" | "workload.failed" | "workload.deleted" | "instance.created" | "instance.ready" | "instance.stopping" | "instance.stopped" | "instance.starting" | "instance.restarting" | "instance.running" | "instance.key_replaced" | "instance.key_applied" | "instance.failed" | "instance.egress_blocked" | "instance.terminating" | "instance.terminated" | "attestation.accepted" | "attestation.refused" | "attestation.revoked" | "account.balance_low" | "account.balance_exhausted" | "account.tier_changed" | "webhook.disabled" | "webhook.test";
  /** UTC, ISO 8601 */
  created_at: string;
  data: Record<string, unknown>;
}

export type EventPattern = "*" | "session.*" | "workload.*" | "instance.*" | "attestation.*" | "account.*" | "webhook.*" | "session.created" | "session.extended" | "session.exec_ended" | "session.destroyed" | "session.expired" | "session.expired_unclean" | "session.failed" | "workload.created" | "workload.starting" | "workload.restarting" | "workload.running" | "workload.stopping" | "workload.stopped" | "workload.failed" | "workload.deleted" | "instance.created" | "instance.ready" | "instance.stopping" | "instance.stopped" | "instance.starting" | "instance.restarting" | "instance.running" | "instance.key_replaced" | "instance.key_applied" | "instance.failed" | "instance.egress_blocked" | "instance.terminating" | "instance.terminated" | "attestation.accepted" | "attestation.refused" | "attestation.revoked" | "account.balance_low" | "account.balance_exhausted" | "account.tier_changed" | "webhook.disabled" | "webhook.test";

export interface Revocation {
  value: string;
  reason: string;
  /** UTC, ISO 8601 */
  revoked_at: string;
}
