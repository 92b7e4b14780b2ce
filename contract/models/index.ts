// SPDX-License-Identifier: Apache-2.0
/** AI models: the catalogue, versions, validation, conversion. */
import type { Operation } from "../operation.ts";
import * as catalogues from "./catalogues.ts";
import * as conversions from "./conversions.ts";
import * as functions from "./functions.ts";
import * as use from "./use.ts";

const { OTHER_SPELLINGS, ...ofFunctions } = functions;
const { OTHER_SPELLINGS: OTHERS, ...ofCatalogues } = catalogues;

export const MODELS: readonly Operation[] = [
  ...Object.values(ofFunctions),
  ...Object.values(OTHER_SPELLINGS),
  ...Object.values(conversions),
  ...Object.values(ofCatalogues),
  ...Object.values(OTHERS),
  ...Object.values(use),
];
