// SPDX-License-Identifier: Apache-2.0
export { type Fleet, openFleet } from "./fleet.ts";
export {
  AFTER_ROOM,
  markSeen,
  releaseClause,
  rememberHost,
  retakeRoomClause,
  takeRoomClauses,
} from "./room.ts";
