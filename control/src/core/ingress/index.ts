// SPDX-License-Identifier: Apache-2.0
export { ADDRESS_OF_HOST } from "./addresses-of-names.ts";
export { type Challenges, openChallenges } from "./challenges.ts";
export { type DomainLooks, openDomainLooks } from "./domain-looks.ts";
export { type Guard, guardedConnect, guardedLookup, Obstructed, openGuard } from "./guarded-dialer.ts";
export { type GuardedExchange, guardedExchange, guardedFetch } from "./guarded-fetch.ts";
export { startNameServer } from "./name-server.ts";
export { openZoneRecords } from "./records.ts";
export { openZoneUpdater, type ZoneUpdater } from "./rfc2136.ts";
export { keepZone } from "./zone-keeper.ts";
