// SPDX-License-Identifier: Apache-2.0
/** Sites, servers, devices, pipelines, rollouts. */
import type { Operation } from "../operation.ts";

export const DEVICES: readonly Operation[] = [];
