// SPDX-License-Identifier: Apache-2.0
export { type Fleet, openFleet } from "./fleet.ts";
