// SPDX-License-Identifier: Apache-2.0
/**
 * Five holes that were disclosed in the original's verifier, each tried on ours, and beside them the
 * operator who holds every key and signs what his own measurements deny.
 */
import { describe, expect, test } from "vitest";
import type { Cdp } from "./document.ts";
import { forge } from "./forgery.ts";
import { digestText, probeRoot } from "./hash.ts";
import { makeSpecimen } from "./specimen.ts";
import { verifyProof } from "./verify.ts";

const specimen = makeSpecimen();
const options = { issuers: [specimen.issuer], level: 2 } as const;
const judge = (document: unknown) => verifyProof(document, options);
const edited = (change: (cdp: Cdp) => void) => {
  const copy = structuredClone(specimen.cdp);
  change(copy);
  return copy;
};

test("an untouched forgery is genuine, so every refusal below is about its change", () => {
  expect(judge(forge(specimen, () => {})).level).toBe(2);
});

describe("an unsigned field read as signed", () => {
  test.each<[string, (cdp: Cdp) => void]>([
    [
      "session_id",
      (cdp) => {
        cdp.session_id = `sess_${"1".repeat(32)}`;
      },
    ],
    [
      "created_at",
      (cdp) => {
        cdp.created_at = "2026-03-01T13:00:00Z";
      },
    ],
    [
      "destroyed_at",
      (cdp) => {
        cdp.destroyed_at = "2026-03-01T14:05:03Z";
      },
    ],
    [
      "key_id",
      (cdp) => {
        cdp.attestation.key_id = "nrx-verify-20260301T140001Z-a8f3e71c";
      },
    ],
  ])("the top-level %s cannot differ from the signed one", (_name, change) => {
    const verdict = judge(edited(change));
    expect(verdict.failures).toContain("twin_mismatch");
    expect(verdict).toMatchObject({
      level: 0,
      checks: { chain_integrity: false, final_hash: true, signature: true },
    });
  });

  test("session, labels and evidence cannot be edited behind the signature", () => {
    const relabelled = edited(({ context }) => {
      context.data_classification = "general";
    });
    expect(judge(relabelled).failures).toEqual(["chain_hash_mismatch", "final_hash_mismatch"]);
    const polished = edited(({ evidence }) => {
      evidence[2].measured.passes = 7;
    });
    expect(judge(polished).failures).toContain("evidence_hash_mismatch");
  });
});

describe("Merkle leaves trusted without recomputing", () => {
  test("probes that do not hash to the signed root are refused, whoever signed", () => {
    const forged = forge(specimen, ({ evidence }) => {
      evidence[5].measured.probes[0]!.name = "something else";
    });
    expect(judge(forged)).toMatchObject({ level: 0, failures: ["probe_root_mismatch"] });
  });

  test("probes left out are missed by the root", () => {
    const forged = forge(specimen, ({ evidence }) => {
      evidence[5].measured.probes.pop();
    });
    expect(judge(forged).failures).toEqual(["probe_root_mismatch"]);
  });

  test("hashes sealed in step 7 must be those of the evidence shown", () => {
    const forged = forge(
      specimen,
      () => {},
      ({ evidence }) => {
        evidence[6].measured.evidence_hashes[3] = digestText("other evidence");
      },
    );
    expect(judge(forged)).toMatchObject({ level: 0, failures: ["sealed_hashes_mismatch"] });
  });
});

describe("unsigned slots injectable", () => {
  test.each(["regulatory_context", "witness_signatures", "metadata", "transparency"])(
    "a member %s beside the signed ones is refused, empty or not",
    (name) => {
      for (const value of [null, {}, [], "text"]) {
        expect(judge({ ...specimen.cdp, [name]: value })).toMatchObject({
          level: 0,
          failures: ["unknown_member"],
        });
      }
    },
  );
});

describe("lineage forged by deleting a field", () => {
  test.each([
    ["the profile", (cdp: Partial<Cdp>) => delete cdp.profile],
    [
      "profile, context and evidence",
      (cdp: Partial<Cdp>) => delete cdp.profile && delete cdp.context && delete cdp.evidence,
    ],
  ])("deleting %s does not lead to the weaker rules of the original", (_name, strip) => {
    const copy: Partial<Cdp> = structuredClone(specimen.cdp);
    strip(copy);
    for (const verdict of [judge(copy), verifyProof(copy)]) {
      expect(verdict).toMatchObject({ valid: false, level: 0, profile: null });
      expect(verdict.failures).toContain("chain_hash_mismatch");
    }
  });

  test("a recovery cannot be made an ordinary end by setting its origin to null", () => {
    const hidden = edited(({ evidence }) => {
      evidence[7].measured.recovered = {
        boot_id_hash_before: digestText("a"),
        boot_id_hash_after: digestText("b"),
      };
    });
    expect(judge(hidden).level).toBe(0);
  });
});

describe("step identity taken from the document", () => {
  test("a step under another name is refused even though names are not needed to recompute the chain", () => {
    for (const change of [
      (cdp: Cdp) => {
        cdp.chain[2]!.subsystem = "eee_tmpfs";
      },
      (cdp: Cdp) => {
        cdp.chain[2]!.operation = "filesystem_destruction";
      },
      (cdp: Cdp) => {
        cdp.chain[2]!.step = 2;
      },
    ]) {
      expect(judge(edited(change))).toMatchObject({ level: 0, failures: ["step_identity"] });
    }
  });

  test("two steps exchanged are refused", () => {
    const exchanged = edited(({ chain }) => {
      [chain[3], chain[4]] = [chain[4]!, chain[3]!];
    });
    expect(judge(exchanged).failures).toEqual(
      expect.arrayContaining(["step_identity", "evidence_hash_mismatch", "chain_hash_mismatch"]),
    );
  });
});

describe("an operator who holds every key cannot claim success against a measurement:", () => {
  const contradictions: [string, (cdp: Cdp) => void][] = [
    [
      "a task was found",
      ({ evidence }) => {
        evidence[0].measured.tasks_found = 1;
      },
    ],
    [
      "tasks were not counted",
      ({ evidence }) => {
        evidence[0].measured.tasks_found = null;
      },
    ],
    [
      "no filter was on",
      ({ evidence }) => {
        evidence[0].measured.seccomp_mode = 0;
      },
    ],
    [
      "new privileges were possible",
      ({ evidence }) => {
        evidence[0].measured.no_new_privs = false;
      },
    ],
    [
      "the network was not looked at",
      ({ evidence }) => {
        evidence[0].measured.network_mode = null;
      },
    ],
    [
      "a process could leave a core",
      ({ evidence }) => {
        evidence[2].measured.core_limit_bytes = 4096;
      },
    ],
    [
      "the core limit was not read",
      ({ evidence }) => {
        evidence[2].measured.core_limit_bytes = null;
      },
    ],
    [
      "the start was not measured",
      ({ evidence }) => {
        evidence[0].measured.seccomp_mode = null;
      },
    ],
    [
      "a mount was found",
      ({ evidence }) => {
        evidence[1].measured.mounts[1]!.mountinfo_found = 2;
      },
    ],
    [
      "a descriptor was open",
      ({ evidence }) => {
        evidence[1].measured.mounts[2]!.open_fds_found = 1;
      },
    ],
    [
      "mounts were not looked for",
      ({ evidence }) => {
        evidence[1].measured.mounts[0]!.mountinfo_found = null;
      },
    ],
    [
      "the read-back failed",
      ({ evidence }) => {
        evidence[2].measured.read_back_ok = false;
      },
    ],
    [
      "nothing was read back",
      ({ evidence }) => {
        evidence[2].measured.read_back_ok = null;
      },
    ],
    [
      "no pass was made and no limit says so",
      ({ evidence }) => void Object.assign(evidence[2].measured, { passes: 0, bytes_overwritten: 0 }),
    ],
    [
      "a key was not wiped",
      ({ evidence }) => {
        evidence[3].measured.data_keys[0]!.wiped = false;
      },
    ],
    [
      "a lookup still answered",
      ({ evidence }) => {
        evidence[4].measured.lookup_absent = false;
      },
    ],
    [
      "the uid was kept",
      ({ evidence }) => {
        evidence[4].measured.uid_released = false;
      },
    ],
    [
      "the cgroup stayed",
      ({ evidence }) => {
        evidence[4].measured.cgroup_removed = false;
      },
    ],
    [
      "there was no cgroup and no limit says so",
      ({ evidence }) => {
        evidence[4].measured.cgroup_removed = null;
      },
    ],
    [
      "there was no uid and no limit says so",
      ({ evidence }) => {
        evidence[4].measured.uid_released = null;
      },
    ],
    [
      "chunks without a root",
      ({ evidence }) => {
        evidence[5].measured.zero_root = null;
      },
    ],
    [
      "a probe found something",
      ({ evidence }) => {
        const { measured } = evidence[5];
        measured.probes[0]!.observed = "1";
        measured.probe_root = probeRoot(measured.probes);
      },
    ],
    [
      "a probe failed",
      ({ evidence }) => {
        const { measured } = evidence[5];
        measured.probes[0]!.ok = false;
        measured.probe_root = probeRoot(measured.probes);
      },
    ],
    [
      "a recovered session was overwritten",
      ({ evidence }) => {
        evidence[7].measured.recovered = {
          boot_id_hash_before: digestText("a"),
          boot_id_hash_after: digestText("b"),
        };
      },
    ],
  ];
  test.each(contradictions)("%s", (_name, change) => {
    expect(judge(forge(specimen, change))).toMatchObject({
      level: 0,
      outcome: null,
      failures: ["contradiction"],
    });
  });

  test.each<[string, (cdp: Cdp) => void, string]>([
    [
      "a failed step is called complete",
      ({ evidence }) => {
        evidence[4].ok = false;
      },
      "outcome_mismatch",
    ],
    [
      "a failed step is not listed",
      ({ evidence }) => {
        evidence[4].ok = false;
        Object.assign(evidence[7].measured, { outcome: "incomplete", end_state: "expired_unclean" });
      },
      "outcome_mismatch",
    ],
    [
      "an incomplete end is called destroyed",
      ({ evidence }) => {
        evidence[4].ok = false;
        Object.assign(evidence[7].measured, { outcome: "incomplete", failed_steps: [5] });
      },
      "outcome_mismatch",
    ],
    [
      "a clean end is called unclean",
      ({ evidence }) => {
        evidence[7].measured.end_state = "expired_unclean";
      },
      "outcome_mismatch",
    ],
    [
      "durations are embellished",
      ({ evidence }) => {
        evidence[7].measured.step_ms[0] = 1;
      },
      "outcome_mismatch",
    ],
    [
      "the destruction is dated otherwise",
      (cdp) => {
        cdp.destroyed_at = "2026-03-01T14:05:03Z";
        cdp.evidence[7].measured.destroyed_at = cdp.destroyed_at;
      },
      "destroyed_at_mismatch",
    ],
    [
      "a step begins before the session",
      ({ evidence }) => {
        evidence[0].started_at = "2026-03-01T13:59:59Z";
      },
      "time_invalid",
    ],
    [
      "a step ends before it begins",
      ({ evidence }) => {
        evidence[0].ended_at = "2026-03-01T14:04:59Z";
      },
      "time_invalid",
    ],
    [
      "a time does not exist",
      ({ evidence }) => {
        evidence[6].ended_at = "2026-03-01T14:05:60Z";
      },
      "time_invalid",
    ],
    [
      "the key id is another session's",
      (cdp) => {
        const keyId = "nrx-verify-20260301T140000Z-00000000";
        cdp.context.key_id = keyId;
        cdp.attestation.key_id = keyId;
        cdp.attestation.certificate.key_id = keyId;
      },
      "key_id_malformed",
    ],
    [
      "the key id's time does not exist",
      (cdp) => {
        const keyId = "nrx-verify-20260230T140000Z-a8f3e71c";
        cdp.context.key_id = keyId;
        cdp.attestation.key_id = keyId;
        cdp.attestation.certificate.key_id = keyId;
      },
      "key_id_malformed",
    ],
  ])("%s", (_name, change, failure) => {
    expect(judge(forge(specimen, change))).toMatchObject({ valid: false, level: 0, failures: [failure] });
  });
});

test("a key other than the one in the signed context is refused, though its signature verifies", () => {
  const other = makeSpecimen();
  const forged = forge(
    other,
    () => {},
    (cdp) => {
      cdp.context.public_key_sha256 = digestText("another key");
    },
  );
  expect(judge(forged).failures).toContain("public_key_mismatch");
});
