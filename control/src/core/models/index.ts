// SPDX-License-Identifier: Apache-2.0
export { type ArtifactKeys, openArtifactKeys } from "./keys.ts";
export { endPromise, full, type Promised, promiseRoom } from "./room.ts";
export { runJob } from "./run-job.ts";
export { ONLINE_S, siteTargets } from "./site-targets.ts";
export {
  addJob as requeue,
  enqueue,
  finish,
  type Held,
  settled,
  settleFunction,
  type TaskOptions,
  tell,
} from "./tasks.ts";
export { catalogueSeen, functionSeen, publicFunction, type Viewer, viewerOf } from "./visibility.ts";
export { removeFunction } from "./withdrawn.ts";
export {
  addArtifact,
  isBuiltIn,
  keepFile,
  type ModelsConfig,
  startWork,
  type Work,
} from "./work.ts";
