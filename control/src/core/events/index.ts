// SPDX-License-Identifier: Apache-2.0
export { eventRowsAfter, findEventRow, listEventRows, readableAfter } from "./find.ts";
export { seqOfEvent, showEvent } from "./project.ts";
