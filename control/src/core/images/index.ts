// SPDX-License-Identifier: Apache-2.0
export { resolveImage } from "./resolve.ts";
