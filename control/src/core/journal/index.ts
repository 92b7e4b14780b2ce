// SPDX-License-Identifier: Apache-2.0
export { append, appendClauses, type JournalEntry } from "./append.ts";
export { type JournalFeed, type JournalRow, openFeed } from "./follow.ts";
