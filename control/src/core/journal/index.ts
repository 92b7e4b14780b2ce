// SPDX-License-Identifier: Apache-2.0
export { append, appendClauses, appendEachClauses, JOURNAL_CHANNEL, saltPayload } from "./append.ts";
export { type JournalFeed, type JournalRow, openFeed } from "./follow.ts";
export { findCheckpoint, pruneJournal, type Sealer } from "./prune.ts";
