// SPDX-License-Identifier: Apache-2.0
/**
 * The eight links. What goes into a link comes from the table and never from the document, whose own
 * names of its steps were once believed; and a document's names must still be those of the table.
 */
import { type Members, member } from "../proofs/reading.ts";
import { bare, GENESIS, hashOf, textOr } from "./hash.ts";
import { Fallen } from "./verdict.ts";

/** Subsystem and method of each link; the method is a constant of the format and not in the document. */
export const LINKS = [
  ["eee_namespace", "procfs_verification"],
  ["eee_tmpfs", "mountinfo_verification"],
  ["eee_memory", "dod_5220_multipass_wipe"],
  ["dire_keys", "ed25519_key_destruction"],
  ["dire_identity", "credential_incineration"],
  ["fgx_forensic", "merkle_tree_verification"],
  ["rzl_audit", "hash_chain_validation"],
  ["capsule_destroy", "capsule_lifecycle_verification"],
] as const;

/** Roots that the last link takes in, in this order. */
const ROOTS = ["record_receipts_merkle_root", "parent_proofs_merkle_root"] as const;

/** The links of a document destroyed at `timestamp`, hex without prefix. */
export function links(timestamp: string, roots: readonly string[] = []): string[] {
  let prev = GENESIS;
  const hashes = LINKS.map(([subsystem, method]) => {
    prev = hashOf(prev, subsystem, "destroy", method, timestamp);
    return prev;
  });
  if (roots.length > 0) hashes[7] = hashOf(hashes[7]!, ...roots);
  return hashes;
}

/** Stage 3; returns the chain's entries. */
export function checkChain(document: Members): readonly unknown[] {
  const chain = member(document, "chain");
  if (!Array.isArray(chain)) throw new Fallen(3, { type: "required_field_missing", field: "chain" });
  if (chain.length !== LINKS.length)
    throw new Fallen(3, { type: "step_count_invalid", expected: 8, found: chain.length });
  const roots = ROOTS.map((name) => member(document, name)).filter((root) => typeof root === "string");
  const hashes = links(timestampOf(document), roots.map(bare));
  for (const [step_idx, [expected_subsystem]] of LINKS.entries()) {
    const found_subsystem = textOr(member(chain[step_idx], "subsystem"));
    if (bare(member(chain[step_idx], "chain_hash")) !== hashes[step_idx])
      throw new Fallen(3, { type: "step_hash_mismatch", step_idx, subsystem: found_subsystem });
    if (found_subsystem !== expected_subsystem)
      throw new Fallen(3, {
        ...{ type: "chain_step_identity_mismatch", step_idx, expected_subsystem, found_subsystem },
      });
  }
  return chain;
}

/** `destroyed_at` as written, or the time inside the key's id when there is none; empty when neither is. */
export function timestampOf(document: Members): string {
  const destroyedAt = member(document, "destroyed_at");
  if (typeof destroyedAt === "string" && destroyedAt !== "") return destroyedAt;
  const keyId = textOr(member(member(document, "attestation"), "key_id"));
  if (!keyId.startsWith("nrx-verify-")) return "";
  const rest = keyId.slice("nrx-verify-".length);
  const tail = rest.lastIndexOf("-");
  if (tail < 0 || tail === rest.length - 1) return "";
  const at = rest.slice(0, tail);
  const cut = at.indexOf("T");
  if (cut < 0) return "";
  const [date, time] = [at.slice(0, cut), at.slice(cut + 1).replaceAll("-", ":")];
  return /^\d{4}-\d{2}-\d{2}$/.test(date) && /^\d{2}:\d{2}:\d{2}/.test(time) ? `${date}T${time}` : "";
}
