// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import { attestProof, composeProof, type ProofParts, signingMessage } from "./build.ts";
import { digestText, hashOf, saltId } from "./hash.ts";
import { makeKey, makeSpecimen, specimenParts } from "./specimen.ts";
import { STEPS } from "./steps.ts";
import { verifyProof } from "./verify.ts";

const salt = "5a".repeat(32);
const parts = (change: (parts: ProofParts) => void = () => {}) => {
  const made = specimenParts(makeKey(), salt);
  change(made);
  return made;
};
const lastOf = (made: ProofParts) => composeProof(made).evidence[7].measured;

describe("a composed proof", () => {
  test("keeps the order of members that the format shows, byte for byte", () => {
    const { bytes, cdp } = makeSpecimen();
    expect(new TextDecoder().decode(bytes)).toBe(JSON.stringify(cdp));
    expect(Object.keys(cdp)).toEqual([
      "cdp_version",
      "profile",
      "session_id",
      "created_at",
      "destroyed_at",
      "context",
      "evidence",
      "chain",
      "final_hash",
      "attestation",
    ]);
  });

  test("is the same for the same parts", () => {
    const made = parts();
    expect(composeProof(made)).toEqual(composeProof(structuredClone(made)));
  });

  test("has the eight steps of the table, each item hashing its evidence", () => {
    const { chain, evidence, final_hash } = composeProof(parts());
    expect(chain.map(({ step, subsystem, operation }) => ({ step, subsystem, operation }))).toEqual(STEPS);
    expect(chain.map(({ evidence_hash }) => evidence_hash)).toEqual(
      evidence.map((one) => hashOf("cdp/1/evidence", one)),
    );
    expect(final_hash).toBe(chain[7]!.chain_hash);
  });

  test("truncates times to the second and durations to the millisecond, never up", () => {
    const { evidence } = composeProof(
      parts(({ steps }) => {
        steps[0].startedAt = new Date("2026-03-01T14:05:00.999Z");
        steps[0].endedAt = new Date("2026-03-01T14:05:01.999Z");
        steps[0].durationMs = 12.9;
      }),
    );
    expect(evidence[0]).toMatchObject({
      started_at: "2026-03-01T14:05:00Z",
      ended_at: "2026-03-01T14:05:01Z",
      duration_ms: 12,
    });
  });

  test("dates the destruction by the last probe of steps 1 to 6, wherever it is", () => {
    const { destroyed_at, evidence } = composeProof(
      parts(({ steps }) => {
        steps[1].endedAt = new Date("2026-03-01T14:06:00.500Z");
      }),
    );
    expect(destroyed_at).toBe("2026-03-01T14:06:00Z");
    expect(evidence[7].measured.destroyed_at).toBe(destroyed_at);
  });

  test("computes the probe root itself, whatever the prober sent", () => {
    const honest = composeProof(parts()).evidence[5].measured.probe_root;
    const made = parts(({ steps }) => {
      Object.assign(steps[5].measured, { probe_root: digestText("other") });
    });
    expect(composeProof(made).evidence[5].measured.probe_root).toBe(honest);
  });

  test("commits to the salt by its name alone", () => {
    const made = parts();
    expect(made.context.salt_id).toBe(saltId(salt));
    expect(JSON.stringify(composeProof(made))).not.toContain(salt);
  });
});

describe("the outcome is derived:", () => {
  test.each([0, 1, 2, 3, 4, 5] as const)(
    "a failed step at index %i makes it incomplete and names exactly that step",
    (index) => {
      const made = parts(({ steps }) => {
        steps[index].ok = false;
      });
      expect(lastOf(made)).toMatchObject({
        outcome: "incomplete",
        failed_steps: [index + 1],
        end_state: "expired_unclean",
      });
    },
  );

  test("steps 7 and 8 can fail too", () => {
    const made = parts((one) => {
      one.seal.ok = false;
      one.completion.ok = false;
    });
    expect(lastOf(made)).toMatchObject({
      outcome: "incomplete",
      failed_steps: [7, 8],
      end_state: "expired_unclean",
    });
  });

  test("a clean end is what it was asked to be", () => {
    expect(lastOf(parts())).toMatchObject({ outcome: "complete", failed_steps: [], end_state: "destroyed" });
    expect(lastOf({ ...parts(), endState: "expired" }).end_state).toBe("expired");
  });

  test("a step that says ok against its own numbers is not ok, and the proof still verifies", () => {
    const liar = makeSpecimen((made) => {
      made.steps[0].measured.tasks_found = 2;
      made.steps[5].measured.probes[1]!.observed = "1";
      return made;
    });
    expect(liar.cdp.evidence[7].measured.failed_steps).toEqual([1, 6]);
    expect(verifyProof(liar.bytes, { issuers: [liar.issuer] })).toMatchObject({
      valid: true,
      outcome: "incomplete",
    });
  });
});

describe("a proof is made all the same", () => {
  test("when the host's clock was behind the one that wrote created_at, and says so", () => {
    const { cdp, bytes } = makeSpecimen((made) => ({
      ...made,
      context: { ...made.context, created_at: "2026-03-01T14:05:02Z" },
    }));
    expect(cdp.evidence[0]).toMatchObject({
      started_at: "2026-03-01T14:05:02Z",
      ended_at: "2026-03-01T14:05:02Z",
      skipped: [{ name: "wall_clock" }],
    });
    expect(cdp.evidence[3].skipped).toEqual([]);
    expect(verifyProof(bytes).valid).toBe(true);
  });

  test("when the clock was set back during a step", () => {
    const { cdp } = makeSpecimen((made) => {
      made.steps[2].endedAt = new Date("2026-03-01T14:00:00Z");
      return made;
    });
    expect(cdp.evidence[2].ended_at).toBe(cdp.evidence[2].started_at);
    expect(cdp.evidence[2].skipped.map(({ name }) => name)).toContain("wall_clock");
  });

  test("for a session found dead, without claiming an overwrite", () => {
    const { cdp, bytes, issuer } = makeSpecimen((made) => {
      const { context, steps } = made;
      context.trigger = "recovery";
      context.limits.push("overwrite_not_claimed", "start_facts_lost", "shared_uid", "no_cgroup");
      Object.assign(steps[0].measured, {
        seccomp_mode: null,
        no_new_privs: null,
        capabilities_effective: null,
        network_mode: null,
      });
      Object.assign(steps[2].measured, {
        passes: 0,
        files_overwritten: 0,
        bytes_overwritten: 0,
        read_back_ok: null,
        core_limit_bytes: null,
      });
      Object.assign(steps[4].measured, { uid: null, uid_released: null, cgroup_removed: null });
      Object.assign(steps[5].measured, { zero_root: null, zero_chunks: 0 });
      return {
        ...made,
        recovered: { boot_id_hash_before: digestText("old"), boot_id_hash_after: digestText("new") },
      };
    });
    expect(cdp.evidence[7].measured.outcome).toBe("complete");
    expect(verifyProof(bytes, { issuers: [issuer] })).toMatchObject({
      level: 2,
      warnings: ["recovered", "overwrite_not_claimed", "start_facts_lost"],
    });
  });
});

describe("attesting throws", () => {
  const specimen = makeSpecimen();
  const { attestation, ...unsigned } = specimen.cdp;
  const { certificate } = attestation;

  test("for a signature by another key", () => {
    const other = makeKey();
    const signed = { publicKey: other.spki, signature: new Uint8Array(64).fill(2), certificate };
    expect(() => attestProof(unsigned, signed)).toThrow(/public_key_mismatch/);
  });

  test("for parts outside the format", () => {
    expect(() =>
      makeSpecimen((made) => {
        made.steps[1].measured.mounts[0]!.target = "";
        return made;
      }),
    ).toThrow(/invalid_member/);
    expect(() =>
      makeSpecimen((made) => {
        Object.assign(made.steps[1].measured, { note: "all is well" });
        return made;
      }),
    ).toThrow(/unknown_member/);
    expect(() =>
      makeSpecimen((made) => ({ ...made, context: { ...made.context, created_at: "2026-02-30T00:00:00Z" } })),
    ).toThrow(TypeError);
  });

  test("for a final hash that is none", () => {
    expect(() => signingMessage("sha512:00")).toThrow(TypeError);
  });
});
