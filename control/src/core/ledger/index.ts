// SPDX-License-Identifier: Apache-2.0
export { balanceOf, burnRateOf } from "./balance.ts";
export { type Credit, type CreditRow, credit, creditClauses, listCredits } from "./credit.ts";
export { AFTER_DISK, diskHeldGb, returnDiskClause, takeDiskClause, takeEachDiskClause } from "./disk.ts";
export {
  type Admission,
  AFTER_METER,
  admitClauses,
  admitEachClauses,
  type MeterStep,
  type MeterStop,
  NOW,
  startMeterClauses,
  stopMeterClauses,
} from "./meter.ts";
export { type Metered, type MeterTurn, meterAll } from "./meter-all.ts";
export { concludeClauses, HELD, takeClauses, usedOf } from "./reserve.ts";
export { type Grace, listOverdue, type Notice, noticeClause, overdueMachines } from "./shortage.ts";
export { AMOUNT_MAX_MICROS, MICROS_PER_CREDIT, MICROS_PER_USD, toMicros, toUnits } from "./units.ts";
