// SPDX-License-Identifier: Apache-2.0
/**
 * What every link must keep, as tests over a factory. Each test makes its own link and takes it down;
 * the letters are those of port.ts.
 */
import { describe } from "vitest";
import { faults } from "./conformance/faults.ts";
import type { LinkFactory } from "./conformance/pair.ts";
import { desiredAndObserved } from "./conformance/state.ts";
import { streams } from "./conformance/streams.ts";

export { factsOf } from "./conformance/pair.ts";

export function linkConformance(name: string, factory: LinkFactory): void {
  describe(`${name} link`, () => {
    streams(factory);
    desiredAndObserved(factory);
    faults(factory);
  });
}
