// SPDX-License-Identifier: Apache-2.0
/** What Casemate adds beside the four surfaces. */
import type { Operation } from "../operation.ts";
import * as attestations from "./attestations.ts";
import { createPartner } from "./channel-partners.ts";
import * as clients from "./clients.ts";
import * as collateral from "./collateral.ts";
import { getEvent, listEvents, streamEvents } from "./events.ts";
import { listGuestImages } from "./guest-images.ts";
import { drainHost, inviteHost, joinHost, listHosts, resumeHost, revokeHost } from "./hosts.ts";
import { getIssuerManifest, getTrustChain, listIssuers, revokeIssued } from "./issuers.ts";
import { restartLog, rotateLogKey } from "./log.ts";
import { rotateKeys } from "./rotate-keys.ts";
import { createTenant } from "./tenants.ts";
import * as webhooks from "./webhooks.ts";

export const PLATFORM: readonly Operation[] = [
  listHosts,
  inviteHost,
  joinHost,
  drainHost,
  resumeHost,
  revokeHost,
  listIssuers,
  getIssuerManifest,
  getTrustChain,
  revokeIssued,
  rotateKeys,
  rotateLogKey,
  restartLog,
  createTenant,
  createPartner,
  clients.createClient,
  clients.revokeClient,
  clients.createUser,
  clients.deleteUser,
  listEvents,
  streamEvents,
  getEvent,
  attestations.createAttestation,
  attestations.listAttestations,
  attestations.getAttestation,
  attestations.deleteAttestation,
  attestations.revokeReference,
  attestations.listRevocations,
  listGuestImages,
  collateral.kdsShared,
  collateral.pcsTcb,
  collateral.pcsIdentity,
  collateral.pcsCrl,
  collateral.pcsRootCrl,
  webhooks.createWebhook,
  webhooks.listWebhooks,
  webhooks.getWebhook,
  webhooks.updateWebhook,
  webhooks.deleteWebhook,
  webhooks.rotateSecret,
  webhooks.testWebhook,
  webhooks.listDeliveries,
  webhooks.replayDelivery,
];
