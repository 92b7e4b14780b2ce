// SPDX-License-Identifier: Apache-2.0
export { addDeliveries, countForeignJobs, listDeliveries, requireDelivery } from "./deliveries.ts";
export {
  createEndpoint,
  deleteEndpoint,
  type EndpointRow,
  listEndpoints,
  openUrl,
  requireEndpoint,
  rotateSecret,
  updateEndpoint,
} from "./endpoints.ts";
export { startWebhooks, type Webhooks, type WebhooksConfig } from "./start.ts";
export { requireUrl } from "./url.ts";
