// SPDX-License-Identifier: Apache-2.0
/** The operator's own operations, and what concerns an account as a whole. */
import * as attestationsContract from "#contract/platform/attestations.ts";
import { createPartner } from "#contract/platform/channel-partners.ts";
import * as clientsContract from "#contract/platform/clients.ts";
import * as c from "#contract/platform/collateral.ts";
import { getEvent, listEvents, streamEvents } from "#contract/platform/events.ts";
import { listGuestImages } from "#contract/platform/guest-images.ts";
import * as hostsContract from "#contract/platform/hosts.ts";
import { getIssuerManifest, getTrustChain, listIssuers, revokeIssued } from "#contract/platform/issuers.ts";
import { restartLog, rotateLogKey } from "#contract/platform/log.ts";
import { rotateKeys } from "#contract/platform/rotate-keys.ts";
import { createTenant } from "#contract/platform/tenants.ts";
import * as webhooksContract from "#contract/platform/webhooks.ts";
import { imagesInUse } from "../../core/attestation/index.ts";
import { issuerManifest, trustChain } from "../../core/proofs/index.ts";
import { type Answer, type Route, route } from "../../http/call.ts";
import * as attestations from "./attestations.ts";
import * as collateral from "./collateral.ts";
import * as deliveries from "./deliveries.ts";
import type { PlatformDeps } from "./deps.ts";
import * as events from "./events.ts";
import * as issuers from "./issuers.ts";
import * as log from "./log.ts";
import * as people from "./people.ts";
import * as tenants from "./tenants.ts";
import * as webhooks from "./webhooks.ts";

const w = webhooksContract;

import * as hosts from "./hosts.ts";

export const platformRoutes = (deps: PlatformDeps): Route[] => [
  route(listIssuers, () => issuers.list(deps)),
  route(
    getIssuerManifest,
    issuers.shownFor(() => issuerManifest(deps.db, deps.vault, new Date())),
  ),
  route(
    getTrustChain,
    issuers.shownFor(() => trustChain(deps.db, deps.vault, new Date())),
  ),
  route(revokeIssued, (call) => issuers.revoke(deps, call)),
  route(rotateKeys, () => rotate(deps)),
  route(rotateLogKey, () => log.rotate(deps)),
  route(restartLog, (call) => log.restart(deps, call)),
  route(createTenant, (call) => tenants.create(deps, call)),
  route(createPartner, (call) => people.createPartner(deps, call)),
  route(clientsContract.createClient, (call) => people.createClient(deps, call)),
  route(clientsContract.revokeClient, (call) => people.removeClient(deps, call)),
  route(clientsContract.createUser, (call) => people.createUser(deps, call)),
  route(clientsContract.deleteUser, (call) => people.removeUser(deps, call)),
  route(hostsContract.listHosts, (call) => hosts.list(deps, call)),
  route(hostsContract.inviteHost, (call) => hosts.invite(deps, call)),
  route(hostsContract.joinHost, (call) => hosts.join(deps, call)),
  route(hostsContract.drainHost, (call) => hosts.drain(deps, call)),
  route(hostsContract.resumeHost, (call) => hosts.resume(deps, call)),
  route(hostsContract.revokeHost, (call) => hosts.revoke(deps, call)),
  route(attestationsContract.createAttestation, (call) => attestations.create(deps, call)),
  route(attestationsContract.listAttestations, (call) => attestations.list(deps, call)),
  route(attestationsContract.getAttestation, (call) => attestations.read(deps, call)),
  route(attestationsContract.deleteAttestation, (call) => attestations.remove(deps, call)),
  route(attestationsContract.revokeReference, (call) => attestations.revoke(deps, call)),
  route(attestationsContract.listRevocations, () => attestations.revocations(deps)),
  route(listGuestImages, () => guestImages(deps)),
  route(c.kdsShared, (call) => collateral.kds(deps, call)),
  route(c.pcsTcb, (call) => collateral.tcb(deps, call)),
  route(c.pcsIdentity, (call) => collateral.identity(deps, call)),
  route(c.pcsCrl, (call) => collateral.crl(deps, call)),
  route(c.pcsRootCrl, (call) => collateral.rootCrl(deps, call)),
  route(listEvents, (call) => events.list(deps, call)),
  route(streamEvents, (call) => events.stream(deps, call)),
  route(getEvent, (call) => events.read(deps, call)),
  route(w.createWebhook, (call) => webhooks.create(deps, call)),
  route(w.listWebhooks, (call) => webhooks.list(deps, call)),
  route(w.getWebhook, (call) => webhooks.read(deps, call)),
  route(w.updateWebhook, (call) => webhooks.update(deps, call)),
  route(w.deleteWebhook, (call) => webhooks.remove(deps, call)),
  route(w.rotateSecret, (call) => webhooks.rotate(deps, call)),
  route(w.testWebhook, (call) => webhooks.test(deps, call)),
  route(w.listDeliveries, (call) => deliveries.list(deps, call)),
  route(w.replayDelivery, (call) => deliveries.replay(deps, call)),
];

async function guestImages({ db }: Pick<PlatformDeps, "db">): Promise<Answer> {
  return { status: 200, body: { images: await imagesInUse(db.soft) } };
}

/** The new key is on disk before anything is wrapped under it; a crash in between leaves both usable. */
async function rotate({
  vault,
  ring,
  signingKeys,
}: Pick<PlatformDeps, "vault" | "ring" | "signingKeys">): Promise<Answer> {
  await ring.add();
  const rewrapped = await vault.rewrap();
  const signing = await signingKeys.rotate();
  return { status: 200, body: { key_id: ring.newest().id, rewrapped, signing_key_id: signing } };
}
