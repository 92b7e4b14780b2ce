// SPDX-License-Identifier: Apache-2.0
export { type Challenges, openChallenges } from "./challenges.ts";
export { type NameServer, startNameServer } from "./name-server.ts";
export { openZoneRecords, type ZoneRecords } from "./records.ts";
export type { ZoneConfig } from "./zones.ts";
