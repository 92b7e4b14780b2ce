// SPDX-License-Identifier: Apache-2.0
/** AI models: the catalogue, versions, validation, conversion. */
import type { Operation } from "../operation.ts";

export const MODELS: readonly Operation[] = [];
