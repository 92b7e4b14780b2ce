// SPDX-License-Identifier: Apache-2.0
export { askHost, followLines, readLines } from "./ask.ts";
export { type BrokerPlan, keepBrokerMembers } from "./broker-members.ts";
export { type Fleet, openFleet } from "./fleet.ts";
export {
  admitHost,
  drainHost,
  HOSTS_CHANNEL,
  type Invitation,
  inviteHost,
  listClosed,
  listHosts,
  listPutOut,
  listToEmpty,
  type Member,
  putOut,
  resumeHost,
} from "./membership.ts";
export { heardOverHttp, type Registered, registerHost } from "./registration.ts";
export {
  AFTER_ROOM,
  knownUntil,
  markSeen,
  releaseClause,
  releaseDiskClause,
  rememberHost,
  retakeRoomClause,
  roomElsewhere,
  takeRoomClauses,
} from "./room.ts";
