// SPDX-License-Identifier: Apache-2.0
export { eventRowsAfter, findEventRow, listEventRows, readableAfter } from "./find.ts";
export { type EventRow, eventIdOf, eventTypeOf, seqOfEvent, showEvent } from "./project.ts";
