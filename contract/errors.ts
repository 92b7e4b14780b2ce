// SPDX-License-Identifier: Apache-2.0
/**
 * The table of error codes: stable, dotted by noun, the one place where a code meets a status.
 * Core knows codes only; each surface dresses them in its own public form.
 */

type Retry = "never" | "later" | "same-key";
/** Who must act for it to go away. */
type Owner = "caller" | "account" | "host" | "platform" | "dependency";

export interface ErrorKind {
  status: number;
  retry: Retry;
  owner: Owner;
  /** Public sentence; `{name}` is replaced by the fault's detail of that name. */
  sentence: string;
}

const kind = (status: number, retry: Retry, owner: Owner, sentence: string): ErrorKind => ({
  status,
  retry,
  owner,
  sentence,
});

export const ERRORS = {
  "request.malformed": kind(400, "never", "caller", "{detail}"),
  "request.invalid": kind(400, "never", "caller", "{detail}"),
  "request.too-large": kind(413, "never", "caller", "The body is larger than {limit} bytes."),
  "request.media-type": kind(415, "never", "caller", "This operation takes {expected}."),
  "request.unknown-route": kind(404, "never", "caller", "There is no {method} {path}."),
  "request.method": kind(405, "never", "caller", "{method} is not allowed here; use {allowed}."),
  "request.precondition": kind(
    412,
    "never",
    "caller",
    "It was changed meanwhile: If-Match names another version.",
  ),
  "request.not-modified": kind(304, "never", "caller", "Not modified."),
  "identity.unauthorized": kind(401, "never", "caller", "Missing or invalid API key"),
  "identity.forbidden": kind(403, "never", "caller", "This key may not do that."),
  "identity.token": kind(401, "never", "caller", "Missing or invalid access token"),
  // Whether it is there at all is not said.
  "identity.not-a-member": kind(
    403,
    "never",
    "caller",
    "You may not act for this user, organization or partner.",
  ),
  "identity.scope": kind(403, "never", "caller", "Acting for this party you lack the permission {scope}."),
  "identity.guesses": kind(429, "later", "caller", "Too many tries. Come again in {seconds} seconds."),
  "identity.sign-up-closed": kind(403, "never", "caller", "Only who was invited can sign up here."),
  "identity.invitation": kind(
    403,
    "never",
    "caller",
    "This invitation is not valid: used, too old, or withdrawn.",
  ),
  "identity.wrong-password": kind(403, "never", "caller", "The password is wrong."),
  "identity.outside": kind(400, "never", "dependency", "{detail}"),
  "identity.wrong-login": kind(401, "never", "caller", "The e-mail address or the password is wrong."),
  "client.not-found": kind(404, "never", "caller", "There is no such client."),
  "member.not-found": kind(404, "never", "caller", "There is no such member or invitation."),
  "member.last-administrator": kind(
    409,
    "never",
    "caller",
    "An organization keeps at least one administrator.",
  ),
  "partner.not-found": kind(404, "never", "caller", "There is no such channel partner."),
  "token.not-found": kind(404, "never", "caller", "There is no such service token."),
  "organization.not-found": kind(404, "never", "caller", "There is no such organization."),
  "identity.email-taken": kind(409, "never", "caller", "This email address is already registered."),
  "site.not-found": kind(404, "never", "caller", "There is no such site."),
  "site.not-empty": kind(409, "never", "caller", "The site still has servers."),
  "server.not-found": kind(404, "never", "caller", "There is no such server."),
  "server.exists": kind(409, "never", "caller", "A server of this id is at a site already."),
  "server.runtime": kind(422, "never", "caller", "The server has no runtime of that name."),
  "device.not-found": kind(404, "never", "caller", "There is no such device."),
  "device.exists": kind(409, "never", "caller", "The server has a device of this serial already."),
  "device.too-many": kind(409, "never", "account", "The server has {limit} devices, and can have no more."),
  "device.none-applicable": kind(422, "never", "caller", "No devices applicable: {detail}"),
  "site.offline": kind(409, "later", "caller", "The site is offline."),
  "pipeline.refused": kind(422, "never", "caller", "{detail}"),
  "pipeline.not-found": kind(404, "never", "caller", "There is no such pipeline, or revision."),
  "group.not-found": kind(404, "never", "caller", "There is no such group."),
  "rollout.not-found": kind(404, "never", "caller", "There is no such rollout."),
  "rollout.over": kind(409, "never", "caller", "The rollout is {status}, and cannot {action}."),
  "rollout.overlaps": kind(409, "later", "caller", "{count} of the devices are in another rollout."),
  "rollout.too-large": kind(422, "never", "caller", "A rollout has at most {limit} devices."),
  "rollout.too-many": kind(
    409,
    "later",
    "account",
    "There are {limit} rollouts under way, and can be no more.",
  ),
  // Of a word that is wrong, used up, too old or for another site: which one is not said.
  "registration.refused": kind(403, "never", "caller", "This registration token lets nobody in here."),
  "registration.not-found": kind(404, "never", "caller", "There is no such registration."),
  "limits.rate": kind(429, "later", "account", "Too many requests. Retry after {seconds} seconds."),
  "ledger.concurrent": kind(
    429,
    "later",
    "account",
    "Your tier allows {cap} concurrent sessions and all are in use. Destroy one and retry.",
  ),
  "ledger.quota-exceeded": kind(
    402,
    "never",
    "account",
    "Free tier limit of {limit} CDPs/month exceeded. Upgrade to continue.",
  ),
  "idempotency.mismatch": kind(409, "never", "caller", "This Idempotency-Key was used with another request."),
  "idempotency.in-flight": kind(
    409,
    "same-key",
    "caller",
    "The first request with this Idempotency-Key still runs.",
  ),
  "session.not-found": kind(404, "never", "caller", "Session not found"),
  "session.ended": kind(409, "never", "caller", "The session is {status}."),
  "session.executing": kind(409, "later", "caller", "The session is executing another command."),
  "session.ttl-too-long": kind(400, "never", "caller", "ttl_seconds can be at most {max} on this tier."),
  "session.no-proof": kind(404, "never", "host", "The session ended without a proof: its host lost it."),
  "session.proof-pending": kind(404, "later", "caller", "The session is not yet destroyed"),
  "session.file-path": kind(400, "never", "caller", "{detail}"),
  "session.gone-events": kind(410, "never", "caller", "Events before {oldest} were pruned."),
  "event.not-found": kind(404, "never", "caller", "There is no such event, or it is older than 30 days."),
  "event.pruned": kind(410, "never", "caller", "Events after {after} were pruned; begin anew."),
  "webhook.not-found": kind(404, "never", "caller", "There is no such webhook."),
  "webhook.limit": kind(409, "never", "account", "An account has at most {most} webhooks. Delete one first."),
  "webhook.changed": kind(409, "later", "caller", "The webhook was changed or deleted meanwhile."),
  "webhook.disabled": kind(409, "never", "caller", "The webhook is disabled."),
  "delivery.not-found": kind(404, "never", "caller", "There is no such delivery."),
  "log.empty": kind(404, "later", "caller", "The log has no checkpoint yet: no proof has been made."),
  "log.another-name": kind(409, "never", "caller", "That is not the log's name: see `/log/keys`."),
  "log.no-such-tile": kind(404, "never", "caller", "The log has no such tile."),
  "log.no-such-tree": kind(
    404,
    "never",
    "caller",
    "The log signed no tree of that size, or the proof is not in it: leave `size` out and give it as `from`.",
  ),
  "keys.not-found": kind(404, "never", "caller", "Key not found"),
  "billing.unavailable": kind(503, "never", "platform", "Billing is not configured on this server."),
  "billing.signature": kind(400, "never", "caller", "The webhook signature is missing or wrong."),
  "billing.upstream": kind(503, "later", "dependency", "The payment provider did not answer. Try again."),
  "fleet.no-capacity": kind(503, "later", "host", "No host can take this machine now."),
  "host.above-ceiling": kind(503, "never", "host", "The host refuses a machine of this size: {detail}"),
  "host.no-space": kind(503, "later", "host", "The host has no room to do this now."),
  "host.not-ready": kind(503, "later", "host", "The host cannot run this machine: {detail}"),
  "guest-image.not-found": kind(404, "never", "caller", "This installation has no such guest image."),
  "collateral.not-found": kind(
    404,
    "later",
    "host",
    "This installation has no such file, and its maker's service gave none.",
  ),
  "attestation.limit": kind(
    409,
    "never",
    "account",
    "An account keeps at most {rows} verdicts on evidence that it brought, and {mebibytes} MiB of it. Delete some first.",
  ),
  "attestation.kept": kind(
    409,
    "never",
    "caller",
    "Only a verdict on evidence that you brought can be deleted.",
  ),
  "attestation.not-found": kind(404, "never", "caller", "There is no such attestation."),
  "instance.not-found": kind(404, "never", "caller", "There is no such instance."),
  "instance.not-ready": kind(
    409,
    "never",
    "caller",
    "The instance is {status}: only one that is ready can be stopped, started and changed.",
  ),
  "instance.public-key": kind(
    400,
    "never",
    "caller",
    "public_key must be an ed25519 or ecdsa OpenSSH public key",
  ),
  "instance.no-tenant": kind(
    403,
    "never",
    "account",
    "This account has no slug, so its instances would have no name: ask the operator.",
  ),
  "inference.unavailable": kind(
    503,
    "later",
    "platform",
    "No model can be asked here: there is no upstream.",
  ),
  "inference.model": kind(
    404,
    "never",
    "caller",
    "There is no such model; GET /inference/v1/models lists those there are.",
  ),
  "inference.quota": kind(429, "never", "account", "This instance has spent what it may on models."),
  "inference.upstream": kind(502, "later", "dependency", "The model's server did not answer as it should."),
  "inference.too-slow": kind(504, "later", "dependency", "The model's server did not answer in time."),
  "inference.busy": kind(429, "later", "dependency", "The model's server takes no more requests now."),
  "tenant.slug-taken": kind(409, "never", "caller", "Another tenant has the slug {slug}."),
  "workload.not-found": kind(404, "never", "caller", "There is no such workload."),
  "workload.compose": kind(400, "never", "caller", "The compose file is refused: {detail}"),
  "workload.reserved-variable": kind(400, "never", "caller", "{detail}"),
  "workload.isolation": kind(400, "never", "caller", "{detail}"),
  "workload.tier": kind(
    400,
    "never",
    "caller",
    "No tier has {cpus} cpus, {memory} MB of memory, {disk} GB of disk and {gpus} gpus.",
  ),
  "workload.file": kind(400, "never", "caller", "{detail}"),
  "workload.domain": kind(400, "never", "caller", "{detail}"),
  "workload.domain-exists": kind(400, "never", "caller", "This domain is in use."),
  "workload.limit": kind(400, "never", "account", "{detail}"),
  "artifact.not-semver": kind(400, "never", "caller", "An artifact version is semantic: 1.2.3."),
  "artifact.not-found": kind(400, "never", "caller", "There is no such artifact version."),
  "artifact.image-altered": kind(
    400,
    "never",
    "host",
    "The guest image of {version} is not what was built here: {detail}.",
  ),
  "tier.not-found": kind(404, "never", "caller", "There is no such tier."),
  "tier.exists": kind(409, "never", "caller", "There is a tier of this size."),
  "account.not-found": kind(404, "never", "caller", "There is no such account."),
  "host.invitation": kind(
    403,
    "never",
    "caller",
    "This invitation is not valid: used, too old, or the host is known under another key.",
  ),
  "host.no-broker": kind(
    409,
    "never",
    "platform",
    "No broker is configured here, so a host on another machine cannot meet control: see link.broker.",
  ),
  "host.put-out": kind(403, "never", "host", "This host was put out."),
  "host.has-workloads": kind(
    412,
    "never",
    "caller",
    "The host has {count} workloads. Delete or move them first.",
  ),
  "host.token-taken": kind(409, "never", "caller", "This token is somebody else's already."),
  "host.not-found": kind(404, "never", "caller", "There is no such host."),
  "ledger.not-enough": kind(
    412,
    "never",
    "account",
    "The balance does not cover five minutes of what would run; add credits.",
  ),
  "registry.name-invalid": kind(400, "never", "caller", "This is no name of a repository."),
  // One sentence for a missing repository, a stranger's and a misnamed one: an answer tells nobody what exists.
  "registry.name-unknown": kind(
    404,
    "never",
    "caller",
    "There is no such repository here; the name of one begins with the id of its account.",
  ),
  "blob.digest": kind(400, "never", "caller", "{detail}"),
  "blob.size": kind(400, "never", "caller", "{detail}"),
  "registry.blob-unknown": kind(404, "never", "caller", "There is no such blob in this repository."),
  "registry.blob-in-use": kind(405, "never", "caller", "A manifest of this repository needs this blob."),
  "blob.upload-unknown": kind(404, "never", "caller", "There is no such upload, or it ended."),
  "registry.upload-invalid": kind(400, "never", "caller", "{detail}"),
  "blob.upload-busy": kind(409, "later", "caller", "Another request is writing to this upload."),
  "blob.range": kind(416, "never", "caller", "{detail}"),
  "blob.store-unavailable": kind(
    503,
    "later",
    "dependency",
    "Where bytes are kept does not answer. Try again.",
  ),
  "registry.manifest-unknown": kind(404, "never", "caller", "There is no such manifest in this repository."),
  "registry.manifest-invalid": kind(400, "never", "caller", "{detail}"),
  "registry.manifest-blob-unknown": kind(
    404,
    "never",
    "caller",
    "The manifest names {digest}, which is not in this repository.",
  ),
  "registry.limit": kind(403, "never", "account", "{detail}"),
  "machine.exited": kind(409, "never", "caller", "{detail}"),
  "machine.not-attested": kind(409, "never", "caller", "{detail}"),
  "machine.attestation-refused": kind(409, "never", "caller", "{detail}"),
  "machine.start-failed": kind(503, "later", "host", "The machine could not be started."),
  "machine.boot-timeout": kind(503, "later", "host", "The machine did not come up in time."),
  "machine.guest-failed": kind(503, "later", "host", "What is in the machine could not be set up."),
  "machine.unknown": kind(404, "never", "caller", "Session not found"),
  "machine.not-running": kind(409, "never", "caller", "The session has ended."),
  "machine.no-container": kind(404, "never", "caller", "There is no such container."),
  "machine.too-slow": kind(503, "later", "host", "The host has not answered in time; the wish is recorded."),
  "machine.not-found": kind(409, "never", "caller", "The session has ended."),
  "machine.already-there": kind(503, "later", "platform", "The machine could not be started."),
  "machine.image-unknown": kind(
    503,
    "never",
    "host",
    "The host does not have what this machine is started from.",
  ),
  "machine.no-uid": kind(503, "later", "host", "The host has no user id left for another machine."),
  "machine.record-unreadable": kind(503, "later", "host", "The host cannot read its record of this machine."),
  "machine.entry-refused": kind(
    503,
    "later",
    "host",
    "The sandbox could not be entered safely, so nothing was run.",
  ),
  "machine.exec-refused": kind(400, "never", "caller", "{detail}"),
  "machine.input-failed": kind(507, "never", "caller", "The session has no room left for the input."),
  "machine.path-refused": kind(400, "never", "caller", "{detail}"),
  "machine.file-not-found": kind(404, "never", "caller", "There is no such file in the session."),
  "machine.file-refused": kind(409, "never", "caller", "The session refuses this: {detail}"),
  "machine.file-too-large": kind(413, "never", "caller", "The file is larger than {limit} bytes."),
  "host.too-many-streams": kind(
    503,
    "later",
    "host",
    "The host carries as many streams as it can. Try again.",
  ),
  "host.away": kind(503, "later", "host", "The host is not connected now. Try again."),
  "names.outside-zone": kind(400, "never", "host", "This name is in no zone of ours."),
  "names.not-held": kind(403, "never", "host", "This host has no machine of this name."),
  "names.too-many": kind(429, "later", "host", "This host has too many challenges."),
  "names.update-failed": kind(
    503,
    "later",
    "dependency",
    "The zone's name server has not taken it: {detail}",
  ),
  "link.lost": kind(
    503,
    "later",
    "host",
    "The connection to the host was lost; what became of the work is unknown.",
  ),
  "function.not-found": kind(404, "never", "caller", "There is no such model."),
  "function.not-read": kind(409, "later", "caller", "The model has not been looked at yet."),
  "function.not-ready": kind(409, "never", "caller", "The model has nothing that can be run: {detail}"),
  "function.deployed": kind(409, "never", "caller", "Devices of your own still run the model."),
  "function.artifact-not-found": kind(404, "never", "caller", "There is no such artefact."),
  "catalogue.not-found": kind(404, "never", "caller", "There is no such catalogue."),
  "catalogue.not-empty": kind(409, "never", "caller", "The catalogue has models; take them out first."),
  "conversion.not-found": kind(404, "never", "caller", "There is no such conversion."),
  "conversion.over": kind(409, "never", "caller", "The conversion is over."),
  "conversion.under-way": kind(409, "never", "caller", "The conversion is not over."),
  "conversion.lease": kind(
    409,
    "never",
    "caller",
    "This is not, or no longer, the lease of this conversion.",
  ),
  "models.not-owner": kind(
    403,
    "never",
    "caller",
    "This belongs to somebody else; act for them to change it.",
  ),
  "models.full": kind(
    403,
    "never",
    "account",
    "The models of whom you act for may take {limit} bytes, and this would be more; delete what is not needed.",
  ),
  "models.refused": kind(422, "never", "caller", "{detail}"),
  "models.unconfined": kind(
    503,
    "later",
    "platform",
    "This installation cannot confine what reads models, so none is read: {detail}",
  ),
  "platform.no-space": kind(
    503,
    "later",
    "platform",
    "The server has no room to write. Reading still works.",
  ),
  "platform.database-unavailable": kind(
    503,
    "later",
    "platform",
    "The database is not available. Try again.",
  ),
  "platform.overloaded": kind(503, "later", "platform", "The server is overloaded. Try again."),
  "platform.unexpected": kind(
    500,
    "later",
    "platform",
    "Something went wrong on our side. Quote the request id.",
  ),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

/** Public, typed by nothing but JSON: never put a secret here. */
export type Details = Record<string, string | number | boolean | null>;

export interface FaultIssue {
  path: string;
  message: string;
  /** 1-based, in the client's text. */
  line?: number;
}

/** Thrown when an operation cannot go on. */
export class Fault extends Error {
  readonly code: ErrorCode;
  readonly details: Details;
  /** Seconds for Retry-After, when more is known than the default. */
  readonly retryAfterSeconds: number | undefined;

  /** Everything that is wrong, where one sentence cannot say it. */
  readonly issues: readonly FaultIssue[] | undefined;

  constructor(
    code: ErrorCode,
    details: Details = {},
    options: ErrorOptions & { retryAfterSeconds?: number; issues?: readonly FaultIssue[] } = {},
  ) {
    super(sentenceOf(code, details), options);
    this.name = "Fault";
    this.code = code;
    this.details = details;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.issues = options.issues;
  }

  get kind(): ErrorKind {
    return ERRORS[this.code];
  }
}

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(ERRORS, code);

const sentenceOf = (code: ErrorCode, details: Details): string =>
  ERRORS[code].sentence.replace(/\{(\w+)\}/g, (_, name: string) => String(details[name] ?? ""));
