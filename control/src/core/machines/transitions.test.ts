// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from "vitest";
import { changeBy, isOver, type MachineState, nextState, type ObservedKind } from "./transitions.ts";

const STATES: MachineState[] = ["requested", "starting", "running", "halted", "ended", "failed"];
const KINDS: ObservedKind[] = ["starting", "running", "halted", "refused", "failed", "ended"];

describe("the transition table", () => {
  it("never leaves a final state", () => {
    for (const state of STATES.filter(isOver)) {
      for (const kind of KINDS) expect(nextState(state, kind)).toBeNull();
    }
  });

  it("reads the same backwards: each kind of observation leads to one state, from those it changes", () => {
    for (const kind of KINDS) {
      const { from, to } = changeBy(kind);
      for (const state of STATES) expect(nextState(state, kind)).toBe(from.includes(state) ? to : null);
    }
  });

  it("ends a machine from every state that is not final", () => {
    for (const state of STATES.filter((each) => !isOver(each)))
      expect(nextState(state, "ended")).toBe("ended");
  });

  it("does not call a running machine running anew", () => {
    expect(nextState("running", "running")).toBeNull();
  });

  it("cannot be refused once it runs", () => {
    expect(nextState("running", "refused")).toBeNull();
  });
});
