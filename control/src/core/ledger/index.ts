// SPDX-License-Identifier: Apache-2.0
export { concludeClauses, HELD, takeClauses, usedOf } from "./reserve.ts";
