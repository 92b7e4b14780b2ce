// SPDX-License-Identifier: Apache-2.0
export { HELD, release, settle, takeClauses, usedOf } from "./reserve.ts";
