// SPDX-License-Identifier: Apache-2.0
export { eventRowsAfter, findEventRow, journalRowsAfter, listEventRows, readableAfter } from "./find.ts";
export { type EventRow, eventIdOf, eventTypeOf, membersOf, seqOfEvent, showEvent } from "./project.ts";
