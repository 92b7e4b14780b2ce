// SPDX-License-Identifier: Apache-2.0
/**
 * A complete, genuine proof of a session that never was, under keys made on the spot. The engine
 * self-test verifies one and a spoilt copy of it; tests and the benchmark take theirs from here too.
 * It is the one file beside `primitives.ts` that needs the platform's cryptography: it makes keys.
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { attestProof, composeProof, type ProofParts, publicKeyDigest, signingMessage } from "./build.ts";
import { type Issuer, issueCertificate } from "./certificate.ts";
import type { Cdp } from "./document.ts";
import { toBase64Text } from "./encoding.ts";
import { digestText, salted, saltId, zeroRoot } from "./hash.ts";
import { sha256 } from "./primitives.ts";

export interface Specimen {
  parts: ProofParts;
  cdp: Cdp;
  bytes: Uint8Array;
  saltHex: string;
  issuer: Issuer;
  issuerKey: KeyObject;
  sessionKey: KeyObject;
}

export interface SpecimenKey {
  key: KeyObject;
  spki: Uint8Array;
  text: string;
}

export function makeKey(): SpecimenKey {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const spki = publicKey.export({ format: "der", type: "spki" });
  return { key: privateKey, spki, text: toBase64Text(spki) };
}

const SESSION_ID = "sess_a8f3e71c0123456789abcdef01234567";
const KEY_ID = "nrx-verify-20260301T140000Z-a8f3e71c";

/** The parts of a clean end. */
export function specimenParts(session: SpecimenKey, saltHex: string): ProofParts {
  const start = Date.UTC(2026, 2, 1, 14, 5, 0);
  const timing = (step: number) => ({
    startedAt: new Date(start + step * 700),
    endedAt: new Date(start + step * 700 + 650),
    durationMs: 650 + step,
    ok: true,
    skipped: [],
  });
  const found = (name: string) => ({ name, expected: "0", observed: "0", ok: true });
  return {
    context: {
      cdp_version: "1.0",
      profile: "casemate-cdp/1",
      session_id: SESSION_ID,
      created_at: "2026-03-01T14:00:00Z",
      data_classification: "PHI",
      jurisdiction: "US",
      ttl_seconds: 300,
      trigger: "api",
      engine: { name: "casemate", version: "0.1.0", build_sha256: digestText("build") },
      host: {
        boot_id_hash: digestText("boot"),
        kernel: "6.18.0",
        isolation: "process",
        root_digest: null,
      },
      salt_id: saltId(saltHex),
      key_id: KEY_ID,
      public_key_sha256: publicKeyDigest(session.spki),
      limits: ["freed_pages_not_zeroed", "host_kernel_trusted", "single_pass", "host_root_shared"],
    },
    steps: [
      {
        ...timing(1),
        measured: {
          canary_sha256: digestText("canary"),
          namespaces: (["mnt", "pid", "net", "ipc", "uts", "cgroup"] as const).map((kind, index) => ({
            kind,
            inode: salted(saltHex, kind, String(4026532800 + index)),
          })),
          seccomp_mode: 2,
          no_new_privs: true,
          capabilities_effective: "0000000000000000",
          network_mode: "none",
          tasks_found: 0,
          kill_method: "cgroup.kill",
          empty_after_ms: 12,
        },
      },
      {
        ...timing(2),
        measured: {
          mounts: ["/session", "/tmp", "/run/casemate/input"].map((target, index) => ({
            target,
            options: "rw,nosuid,nodev,size=262144k,noswap",
            size_bytes: 268435456,
            files: 3 - index,
            bytes: 4096 * (3 - index),
            mount_id: String(700 + index),
            st_dev: String(200 + index),
            mountinfo_found: 0,
            open_fds_found: 0,
          })),
        },
      },
      {
        ...timing(3),
        measured: {
          passes: 1,
          files_overwritten: 6,
          bytes_overwritten: 24576,
          bytes_skipped: 0,
          read_back_ok: true,
          swap_devices: 0,
          noswap: true,
          zswap: false,
          init_on_free: false,
          core_limit_bytes: 0,
        },
        skipped: [{ name: "freed_pages", reason: "init_on_free is off" }],
      },
      {
        ...timing(4),
        measured: {
          data_keys: [{ purpose: "session_row", strength_bits: 256, wipe_method: "memset", wiped: true }],
        },
      },
      {
        ...timing(5),
        measured: {
          tokens_released: 1,
          uid: salted(saltHex, "uid", "200017"),
          uid_released: true,
          cgroup_removed: true,
          slots_released: 1,
          lookup_absent: true,
        },
      },
      {
        ...timing(6),
        measured: {
          zero_root: zeroRoot([sha256(new Uint8Array(4096)), sha256(new Uint8Array(20480))]),
          zero_chunks: 2,
          chunk_bytes: 1048576,
          probes: ["processes", "mounts", "fds", "cgroup", "sockets", "spool", "canary_in_logs", "rows"].map(
            found,
          ),
        },
      },
    ],
    events: { head: digestText("events"), count: 9 },
    seal: timing(7),
    completion: timing(8),
    endState: "destroyed",
    recovered: null,
  };
}

/** Composes, signs and certifies. `change` edits the parts first: a failed step, another end state. */
export function makeSpecimen(change: (parts: ProofParts) => ProofParts = (parts) => parts): Specimen {
  const session = makeKey();
  const issuer = makeKey();
  const saltHex = randomBytes(32).toString("hex");
  const parts = change(specimenParts(session, saltHex));
  const unsigned = composeProof(parts);
  const { created_at, session_id, key_id } = unsigned.context;
  const certificate = issueCertificate(
    {
      v: 1,
      issuer_id: "specimen-issuer",
      key_id,
      public_key: session.text,
      session_id,
      not_before: created_at,
      not_after: "2026-03-02T14:00:00Z",
    },
    (message) => sign(null, message, issuer.key),
  );
  const signature = sign(null, signingMessage(unsigned.final_hash), session.key);
  const attested = attestProof(unsigned, { publicKey: session.spki, signature, certificate });
  return {
    parts,
    ...attested,
    saltHex,
    issuer: { issuerId: "specimen-issuer", publicKey: issuer.text },
    issuerKey: issuer.key,
    sessionKey: session.key,
  };
}
