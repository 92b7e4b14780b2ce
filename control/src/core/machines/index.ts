// SPDX-License-Identifier: Apache-2.0
export { type Converger, every, startConverger } from "./converge.ts";
export { haltClause, requestKeptClause, startClause } from "./kept.ts";
export type { MachineRow } from "./machine.ts";
export { type AllReactions, type Ended, type KeptReactions, observe, type Reactions } from "./observe.ts";
export { endClause, requestClause, requestEnd, requestExpiry } from "./request.ts";
export { isOver } from "./transitions.ts";
export { openWatch, type Watch } from "./watch.ts";
