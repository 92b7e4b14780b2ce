// SPDX-License-Identifier: Apache-2.0
export { type Converger, every, startConverger } from "./converge.ts";
export {
  arriveClauses,
  displaceClauses,
  forgetDiskClauses,
  haltClause,
  keepsDisk,
  placeClause,
  requestKeptClause,
  startClause,
  UNPLACED,
  waitingClause,
} from "./kept.ts";
export { leftoverOf } from "./leavings.ts";
export { type MachineRow, type MachineWish, NEW, toLeave } from "./machine.ts";
export { type AllReactions, type Ended, type KeptReactions, observe, type Reactions } from "./observe.ts";
export { endClause, requestClause, requestEnd, requestExpiry } from "./request.ts";
export { isOver } from "./transitions.ts";
export { openWatch, type Watch } from "./watch.ts";
