// SPDX-License-Identifier: Apache-2.0
/** What Casemate adds beside the four surfaces. */
import type { Operation } from "../operation.ts";
import { createPartner } from "./channel-partners.ts";
import * as clients from "./clients.ts";
import { getEvent, listEvents, streamEvents } from "./events.ts";
import { drainHost, inviteHost, joinHost, listHosts, resumeHost, revokeHost } from "./hosts.ts";
import { listIssuers } from "./issuers.ts";
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
  rotateKeys,
  createTenant,
  createPartner,
  clients.createClient,
  clients.revokeClient,
  clients.createUser,
  clients.deleteUser,
  listEvents,
  streamEvents,
  getEvent,
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
