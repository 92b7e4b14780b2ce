// SPDX-License-Identifier: Apache-2.0
export { listLogKeys, restartLog, rotateLogKey } from "./key.ts";
export { outsideFile } from "./outside.ts";
export { checkpointOf, findInclusion, newestCheckpoint } from "./show.ts";
export { readTile } from "./tree.ts";
export { Witnesses } from "./witnesses.ts";
export { LogForked, LogWriter } from "./writer.ts";
