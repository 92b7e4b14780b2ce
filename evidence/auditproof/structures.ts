// SPDX-License-Identifier: Apache-2.0
/**
 * Parts of a document that are bound by a root of their own: receipts, parents, streams, and a file
 * that only the customer has. Each root is computed anew; an array without its root is refused, since
 * it could have been put there by anybody.
 */
import { fromHex } from "../proofs/encoding.ts";
import { isMembers, type Members, member } from "../proofs/reading.ts";
import { bare, canonical, GENESIS, hashOf, linesRoot, rawRoot, textOr, textRoot } from "./hash.ts";
import { Fallen } from "./verdict.ts";

const prefixed = (hash: string) => `sha512:${hash}`;

export function checkReceipts(document: Members): void {
  const receipts = member(document, "record_receipts");
  if (!Array.isArray(receipts)) return;
  const root = rootBeside(document, receipts, "record_receipts_merkle_root");
  const hashes = receipts.map((receipt, step_idx) => {
    const hash = receiptHash(textOr(member(document, "capsule_id")), receipt);
    if (bare(member(receipt, "record_chain_hash")) !== hash)
      throw new Fallen(3, { type: "step_hash_mismatch", step_idx, subsystem: `record_receipt[${step_idx}]` });
    return hash;
  });
  compareRoots(root, hashes);
}

function receiptHash(capsule: string, receipt: unknown): string {
  const text = (name: string) => textOr(member(receipt, name));
  const index = member(receipt, "record_index");
  const trail = member(receipt, "record_activity_trail");
  const activity = (Array.isArray(trail) ? trail : []).reduce<string>(
    (hash, event) => hashOf(hash, hashOf(canonical(event))),
    GENESIS,
  );
  const tag = member(receipt, "pattern_tag");
  return hashOf(
    ...[capsule, Number.isInteger(index) ? String(index) : "0", text("record_id")],
    ...[bare(text("record_input_hash")), bare(text("record_output_hash")), activity],
    ...(typeof tag === "string" ? [tag] : []),
  );
}

export function checkParents(document: Members): void {
  const parents = member(document, "parent_proof_hashes");
  if (!Array.isArray(parents)) return;
  const root = rootBeside(document, parents, "parent_proofs_merkle_root");
  compareRoots(
    root,
    parents.map((parent) => bare(member(parent, "parent_chain_hash"))),
  );
}

/** Null only beside an empty array: then there is nothing that a root could bind. */
function rootBeside(document: Members, list: readonly unknown[], field: string): string | null {
  const root = member(document, field);
  if (typeof root === "string") return root;
  if (list.length > 0) throw new Fallen(3, { type: "required_field_missing", field });
  return null;
}

function compareRoots(claimed: string | null, leaves: readonly string[]): void {
  if (claimed === null) return;
  const computed = textRoot(leaves) ?? "";
  if (bare(claimed) !== computed)
    throw new Fallen(3, { type: "final_hash_mismatch", claimed, computed: prefixed(computed) });
}

/** Streams in the activity, one after the other. */
export function checkStreams(document: Members): void {
  const activity = member(document, "activity");
  let stream = new Stream();
  for (const event of Array.isArray(activity) ? activity : []) {
    const kind = member(event, "event");
    if (kind === "streaming_egress_started") stream = new Stream();
    else if (kind === "streaming_egress_chunk") stream.add(event);
    else if (kind === "streaming_egress_completed") {
      stream.complete(event);
      stream = new Stream();
    }
  }
}

class Stream {
  readonly #chunks: { seq: number; bytes: Uint8Array }[] = [];
  #bad = false;

  add(event: unknown): void {
    const seq = member(event, "seq");
    const hash = bare(member(event, "chunk_hash")).toLowerCase();
    const bytes = hash.length === 128 ? fromHex(hash) : null;
    if (!Number.isInteger(seq) || (seq as number) < 0 || bytes === null) this.#bad = true;
    else this.#chunks.push({ seq: seq as number, bytes });
  }

  complete(event: unknown): void {
    const claimed = member(event, "streaming_merkle_root");
    if (typeof claimed !== "string") return;
    if (this.#bad)
      throw new Fallen(3, {
        type: "required_field_missing",
        field: "activity_trail.streaming_egress_chunk.chunk_hash",
      });
    const total = member(event, "total_chunks") ?? this.#chunks.length;
    // The format keeps no promise about a stream of which some chunks are not in the document.
    if (total !== this.#chunks.length) return;
    const ordered = [...this.#chunks].sort((one, other) => one.seq - other.seq);
    const computed = rawRoot(ordered.map(({ bytes }) => bytes));
    if (bare(claimed) !== computed)
      throw new Fallen(3, { type: "streaming_merkle_root_mismatch", claimed, computed: prefixed(computed) });
  }
}

const ACTIVITY_ROOT = "customer_declared_activity_root";

/** Stage 2: what stands there has the form of a root, in a version that signs it. */
export function checkActivityRootForm(document: Members): void {
  const root = member(document, ACTIVITY_ROOT) ?? null;
  if (root === null) return;
  const version = member(document, "cdp_version");
  if (version !== "2.1" && version !== "2.2")
    throw new Fallen(2, { type: "unsigned_field_populated", field: ACTIVITY_ROOT });
  const malformed = (reason: string) =>
    new Fallen(2, { type: "field_malformed", field: ACTIVITY_ROOT, reason });
  if (typeof root !== "string") throw malformed("expected a JSON string");
  if (root === "") throw malformed("empty string");
  if (!/^[0-9a-f]{128}$/.test(bare(root)))
    throw malformed("expected sha512: followed by 128 lowercase hex characters");
}

/** Stage 3, when the reader has the file. */
export function checkActivityFile(document: Members, file: Uint8Array | undefined): void {
  if (file === undefined) return;
  const claimed = member(document, ACTIVITY_ROOT);
  if (typeof claimed !== "string")
    throw new Fallen(3, { type: "required_field_missing", field: ACTIVITY_ROOT });
  const computed = linesRoot(file);
  if (bare(claimed) !== computed)
    throw new Fallen(3, {
      type: "customer_declared_activity_root_mismatch",
      claimed,
      computed: prefixed(computed),
    });
}

/** The first machine's start says where it ran; nothing unsigned does. */
export function regionOf(document: Members): string {
  const activity = member(document, "activity");
  const started = (Array.isArray(activity) ? activity : []).find(
    (event) => isMembers(event) && member(event, "event") === "capsule_started",
  );
  return textOr(member(started, "region"));
}
