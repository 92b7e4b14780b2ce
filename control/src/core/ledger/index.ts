// SPDX-License-Identifier: Apache-2.0
export { HELD, release, settle, type Take, takeClauses, usedOf } from "./reserve.ts";
