// SPDX-License-Identifier: Apache-2.0
/** What Casemate adds beside the four surfaces. */
import type { Operation } from "../operation.ts";
import { getEvent, listEvents, streamEvents } from "./events.ts";
import { listIssuers } from "./issuers.ts";
import { rotateKeys } from "./rotate-keys.ts";

export const PLATFORM: readonly Operation[] = [listIssuers, rotateKeys, listEvents, streamEvents, getEvent];
